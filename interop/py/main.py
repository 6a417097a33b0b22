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
import tests

DEADLINE_SECONDS = 60
EXIT_FAILED = 1
EXIT_UNSUPPORTED = 3
TESTS = {"ping": tests.ping, "identify": tests.identify, "echo": tests.echo}


def main() -> int:
    options = parse()
    try:
        if options.command == "info":
            emit("info", node.info())
        else:
            trio.run(listen if options.command == "listen" else dial, options)
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
    parser.add_argument("command", choices=["listen", "info", *TESTS])
    parser.add_argument("address", nargs="?")
    parser.add_argument("--listen", default="/ip4/127.0.0.1/tcp/0")
    parser.add_argument("--muxer", default="yamux")
    parser.add_argument("--security", default="noise")
    parser.add_argument("--key-type", default="ed25519")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.command in TESTS and options.address is None:
        parser.error("an address is missing")
    return options


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


def describe(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def emit(event: str, fields: dict) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
