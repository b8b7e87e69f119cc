"""Servers beside one another: the rounds are interleaved (floor, FastAPI, Fairlead, floor, ...), so a drift of the
machine hurts all alike; what counts is the ratio within a round, with its spread.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench import rig, w1, w2
from bench.load import fetch
from bench.rig import Entry

Figures = dict[str, float]
Rounds = dict[str, list[dict[str, Figures]]]
"""Name of a server to its rounds; a round is connections (as text) to figures."""

PEERS = {"fastapi-orjson": "v2", "litserve": "plain", "bentoml": "plain", "kserve": "v2", "mlserver": "v2"}
"""What may be in the folder of peers, one virtual environment each, and the form of its requests and answers."""


def ours(uri: str) -> list[str]:
    return [sys.executable, "-m", "fairlead", "serve", uri, "--threads", "1", "--log-level", "warning", "--port"]


def servers(model: Path, peers: Path | None) -> dict[str, Entry]:
    """Those of W1, by name: ours last."""
    env = {"BENCH_MODEL": str(model)}
    words = ["--log-level", "warning", "--no-access-log", "--http", "httptools", "--loop", "uvloop", "--port"]
    uvicorn = [sys.executable, "-m", "uvicorn"]
    found = {"floor (bare uvicorn, constant bytes)": Entry([*uvicorn, "bench.servers.floor:app", *words])}
    if importlib.util.find_spec("fastapi"):
        found["FastAPI, sync"] = Entry([*uvicorn, "bench.servers.plain_fastapi:app", *words], env)
    for name, form in PEERS.items() if peers else ():
        python = peers / name / "bin" / "python"
        if python.exists():
            module = f"bench.servers.{name.replace('-', '_')}_peer"
            found[name] = Entry([str(python), "-m", module], env, requests=form, reader=form)
    found["fairlead"] = Entry(ours(f"w1={model}"))
    return found


def run_w1(
    folder: Path, connections: list[int], seconds: float, rounds: int, peers: Path | None
) -> tuple[Rounds, dict[str, list[float]]]:
    """The figures, and the memory of each server after its load."""
    entries = servers(w1.make(folder), peers)
    runs: Rounds = {}
    memory: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, entry in list(entries.items()):
            try:
                found, resident = _loaded(name, entry, folder, connections, seconds)
            except rig.NotReady as error:
                if name not in PEERS:
                    raise
                print(f"{name} is left out: {error}", file=sys.stderr)
                del entries[name]
                runs.pop(name, None)
                continue
            runs.setdefault(name, []).append(found)
            memory.setdefault(name, []).append(resident)
            print(f"W1 round {number + 1} {name}: {json.dumps(found)}", file=sys.stderr)
    return runs, memory


def _loaded(
    name: str, entry: Entry, folder: Path, connections: list[int], seconds: float
) -> tuple[dict[str, Figures], float]:
    """One server, started, loaded and stopped: connections to figures, and the memory at the end."""
    ready = rig.readyz if name == "fairlead" else rig.answers(fetch(folder / f"{entry.requests}.requests")[0])
    found = {}
    with rig.running(entry, ready) as (port, pid, _):
        for count in connections:
            before = rig.cpu_seconds(pid)
            figures = rig.load(port, count, folder, entry, not name.startswith("floor"), "--seconds", str(seconds))
            answered = figures["requests_per_second"] * (seconds + min(1.0, seconds / 3))
            figures["cpu_us_per_request"] = 1e6 * (rig.cpu_seconds(pid) - before) / max(1.0, answered)
            found[str(count)] = figures
        return found, rig.memory_mb(pid)


def run_w2(folder: Path, images: int, rounds: int) -> Rounds:
    """In process in batches of 1 and 16, and ours at 1 and 16 connections, on the same core."""
    entry = Entry(ours(f"w2={w2.make(folder)}"), reader="binary")
    runs: Rounds = {"in process": [], "fairlead": []}
    for number in range(rounds):
        alone = {str(batch): in_process(folder, batch, images) for batch in (1, 16)}
        with rig.running(entry, rig.readyz) as (port, _, _):
            words = ("--count", str(images))
            served = {str(count): rig.load(port, count, folder, entry, True, *words) for count in (1, 16)}
        runs["in process"].append(alone)
        runs["fairlead"].append(served)
        print(f"W2 round {number + 1}: {json.dumps([alone, served])}", file=sys.stderr)
    return runs


def in_process(folder: Path, batch: int, images: int) -> Figures:
    command = [sys.executable, "-m", "bench.floor", str(folder), str(batch), str(images)]
    done = subprocess.run(rig.pinned(command, rig.SERVER_CORE), capture_output=True, check=True, cwd=rig.ROOT)
    return json.loads(done.stdout)


def ratio(runs: Rounds, name: str, other: str, count: str, than: str) -> str:
    """Requests a second of one at ``count`` over the other at ``than``: the median of the rounds, and their spread."""
    found = ratios(runs, name, other, count, than)
    return f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def ratios(runs: Rounds, name: str, other: str, count: str, than: str) -> list[float]:
    """The same, of each round."""
    pairs = zip(runs[name], runs[other], strict=True)
    return [one[count]["requests_per_second"] / two[than]["requests_per_second"] for one, two in pairs]


def middle(runs: Rounds, name: str, count: str, key: str) -> float:
    return statistics.median(one[count].get(key, 0.0) for one in runs[name])


def table_w1(runs: Rounds, memory: dict[str, list[float]]) -> str:
    header = ["W1", "connections", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU us a request"]
    header += ["ours over it", "MB", "wrong", "errors"]
    rows = []
    for name, rounds in runs.items():
        for count in rounds[0]:
            row = [name, count, f"{middle(runs, name, count, 'requests_per_second'):,.0f}"]
            row += [f"{middle(runs, name, count, key):.2f}" for key in ("p50_ms", "p99_ms", "p999_ms")]
            row += [
                f"{middle(runs, name, count, 'cpu_us_per_request'):.0f}",
                ratio(runs, "fairlead", name, count, count),
            ]
            row += [f"{statistics.median(memory[name]):.0f}"]
            row += [f"{sum(one[count].get(key, 0) for one in rounds):.0f}" for key in ("wrong", "errors")]
            rows.append(row)
    return rig.markdown(header, rows)


def table_w2(runs: Rounds) -> str:
    header = ["W2", "images/s", "p50 ms", "p99 ms", "over in process, batch 1", "over in process, batch 16"]
    header += ["wrong", "errors"]
    rows = []
    for name, what in (("in process", "onnxruntime in process, batch"), ("fairlead", "fairlead, connections")):
        for count in ("1", "16"):
            row = [f"{what}: {count}", f"{middle(runs, name, count, 'requests_per_second'):.1f}"]
            row += [f"{middle(runs, name, count, key):.1f}" for key in ("p50_ms", "p99_ms")]
            row += [ratio(runs, name, "in process", count, batch) for batch in ("1", "16")]
            row += [f"{sum(one[count].get(key, 0) for one in runs[name]):.0f}" for key in ("wrong", "errors")]
            rows.append(row)
    return rig.markdown(header, rows)
