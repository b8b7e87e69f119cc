"""What a process of its own costs a model, and what it spares the others: inline, thread and process in one run.

usage: python -m bench.isolated [--rounds 3] [--seconds 3] [--held 0.6,1,2,5,300] [--connections 64]
First table: W1 on one core, CPU of the whole process tree (bar 60 us a request, goal 40). Second: a model that holds
the GIL for so many milliseconds a batch, beside W1 on the same server: the longest stall of the event loop (bar 20 ms,
goal 5), and what W1's callers notice. Here the server may use every core, the loads share one. Every answer is checked.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

from bench import rig, w1
from bench.load import post, store
from bench.rig import Entry

EXECUTORS = ("inline", "thread", "process")
Figures = dict[str, float]


def ours(executor: str, *models: str) -> list[str]:
    words = ["--threads", "1", "--executor", executor, "--log-level", "warning", "--port"]
    return [sys.executable, "-m", "fairlead", "serve", *models, *words]


def tree(folder: Path, model: Path, executor: str, connections: int, seconds: float) -> Figures:
    """W1 alone."""
    entry = Entry(ours(executor, f"w1={model}"))
    with rig.running(entry, rig.readyz) as (port, pid, _):
        before = rig.cpu_seconds(pid)
        figures = rig.load(port, connections, folder, entry, True, "--seconds", str(seconds))
        used = rig.cpu_seconds(pid) - before
        figures["cpu_us_per_request"] = 1e6 * used / figures["sent"]
        figures["memory_mb"] = rig.memory_mb(pid)
    return figures


def beside(folder: Path, model: Path, executor: str, connections: int, seconds: float, held: float) -> Figures:
    """W1 inline, and the one that holds the GIL where ``executor`` says: a spec of two endpoints."""
    words = [sys.executable, "-m", "bench.servers.shared", str(folder), str(model), executor]
    entry = Entry(words, {"HELD_MS": str(held)})
    with rig.running(entry, rig.readyz, pin=False) as (port, _, _):
        found: dict[str, Figures] = {}

        def load(name: str, requests: str, check: bool, count: int) -> None:
            asked = Entry([], requests=requests)
            found[name] = rig.load(port, count, folder, asked, check, "--seconds", str(seconds))

        other = threading.Thread(target=load, args=("held", "held", False, connections))
        other.start()
        load("w1", "v2", True, 8)
        other.join()
        return {
            "stall_ms": 1000 * gauge(port, "fairlead_event_loop_longest_stall_seconds"),
            "held_per_second": found["held"]["requests_per_second"],
            "errors": found["held"]["errors"] + found["w1"]["errors"] + found["w1"]["wrong"],
            **{key: found["w1"][key] for key in ("requests_per_second", "p50_ms", "p99_ms")},
        }


def gauge(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    raise SystemExit(f"the server shows no {name}")


def middle(runs: list[Figures], key: str, form: str) -> str:
    values = [run[key] for run in runs]
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def table(runs: dict[str, list[Figures]], first: str, columns: dict[str, tuple[str, str]]) -> str:
    rows = [[name, *(middle(found, key, form) for key, form in columns.values())] for name, found in runs.items()]
    return rig.markdown([first, *columns], rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.isolated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--held", default="0.6,1,2,5,300")
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    alone: dict[str, list[Figures]] = {}
    shared: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = w1.make(folder)
        row = [0.0] * 20
        store(folder / "held.requests", [post("/v2/models/held/infer", json.dumps(w1.v2(row)).encode())])
        for _ in range(options.rounds):
            for executor in EXECUTORS:
                found = tree(folder, model, executor, options.connections, options.seconds)
                alone.setdefault(executor, []).append(found)
            for held in map(float, filter(None, options.held.split(","))):
                for executor in ("thread", "process"):
                    name = f"{held:g} ms, {executor}"
                    found = beside(folder, model, executor, options.connections, options.seconds, held)
                    shared.setdefault(name, []).append(found)
                    print(f"{name}: {json.dumps(found)}", file=sys.stderr)
    rig.save("isolated", {"alone": alone, "beside": shared})
    columns = {"CPU us a request": ("cpu_us_per_request", ".1f"), "requests/s": ("requests_per_second", ",.0f")}
    columns |= {"p99 ms": ("p99_ms", ".2f"), "MB": ("memory_mb", ".0f"), "wrong": ("wrong", ".0f")}
    print(table(alone, f"W1, {options.connections} connections", columns), end="\n\n")
    columns = {"longest stall ms": ("stall_ms", ".1f"), "W1 p50 ms": ("p50_ms", ".2f"), "W1 p99 ms": ("p99_ms", ".2f")}
    columns |= {"W1 requests/s": ("requests_per_second", ",.0f"), "held requests/s": ("held_per_second", ",.0f")}
    columns |= {"errors": ("errors", ".0f")}
    if shared:
        print(table(shared, "GIL held a batch", columns))


if __name__ == "__main__":
    main()
