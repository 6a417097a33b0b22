"""A py-libp2p peer for the interop suite.

It listens, or dials one address and runs one test, and prints JSON lines on
stdout.
"""

import argparse
import json
import sys
import traceback

import multiaddr
import trio
from libp2p.peer.peerinfo import info_from_p2p_addr

import node
import publish_subscribe
import tests

DEADLINE_SECONDS = 60
EXIT_FAILED = 1
EXIT_UNSUPPORTED = 3
TESTS = {"ping": tests.ping, "identify": tests.identify, "echo": tests.echo}


def main() -> int:
    options = parse()
    try:
        if options.command == "info":
            emit("info", node.info() | {"routers": list(publish_subscribe.ROUTERS)})
        else:
            trio.run(COMMANDS.get(options.command, dial), options)
        return 0
    except node.Unsupported as missing:
        emit("unsupported", {"error": str(missing)})
        return EXIT_UNSUPPORTED
    except Exception as error:
        traceback.print_exc()
        emit("error", {"error": describe(error)})
        return EXIT_FAILED


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info")
    for command in ("listen", "pubsub", *TESTS):
        add_options(commands.add_parser(command), command)
    return parser.parse_args()


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("--muxer", default="yamux")
    parser.add_argument("--security", default="noise")
    parser.add_argument("--key-type", default="ed25519")
    if command == "listen":
        parser.add_argument("--listen", default="/ip4/127.0.0.1/tcp/0")
    elif command == "pubsub":
        publish_subscribe.add_options(parser)
    else:
        parser.add_argument("address")
        parser.add_argument("--count", type=int, default=1)
        parser.add_argument("--bytes", type=int, default=1_000_000)


async def listen(options: argparse.Namespace) -> None:
    """Serves until stdin ends."""
    host = node.new_host(options)
    async with host.run([multiaddr.Multiaddr(options.listen)]):
        node.serve(host)
        for address in host.get_addrs():
            emit("listening", {"addr": str(address)})
        while await trio.to_thread.run_sync(sys.stdin.buffer.read1, 1024):
            pass


async def dial(options: argparse.Namespace) -> None:
    host = node.new_host(options)
    remote = info_from_p2p_addr(multiaddr.Multiaddr(options.address))
    async with host.run([]):
        with trio.fail_after(DEADLINE_SECONDS):
            for fields in await TESTS[options.command](host, remote, options):
                emit(options.command, fields)


async def pubsub(options: argparse.Namespace) -> None:
    await publish_subscribe.run(options, emit)


COMMANDS = {"listen": listen, "pubsub": pubsub}


def describe(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def emit(event: str, fields: dict) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
