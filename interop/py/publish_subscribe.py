"""Publish/subscribe, over either of py-libp2p's routers."""

import argparse
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext

import trio
from libp2p.abc import IHost
from libp2p.custom_types import TProtocol
from libp2p.host.ping import ID as PING, handle_ping
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.floodsub import PROTOCOL_ID as FLOODSUB, FloodSub
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub import pubsub as pubsub_module
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

import node

MESHSUB = [TProtocol(f"/meshsub/{version}") for version in ("1.2.0", "1.1.0", "1.0.0")]
# It takes the first of the three degrees from its user.
DEGREE, DEGREE_LOW, DEGREE_HIGH = 6, 4, 12
# By default it forwards and publishes no more than 10 messages a second.
MESSAGES_PER_SECOND_MAX = 10_000.0
DEADLINE_SECONDS = 60
POLL_SECONDS = 0.01
# It starts a task for each message of a burst before its user's code runs
# again; a subscription holds 32 by default, and drops the others.
pubsub_module.SUBSCRIPTION_CHANNEL_SIZE = 1024
# Its queue to a peer holds 32 messages and drops what does not fit.
QUEUED_MAX = 16

Emit = Callable[[str, dict], None]


def gossipsub() -> GossipSub:
    return GossipSub(
        MESHSUB,
        DEGREE,
        DEGREE_LOW,
        DEGREE_HIGH,
        max_messages_per_topic_per_second=MESSAGES_PER_SECOND_MAX,
    )


def floodsub() -> FloodSub:
    return FloodSub([FLOODSUB])


ROUTERS = {"gossipsub": gossipsub, "floodsub": floodsub}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["subscribe", "publish"])
    parser.add_argument("topic")
    parser.add_argument("--router", default="gossipsub")
    parser.add_argument("--listen")
    parser.add_argument("--connect", action="append", default=[])
    parser.add_argument("--message", default="message")
    parser.add_argument("--size", type=int)
    parser.add_argument("--count", type=int)
    parser.add_argument("--peers", type=int, default=1)
    parser.add_argument("--leave", action="store_true")
    parser.add_argument("--unsigned", action="store_true")


async def run(options: argparse.Namespace, emit: Emit) -> None:
    router = node.choose(ROUTERS, options.router)()
    if options.unsigned and options.action == "publish" and options.router == "gossipsub":
        raise node.Unsupported(
            "py-libp2p's gossipsub takes two messages without an author for a fraud of one author"
        )
    host = node.new_host(options)
    if options.unsigned:
        pubsub = Pubsub(host, router, strict_signing=False, msg_id_constructor=hash_of_data)
    else:
        pubsub = Pubsub(host, router)  # its message ids are go-libp2p's
    listen = [Multiaddr(options.listen)] if options.listen else []
    action = subscribe if options.action == "subscribe" else publish
    async with host.run(listen), background_trio_service(pubsub):
        async with running(router):
            await pubsub.wait_until_ready()
            host.set_stream_handler(PING, handle_ping)
            for address in host.get_addrs() if listen else []:
                emit("listening", {"addr": str(address)})
            await action(host, pubsub, options, emit)


def running(router: GossipSub | FloodSub) -> AbstractAsyncContextManager:
    """Only gossipsub has something to do by itself."""
    if isinstance(router, GossipSub):
        return background_trio_service(router)
    return nullcontext()


async def subscribe(host: IHost, pubsub: Pubsub, options: argparse.Namespace, emit: Emit) -> None:
    """Prints what comes until stdin ends, or until it was enough."""
    subscription = await pubsub.subscribe(options.topic)
    stdin_ended = trio.Event()
    came = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_end_of_stdin, stdin_ended)
        nursery.start_soon(print_members, pubsub, options.topic, emit)
        nursery.start_soon(cancel_after, stdin_ended, nursery.cancel_scope)
        # The subscription is read from the start.
        nursery.start_soon(connect, host, options)
        async for message in subscription:
            emit("message", described(message, options.topic))
            came += 1
            if came == options.count:
                break
        if options.leave:
            await pubsub.unsubscribe(options.topic)
            await stdin_ended.wait()
        nursery.cancel_scope.cancel()
    if options.count is not None and came < options.count:
        raise RuntimeError(f"stdin ended after {came} of {options.count} messages")


async def publish(host: IHost, pubsub: Pubsub, options: argparse.Namespace, emit: Emit) -> None:
    """Sends its messages to enough subscribers, and stays until they have gone."""
    await connect(host, options)
    with trio.move_on_after(DEADLINE_SECONDS) as waiting:
        while len(reachable(pubsub, options.topic)) < options.peers:
            await trio.sleep(POLL_SECONDS)
    if waiting.cancelled_caught:
        came = len(reachable(pubsub, options.topic))
        raise TimeoutError(f"{came} of {options.peers} subscribers after {DEADLINE_SECONDS} s")
    for text in texts(options):
        await until_queued(pubsub, QUEUED_MAX)
        await publish_one(pubsub, options, text)
        peers = len(reachable(pubsub, options.topic))
        # Its id is not told.
        emit("published", {"topic": options.topic, "id": None, "peers": peers})
    await until_queued(pubsub, 0)
    stdin_ended = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_end_of_stdin, stdin_ended)
        while reachable(pubsub, options.topic) and not stdin_ended.is_set():
            await trio.sleep(POLL_SECONDS)
        nursery.cancel_scope.cancel()


async def publish_one(pubsub: Pubsub, options: argparse.Namespace, text: str) -> None:
    if options.unsigned:
        # Its own publish() names an author and a number even without a signature.
        message = rpc_pb2.Message(data=text.encode(), topicIDs=[options.topic])
        await pubsub.push_msg(pubsub.my_id, message)
    else:
        await pubsub.publish(options.topic, text.encode())


async def until_queued(pubsub: Pubsub, most: int) -> None:
    """Waits until no peer has more messages before it."""
    while any(len(queue) > most for queue in pubsub.peer_queues.values()):
        await trio.sleep(POLL_SECONDS)


async def connect(host: IHost, options: argparse.Namespace) -> None:
    for address in options.connect:
        await host.connect(info_from_p2p_addr(Multiaddr(address)))


def reachable(pubsub: Pubsub, topic: str) -> set[ID]:
    """The subscribers to which there is a stream."""
    return pubsub.peer_topics.get(topic, set()) & pubsub.peers.keys()


async def print_members(pubsub: Pubsub, topic: str, emit: Emit) -> None:
    """It has no event for those who leave."""
    members: set[ID] = set()
    while True:
        now = set(pubsub.peer_topics.get(topic, ()))
        for event, peers in (("subscribed", now - members), ("unsubscribed", members - now)):
            for peer in peers:
                emit(event, {"peer": str(peer), "topic": topic})
        members = now
        await trio.sleep(POLL_SECONDS)


def described(message: rpc_pb2.Message, topic: str) -> dict:
    author = str(ID(message.from_id)) if message.from_id else None
    return {"topic": topic, "from": author, "data": message.data.decode(errors="replace")}


def hash_of_data(message: rpc_pb2.Message) -> bytes:
    return hashlib.sha256(message.data).digest()


def texts(options: argparse.Namespace) -> Iterator[str]:
    """What to publish, each text different."""
    count = 1 if options.count is None else options.count
    for number in range(1, count + 1):
        text = options.message if count == 1 else f"{options.message} {number}"
        yield text if options.size is None else text.ljust(options.size, ".")[: options.size]


async def wait_for_end_of_stdin(ended: trio.Event) -> None:
    # Not through sys.stdin, whose lock an abandoned read would hold at the exit.
    while await trio.to_thread.run_sync(os.read, sys.stdin.fileno(), 1024, abandon_on_cancel=True):
        pass
    ended.set()


async def cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
