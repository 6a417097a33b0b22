#!/usr/bin/env python3
"""Builds the benchmark peers, measures them against each other, draws charts.

    ./run.py                      build, measure everything, write results/ and print tables
    ./run.py --cases 'bulk-*'     some cases; also --peers, --rounds, --seconds, --bytes
    ./run.py --quick              every case once and short: whether all of it works, not how fast
    ./run.py --growth             what a request costs beside idle connections, and after many streams
    ./run.py --show FILE          the tables of a former run
    ./run.py --chart FILE         bar charts of a former run, as SVG beside it

Each measurement is two processes on loopback, pinned to one half of the cores each; peers take turns within a
round. The commands and the JSON of a peer are those of the README. Python 3 and Linux, nothing else.
"""

import argparse
import contextlib
import fnmatch
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target")) / "release"

# Name of a row: package, stack. Packages are built one by one: together, Cargo would unify their features.
PEERS = {
    "raw": ("bench-raw", "tcp"),
    "raw-sealed": ("bench-raw", "tcp-chachapoly-ring"),
    "rust-libp2p": ("bench-rust-libp2p", "tokio-noise-yamux"),
    "peerkit": ("bench-peerkit", "async-io-noise-yamux"),
    "peerkit-tokio": ("bench-peerkit", "tokio-noise-yamux"),
    "rust-libp2p-mplex": ("bench-rust-libp2p", "tokio-noise-mplex"),
    "peerkit-mplex": ("bench-peerkit", "async-io-noise-mplex"),
}

CASES = {
    f"{way}-{streams}": (way, ["--streams", str(streams)])
    for way in ("bulk-up", "bulk-down")
    for streams in (1, 10, 100)
}
CASES |= {
    f"{kind}-{count}": (kind, ["--concurrency", str(count)])
    for kind, counts in (("requests", (1, 64)), ("connects", (1, 32)))
    for count in counts
}
CASES["idle"] = ("idle", [])
for name, size, window in (("256", 256, 1024), ("64k", 65536, 64)):
    for mode in ("signed", "unsigned"):
        CASES[f"gossip-{name}-{mode}"] = (
            "gossip", ["--gossip", mode, "--size", str(size), "--window", str(window)])
for name, size in (("256", 256), ("4k", 4096)):
    for mode in ("signed", "unsigned"):
        CASES[f"gossip-mesh-{name}-{mode}"] = (
            "gossip-mesh", ["--gossip", mode, "--size", str(size), "--window", "64"])


def cpu(result):
    return result["dialer_cpu"] + result["listener_cpu"]


# Title, value; the first column of a case is the one that is drawn.
BULK = [
    ("CPU s/GiB", lambda r: cpu(r) * 2**30 / r["bytes"]),
    ("MiB/s", lambda r: r["rate"] / 2**20),
]
EACH = [
    ("CPU µs each", lambda r: cpu(r) * 1e6 / r["operations"]),
    ("p50 µs", lambda r: r["latency_us"]["p50"]),
    ("per second", lambda r: r["rate"]),
]
GOSSIP = [
    ("CPU µs each", lambda r: r["cpu_us_per_message"]),
    ("per second", lambda r: r["rate"]),
    ("lost", lambda r: r["lost"]),
]
COLUMNS = {
    "bulk-up": BULK,
    "bulk-down": BULK,
    "requests": EACH,
    "connects": EACH,
    "idle": [
        ("listener KiB", lambda r: r["listener_bytes_per_connection"] / 1024),
        ("dialer KiB", lambda r: r["dialer_bytes_per_connection"] / 1024),
    ],
    "gossip": GOSSIP,
    "gossip-mesh": GOSSIP,
}


def build(peers):
    for package in dict.fromkeys(PEERS[peer][0] for peer in peers):
        command = ["cargo", "build", "--release", "--package", package]
        subprocess.run(command, cwd=HERE, check=True)


def event(text, kind):
    for line in text.splitlines():
        found = json.loads(line)
        if found.get("event") == kind:
            return found
    raise RuntimeError(f"no {kind}")


def pinned(side):
    """What pins a process to its half of the cores; a single core is shared."""
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    chosen = cores[:half] if side == "listen" else cores[half:] or cores
    return lambda: os.sched_setaffinity(0, chosen)


def measure(peer, case, extra):
    package, stack = PEERS[peer]
    workload, arguments = CASES[case]
    own = ["--stack", stack]
    if "--gossip" in arguments:
        own += arguments[:2]
        arguments = arguments[2:]
    dial = [TARGET / package, "dial", *own, "--workload", workload, *arguments, *extra]
    if workload == "gossip-mesh":
        done = subprocess.run(dial, stdout=subprocess.PIPE, check=True)
        return event(done.stdout, "result")
    with listening(package, own) as address:
        done = subprocess.run(
            dial + address, stdout=subprocess.PIPE, check=True, preexec_fn=pinned("dial"))
        return event(done.stdout, "result")


@contextlib.contextmanager
def listening(package, own):
    """Runs a listener and yields the arguments with which a dialer finds it."""
    listener = started([TARGET / package, "listen", *own], "listen")
    try:
        heard = event(listener.stdout.readline(), "listening")
        yield ["--addr", heard["addr"], "--peer-pid", str(heard["pid"])]
    finally:
        ended(listener)


def started(command, side):
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=pinned(side))


def ended(process):
    """Peers go when their input ends."""
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


class Growth:
    """A pair of processes that measures some requests whenever it is its turn."""

    def __init__(self, peer, connections, streams, resources):
        package, stack = PEERS[peer]
        own = ["--stack", stack]
        address = resources.enter_context(listening(package, own))
        dial = [TARGET / package, "dial", *own, "--workload", "growth", "--timeout", "7200"]
        dial += ["--connections", str(connections), "--streams", str(streams), *address]
        self.began = time.monotonic()
        self.dialer = started(dial, "dial")
        resources.callback(ended, self.dialer)
        event(self.dialer.stdout.readline(), "ready")
        self.name = f"{peer}: {connections} connections, " + (
            f"after {streams} streams" if streams else "the first streams")
        self.slices = {}

    def measure(self, kind):
        requests, concurrency = kind
        self.dialer.stdin.write(f"{requests} {concurrency}\n".encode())
        self.dialer.stdin.flush()
        measured = event(self.dialer.stdout.readline(), "slice")
        self.slices.setdefault(kind, []).append(measured)

    def rest(self):
        """CPU milliseconds of a second without requests."""
        return statistics.mean(cpu(part) * 1e3 / part["seconds"] for part in self.slices[REST])

    def costs(self, kind):
        """CPU microseconds of a request, in each round."""
        return [cpu(part) * 1e6 / part["operations"] for part in self.slices[kind]]


def growth(options):
    """The first of each group is what the others are compared with."""
    most = 100 if options.quick else 10_000
    groups = [[(1, 0), (100, 0), (most, 0)], [(1, 0), (1, 10 * most)]]
    peers = [peer for peer in chosen(options.peers, PEERS) if peer in GROWING]
    build(peers)
    for peer in peers:
        for group in groups:
            with contextlib.ExitStack() as resources:
                pairs = [Growth(peer, *size, resources) for size in group]
                measure_in_turns(pairs, options)
                growth_table(pairs)


def measure_in_turns(pairs, options):
    """Requests are measured before connections are pinged for the first time; then what pings cost."""
    quiet_until = pairs[-1].began + QUIET
    for number in range(options.rounds):
        if number and time.monotonic() > quiet_until:
            print(f"only {number} rounds before the first pings", file=sys.stderr)
            break
        for kind in ((options.requests, 1), (2 * options.requests, 64)):
            for pair in pairs[::1 - 2 * (number % 2)]:
                pair.measure(kind)
    if not options.quick:
        time.sleep(max(0, pairs[-1].began + PINGS - time.monotonic()))
    for _ in range(options.rounds):
        for pair in pairs:
            pair.measure(REST)


# Seconds from a connection's last bytes until peerkit pings, less some; and until all have been pinged once.
QUIET, PINGS = 28, 60

GROWING = ("peerkit", "peerkit-tokio")

# No requests, none at a time: one second.
REST = (0, 0)


def growth_table(pairs):
    kinds = [kind for kind in pairs[0].slices if kind != REST]
    print("\n| | at rest, CPU ms/s |" + "".join(
        f" {concurrency} at a time: CPU µs each | ratio |" for _, concurrency in kinds))
    print("|---|---:|" + "---:|---:|" * len(kinds))
    for pair in pairs:
        cells = f" {pair.rest():.3g} |"
        for kind in kinds:
            costs, first = pair.costs(kind), pairs[0].costs(kind)
            # Each slice with its neighbour in time: what disturbs both cancels out.
            ratio = statistics.median(cost / one for cost, one in zip(costs, first))
            cells += f" {statistics.median(costs):.4g} | {ratio:.3f} |"
        print(f"| {pair.name} |{cells}", flush=True)


def supports(peer, case):
    if CASES[case][0].startswith("gossip"):
        return not peer.startswith("raw")
    return not peer.endswith("mplex") or case.startswith("bulk")


def run(options):
    peers = chosen(options.peers, PEERS)
    build(peers)
    extra = ["--seconds", str(options.seconds), "--bytes", str(options.bytes)]
    extra += ["--connections", str(options.connections)]
    results, failures = {}, 0
    for case in chosen(options.cases, CASES):
        able = [peer for peer in peers if supports(peer, case)]
        runs = results[case] = {peer: [] for peer in able}
        for number in range(options.rounds):
            first = number % max(1, len(able))
            for peer in able[first:] + able[:first]:
                try:
                    runs[peer].append(measure(peer, case, extra))
                except (subprocess.SubprocessError, RuntimeError) as error:
                    print(f"{case}, {peer}: {error}", file=sys.stderr)
                    failures += 1
        table(case, runs)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    if failures:
        sys.exit(f"{failures} measurements have failed")


def chosen(patterns, names):
    return [name for name in names
            if any(fnmatch.fnmatch(name, pattern) for pattern in patterns.split(","))]


def median(runs, value):
    return statistics.median(map(value, runs))


def table(case, runs):
    columns = COLUMNS[CASES[case][0]]
    print(f"\n{case}\n")
    print("| peer |" + "".join(f" {title} |" for title, _ in columns))
    print("|---|" + "---:|" * len(columns))
    for peer, own in runs.items():
        if own:
            cells = "".join(f" {median(own, value):.4g} |" for _, value in columns)
            print(f"| {peer} |{cells}")


def chart(path):
    """One picture for each unit: a group of bars for each case, a bar for each peer."""
    results = json.loads(path.read_text())
    groups = {}
    for case, runs in results.items():
        title, value = COLUMNS[CASES[case][0]][0]
        bars = [(peer, median(own, value)) for peer, own in runs.items() if own]
        groups.setdefault((CASES[case][0].split("-")[0], title), []).append((case, bars))
    for (kind, title), cases in groups.items():
        target = path.with_name(f"{path.stem}-{kind}.svg")
        target.write_text(draw(f"{kind}: {title}, less is better", cases))
        print(target)


COLOURS = ["#888888", "#bbbbbb", "#d08030", "#2060b0", "#60a0e0", "#e0b080", "#204080"]


def draw(title, cases):
    top = max((value for _, bars in cases for _, value in bars), default=1) or 1
    lines, y = [], 34
    for case, bars in cases:
        lines.append(f'<text x="8" y="{y + 4}" font-weight="bold">{case}</text>')
        y += 12
        for peer, value in bars:
            width = 380 * value / top
            colour = COLOURS[list(PEERS).index(peer)]
            lines.append(f'<text x="140" y="{y + 11}" text-anchor="end">{peer}</text>')
            lines.append(f'<rect x="146" y="{y}" width="{width:.1f}" height="14" fill="{colour}"/>')
            lines.append(f'<text x="{152 + width:.1f}" y="{y + 11}">{value:.3g}</text>')
            y += 17
        y += 10
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="{y}" '
            'font-family="sans-serif" font-size="12">')
    background = '<rect width="100%" height="100%" fill="white"/>'
    name = f'<text x="8" y="18" font-size="14">{title}</text>'
    return "\n".join([head, background, name, *lines, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--peers", default="*", help="names, comma separated, * allowed")
    parser.add_argument("--cases", default="*", help="likewise")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of a case that is bounded by time")
    parser.add_argument("--bytes", type=int, default=2**30, help="of a bulk case")
    parser.add_argument("--connections", type=int, default=1000, help="of the idle case")
    parser.add_argument("--requests", type=int, default=2000, help="of a slice of --growth")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results" / "latest.json")
    parser.add_argument("--show", type=pathlib.Path)
    parser.add_argument("--chart", type=pathlib.Path)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.bytes = 1, 0.3, 2**24
        options.connections, options.requests = 50, 256
    if options.growth:
        growth(options)
    elif options.show:
        for case, runs in json.loads(options.show.read_text()).items():
            table(case, runs)
    elif options.chart:
        chart(options.chart)
    else:
        run(options)


if __name__ == "__main__":
    main()
