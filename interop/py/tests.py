"""Ping, identify and echo, from the dialer's side, and the echo server."""

import hashlib
import random
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.ping import ID as PING, perform_ping_roundtrip
from libp2p.identity.identify.identify import ID as IDENTIFY, parse_identify_response
from libp2p.io.utils import read_exactly
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

ECHO = TProtocol("/echo/1.0.0")
CHUNK = 64 * 1024


async def ping(host: IHost, remote: PeerInfo, options: Namespace) -> list[dict]:
    await host.connect(remote)
    stream = await host.new_stream(remote.peer_id, [PING])
    results = []
    for _ in range(options.count):
        start = time.perf_counter()
        await perform_ping_roundtrip(stream)
        results.append({"ok": True, "ms": (time.perf_counter() - start) * 1000})
    await stream.close()
    return results


async def identify(host: IHost, remote: PeerInfo, _: Namespace) -> list[dict]:
    await host.connect(remote)
    stream = await host.new_stream(remote.peer_id, [IDENTIFY])
    answer = b"".join([chunk async for chunk in chunks(stream)])
    await stream.close()
    message = parse_identify_response(answer)
    return [
        {
            "ok": True,
            "peer": str(remote.peer_id),
            "agent": message.agent_version,
            "protocols": list(message.protocols),
            "listen_addrs": [str(Multiaddr(addr)) for addr in message.listen_addrs],
            "observed_addr": str(Multiaddr(message.observed_addr)),
        }
    ]


async def echo(host: IHost, remote: PeerInfo, options: Namespace) -> list[dict]:
    dialed = time.perf_counter()
    await host.connect(remote)
    start = time.perf_counter()
    stream = await host.new_stream(remote.peer_id, [ECHO])
    sent, received = Hashed(), Hashed()
    if options.muxer == "mplex":
        # A read that waits holds a lock that a write on the same stream needs
        # (libp2p/stream_muxer/rw_lock.py), so the two cannot overlap.
        await exchange_in_turns(stream, options.bytes, sent, received)
    else:
        await exchange_at_once(stream, options.bytes, sent, received)
    if sent.hexdigest() != received.hexdigest():
        raise ValueError(
            f"sent {options.bytes} bytes {sent.hexdigest()}, "
            f"got {received.hexdigest()} back"
        )
    first_byte = received.began - dialed if received.began else None
    return [
        {
            "ok": True,
            "bytes": options.bytes,
            "sha256": received.hexdigest(),
            "seconds": time.perf_counter() - start,
            "first_byte_ms": first_byte and first_byte * 1000,
        }
    ]


class Hashed:
    """The hash of what it is given, and when that began."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.began = None

    def update(self, chunk: bytes) -> None:
        self.began = self.began or time.perf_counter()
        self.hash.update(chunk)

    def hexdigest(self) -> str:
        return self.hash.hexdigest()


async def serve_echo(stream: INetStream) -> None:
    """Answers with what it reads until the remote half-closes."""
    async for chunk in chunks(stream):
        await stream.write(chunk)
    await stream.close()


async def exchange_at_once(
    stream: INetStream, count: int, sent: Hashed, received: Hashed
) -> None:
    """Reads all the while it writes, and half-closes at the end."""

    async def send() -> None:
        for chunk in random_chunks(count):
            sent.update(chunk)
            await stream.write(chunk)
        await stream.close_write()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        async for chunk in chunks(stream):
            received.update(chunk)


async def exchange_in_turns(
    stream: INetStream, count: int, sent: Hashed, received: Hashed
) -> None:
    """Reads each chunk's answer before it writes the next chunk."""
    for chunk in random_chunks(count):
        sent.update(chunk)
        await stream.write(chunk)
        received.update(await read_exactly(stream, len(chunk)))
    await stream.close_write()
    async for chunk in chunks(stream):
        received.update(chunk)


def random_chunks(count: int) -> Iterator[bytes]:
    source = random.Random(0)
    for start in range(0, count, CHUNK):
        yield source.randbytes(min(CHUNK, count - start))


async def chunks(stream: INetStream) -> AsyncIterator[bytes]:
    """What the remote sends until it half-closes."""
    while True:
        try:
            chunk = await stream.read(CHUNK)
        except StreamEOF:
            return
        if chunk:
            yield chunk
