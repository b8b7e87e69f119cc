"""More calls than can be answered: Fairlead beside plain FastAPI and MLServer, the same model, open-loop load.

usage: python -m bench.overload [--peers DIR] [--rounds 3] [--seconds 5] [--loads 0.5,1,2,5,10] [--only NAME]
The model takes 5 ms of CPU a row, so 200 calls a second are all that one core answers; calls come at 1, 2, 5 and 10
times that, by the clock and not when the last answer is there, and each allows 100 ms. Server on one core, load on the
other, each started anew for each load, servers in interleaved rounds. DIR holds a virtual environment ``mlserver``; who
is not there is left out. Goodput: right answers within the deadline, a second, counted from when a call was due.

Exit code 1 when Fairlead's goodput at the highest load is under 0.9 of its peak, when the p99 of its answered calls is
over the deadline, or when urgent calls, a tenth of five times saturation, are refused more than one in a hundred.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import rig
from bench.open_load import requests
from bench.rig import Entry

SATURATION, DEADLINE = 200, 100.0
SHARE, URGENT_SHARE, URGENT = 0.9, 0.01, (0.1, 0.2)
OURS = "fairlead"
Found = dict[str, Any]


def servers(peers: Path | None, home: Path) -> dict[str, Entry]:
    words = [sys.executable, "-m", "fairlead", "serve", "row=bench.servers.row:Row", "--log-level", "warning"]
    words += ["--home", str(home)]
    found = {OURS: Entry([*words, "--port"])}
    found[f"{OURS}, model in a thread"] = Entry([*words, "--executor", "thread", "--port"])
    uvicorn = [sys.executable, "-m", "uvicorn", "bench.servers.row_fastapi:app", "--log-level", "warning", "--port"]
    found["plain FastAPI"] = Entry(uvicorn)
    if peers is not None and (python := peers / "mlserver" / "bin" / "python").exists():
        found["MLServer"] = Entry([str(python), "-m", "bench.servers.row_mlserver"])
    return found


def loop_seconds(pid: int) -> float:
    """CPU of the main thread, which is the event loop."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def once(entry: Entry, rate: float, seconds: float, *more: str) -> Found:
    """One load on one server, started for it. CPU is that of the whole load, and so are the calls beside it."""
    ready = rig.readyz if "fairlead" in entry.command else rig.answers(requests(DEADLINE * 50, "row")[1])
    with rig.running(entry, ready, 120) as (port, pid, _):
        command = [sys.executable, "-m", "bench.open_load", str(port), str(rate), "--seconds", str(seconds)]
        command += ["--deadline", str(DEADLINE), *more]
        loop, tree, began = loop_seconds(pid), rig.cpu_seconds(pid), time.perf_counter()
        done = subprocess.run(
            rig.pinned(command, rig.LOAD_CORE), capture_output=True, text=True, check=False, cwd=rig.ROOT
        )
        if done.returncode:
            raise SystemExit(f"the load failed: {done.stderr[-2000:]}")
        found: Found = json.loads(done.stdout)
        found["wall"] = time.perf_counter() - began
        found["loop"], found["tree"] = loop_seconds(pid) - loop, rig.cpu_seconds(pid) - tree
    return found


def shed_us(base: Found, found: Found) -> float:
    """CPU of the event loop for each call more that was shed, over a load where next to none are."""
    more = found["all"].get("shed", 0) - base["all"].get("shed", 0)
    return 1e6 * (found["loop"] - base["loop"]) / more if more > 0 else float("nan")


def middle(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def table(runs: dict[str, dict[float, list[Found]]], seconds: float) -> str:
    rows = []
    for name, loads in runs.items():
        good = {load: [one["lanes"]["standard"]["goodput"] for one in found] for load, found in loads.items()}
        peaks = [max(good[load][at] for load in loads) for at in range(len(next(iter(good.values()))))]
        first = next(iter(loads.values()))
        for load, found in loads.items():
            lanes = [one["lanes"]["standard"] for one in found]
            shares = [value / peak if peak else 0.0 for value, peak in zip(good[load], peaks, strict=True)]
            row = [name, f"{load:g}x", middle(good[load], ".0f"), middle(shares, ".2f")]
            row += [middle([one[key] or 0.0 for one in lanes], ".0f") for key in ("p50_ms", "p99_ms")]
            row.append(middle([one.get("shed", 0) / seconds for one in lanes], ".0f"))
            lost = ("late", "expired", "given up", "lost", "no connection", "not connected", "wrong")
            row.append(middle([sum(one.get(key, 0) for key in lost) / seconds for one in lanes], ".0f"))
            row.append(middle([shed_us(*pair) for pair in zip(first, found, strict=True)], ".0f") if load > 1 else "")
            rows.append(row)
    header = ["server", "load", "goodput/s", "of its peak", "p50 ms", "p99 ms answered", "refused/s", "late or lost/s"]
    return rig.markdown([*header, "CPU us a refusal"], rows)


def urgent(runs: dict[float, list[Found]]) -> str:
    rows = []
    for share, found in runs.items():
        for lane in ("interactive", "standard"):
            told = [one["lanes"][lane] for one in found]
            rows.append([f"{share:.0%} interactive", lane, middle([one["goodput"] for one in told], ".0f")])
            rows[-1] += [middle([100 * refused(one) for one in told], ".1f")]
            rows[-1].append(middle([one["p99_ms"] for one in told], ".0f"))
    return rig.markdown(["five times saturation", "lane", "goodput/s", "not answered in time %", "p99 ms"], rows)


def refused(lane: Found) -> float:
    """Share of the calls of a lane that were not answered in time."""
    total = sum(value for value in lane.values() if isinstance(value, int))
    return 1 - lane.get("good", 0) / total if total else 0.0


def broken(runs: dict[str, dict[float, list[Found]]], lanes: dict[float, list[Found]]) -> list[str]:
    bad = []
    for name, loads in runs.items():
        if not name.startswith(OURS):
            continue
        good = {load: statistics.median(one["lanes"]["standard"]["goodput"] for one in f) for load, f in loads.items()}
        share = good[max(good)] / max(good.values())
        if share < SHARE:
            bad.append(f"{name}: goodput at {max(good):g}x is {share:.2f} of the peak")
        for load, found in loads.items():
            p99 = statistics.median(one["lanes"]["standard"]["p99_ms"] for one in found)
            if p99 > DEADLINE:
                bad.append(f"{name}: at {load:g}x the p99 of answered calls is {p99:.0f} ms")
    for share, found in lanes.items():
        missed = statistics.median(refused(one["lanes"]["interactive"]) for one in found)
        if share <= min(URGENT) and missed > URGENT_SHARE:
            bad.append(f"{missed:.1%} of the urgent calls were not answered in time")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.overload")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--loads", default="0.5,1,2,5,10")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    runs: dict[str, dict[float, list[Found]]] = {}
    lanes: dict[float, list[Found]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        entries = servers(options.peers, Path(scratch))
        for number in range(options.rounds):
            for name, entry in entries.items():
                if options.only not in name:
                    continue
                for load in map(float, options.loads.split(",")):
                    found = once(entry, SATURATION * load, options.seconds, "--seed", str(number))
                    runs.setdefault(name, {}).setdefault(load, []).append(found)
                    print(f"round {number + 1} {name} {load:g}x: {json.dumps(found)}", file=sys.stderr)
            for share in URGENT:
                words = ("--seed", str(number), "--interactive", str(share))
                lanes.setdefault(share, []).append(once(entries[OURS], 5 * SATURATION, options.seconds, *words))
    rig.save("overload", {"runs": runs, "lanes": lanes})
    print(table(runs, options.seconds), urgent(lanes), sep="\n\n")
    bad = broken(runs, lanes)
    print("\n" + "\n".join(bad or ["every bar is held"]))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
