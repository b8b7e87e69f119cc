"""What a server in front of a server costs: W1 asked directly, and through a Fairlead whose model is the first one.

usage: python -m bench.remote [--rounds 3] [--seconds 3] [--connections 1,16,64]
Both servers may use every core, the load has one: with two cores three processes share them, so the rates are for the
ratios and the CPU of the front alone is what it costs. Every answer is checked.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import rig, w1
from bench.rig import Entry

DIRECT, REST, GRPC = "directly", "through Fairlead, REST", "through Fairlead, gRPC"
Figures = dict[str, float]


def serving(model: str, *words: str) -> Entry:
    common = ["--threads", "1", "--log-level", "warning", *words, "--port"]
    return Entry([sys.executable, "-m", "fairlead", "serve", f"w1={model}", *common])


@contextmanager
def servers(model: Path) -> Iterator[dict[str, tuple[int, int]]]:
    """Port and pid of each way to ask."""
    grpc = rig.free_port()
    with ExitStack() as stack:
        behind = serving(str(model), "--grpc-port", str(grpc))
        port, pid, _ = stack.enter_context(rig.running(behind, rig.readyz, pin=False))
        found = {DIRECT: (port, pid)}
        for name, uri in ((REST, f"oip+http://127.0.0.1:{port}/w1"), (GRPC, f"oip+grpc://127.0.0.1:{grpc}/w1")):
            front, its, _ = stack.enter_context(rig.running(serving(uri), rig.readyz, pin=False))
            found[name] = (front, its)
        yield found


def one(folder: Path, port: int, pid: int, connections: int, seconds: float) -> Figures:
    before = rig.cpu_seconds(pid)
    figures = rig.load(port, connections, folder, Entry([]), True, "--seconds", str(seconds))
    figures["cpu_us"] = 1e6 * (rig.cpu_seconds(pid) - before) / figures["sent"]
    return figures


def middle(runs: list[Figures], key: str, form: str) -> str:
    values = [run[key] for run in runs]
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.remote")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", default="1,16,64")
    options = parser.parse_args()
    found: dict[tuple[str, int], list[Figures]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with servers(w1.make(folder)) as ways:
            for _ in range(options.rounds):
                for connections in map(int, options.connections.split(",")):
                    for name, (port, pid) in ways.items():
                        figures = one(folder, port, pid, connections, options.seconds)
                        found.setdefault((name, connections), []).append(figures)
                        print(f"{name}, {connections}: {json.dumps(figures)}", file=sys.stderr)
    rig.save("remote", {f"{name}, {connections}": runs for (name, connections), runs in found.items()})
    columns = {"requests/s": ("requests_per_second", ",.0f"), "p50 ms": ("p50_ms", ".2f"), "p99 ms": ("p99_ms", ".2f")}
    columns |= {"CPU us a request of the server asked": ("cpu_us", ".0f"), "wrong": ("wrong", ".0f")}
    rows = [
        [str(connections), name, *(middle(runs, key, form) for key, form in columns.values())]
        for (name, connections), runs in sorted(found.items(), key=lambda item: item[0][1])
    ]
    print(rig.markdown(["connections", "W1 asked", *columns], rows))


if __name__ == "__main__":
    main()
