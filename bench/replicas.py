"""Replicas under a day of calls: from none to four and back to none, beside four that always run; and waking from none.

usage: python -m bench.replicas [--trace COUNTS.gz] [--day 12] [--seconds 240] [--peak 130] [--work 20]
       [--idle 10] [--wakes 5] [--wake-model MODEL BODY]
``--trace``: calls in each second of a log, one number a line (gzip); ``--day`` of it is replayed in ``--seconds``,
thinned so that its busiest stretch has ``--peak`` calls a second. Without one: a day that this module makes up. Each
call keeps its replica busy for ``--work`` milliseconds. Calls are sent when they are due, whoever still waits.
``--wake-model``: another model and a file with a request for it, whose waking is measured beside W1's.
Prints tables; exit code 1 when a call failed.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import re
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench import rig, w1
from bench.callers import text
from bench.load import fetch, header, post

MODEL = """
import time
import numpy as np

class Busy:
    inputs = (("x", "FP64", (-1, 1)),)
    outputs = (("y", "FP64", (-1, 1)),)

    def predict(self, inputs):
        time.sleep({work} * len(inputs["x"]))
        return {{"y": inputs["x"] * 2}}
"""
LIMIT = 30.0
"""Seconds after which a caller gives up."""
BUSIEST = 0.01
"""Share of the replay that counts as its busiest stretch."""
DAY = 86_400


@dataclass
class Heard:
    """``waited``: milliseconds of each call.  ``replicas``: when it was looked and how many processes there were."""

    failed: Counter[str] = field(default_factory=Counter)
    waited: list[float] = field(default_factory=list)
    replicas: list[tuple[float, float]] = field(default_factory=list)

    @property
    def replica_seconds(self) -> float:
        return sum((after[0] - before[0]) * before[1] for before, after in pairwise(self.replicas))


def arrivals(counts: np.ndarray, seconds: float, peak: float, seed: int = 1) -> list[float]:
    """When calls come, in seconds from the start: a Poisson process whose rate follows the counts, sped up."""
    slots = np.array_split(counts, max(1, round(seconds)))
    rates = np.array([float(slot.mean()) for slot in slots])
    rates *= peak / np.quantile(rates, 1 - BUSIEST)
    chance = random.Random(seed)
    return sorted(
        second + chance.random() for second, rate in enumerate(rates) for _ in range(_poisson(chance, float(rate)))
    )


def _poisson(chance: random.Random, mean: float) -> int:
    count, left = 0, chance.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + chance.expovariate(1.0)
    return count


def made_up() -> np.ndarray:
    """A day with a quiet night, a busy noon and two rushes."""
    hours = np.arange(DAY) / 3600
    day = np.clip(np.sin((hours - 6) / 24 * 2 * np.pi), 0, None)
    rush = sum(np.exp(-(((hours - at) / 0.3) ** 2)) for at in (9.0, 17.5))
    return np.asarray(day + rush)


def counts_of(path: Path, day: int) -> np.ndarray:
    with gzip.open(path, "rt") as file:
        numbers = np.array([float(line) for line in file if line[:1].isdigit()])
    return numbers[day * DAY : (day + 1) * DAY]


async def replay(port: int, due: list[float], quiet: float) -> Heard:
    """``quiet``: seconds without calls before and after."""
    heard = Heard()
    looking = asyncio.create_task(_look(port, heard))
    await asyncio.sleep(quiet)
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, at in enumerate(due):
            await asyncio.sleep(began + at - time.perf_counter())
            group.create_task(_call(port, float(number % 100), heard))
    await asyncio.sleep(quiet)
    looking.cancel()
    return heard


async def _call(port: int, value: float, heard: Heard) -> None:
    document = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [value]}]}
    began = time.perf_counter()
    try:
        head, body = await _ask(port, post("/v2/models/busy/infer", json.dumps(document).encode()))
    except (OSError, EOFError, TimeoutError) as error:
        heard.failed[type(error).__name__] += 1
        return
    if not head.startswith(b"HTTP/1.1 200"):
        heard.failed[head[9:12].decode()] += 1
    elif json.loads(body)["outputs"][0]["data"] != [value * 2]:
        heard.failed["wrong answer"] += 1
    else:
        heard.waited.append((time.perf_counter() - began) * 1000)


async def _ask(port: int, request: bytes) -> tuple[bytes, bytes]:
    async with asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            return head, await reader.readexactly(header(head, b"content-length"))
        finally:
            writer.close()


async def _look(port: int, heard: Heard) -> None:
    while True:
        shown = await asyncio.to_thread(metrics, port)
        heard.replicas.append((time.perf_counter(), shown.get("fairlead_model_processes", 0.0)))
        await asyncio.sleep(0.5)


def metrics(port: int) -> dict[str, float]:
    """Sums over all series, by name."""
    found: Counter[str] = Counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if match := re.match(r"(\w+)(?:\{.*\})? (\S+)$", line):
                found[match[1]] += float(match[2])
    return dict(found)


def busy(folder: Path, *words: str) -> rig.Entry:
    command = [
        sys.executable,
        "-m",
        "fairlead",
        "serve",
        "busy=scaled:Busy",
        "--executor",
        "process",
        "--max-rows",
        "1",
    ]
    command += ["--log-level", "warning", "--home", str(folder / "home"), *words, "--port"]
    return rig.Entry(command, {"PYTHONPATH": f"{rig.ROOT}:{folder}"})


def table(runs: dict[str, Heard]) -> str:
    rows = []
    for name, heard in runs.items():
        waited = np.array(heard.waited)
        p50, p99 = (f"{np.percentile(waited, part):.0f}" for part in (50, 99))
        most = max(count for _, count in heard.replicas)
        path = f"{heard.replicas[0][1]:.0f} to {most:.0f} to {heard.replicas[-1][1]:.0f}"
        seconds, failed = f"{heard.replica_seconds:.0f}", str(heard.failed.total())
        rows.append([name, str(len(waited)), failed, p50, p99, f"{waited.max():.0f}", path, seconds])
    return rig.markdown(["", "calls", "failed", "p50 ms", "p99 ms", "max ms", "replicas", "replica-seconds"], rows)


def wakes(folder: Path, model: str, body: bytes, count: int) -> list[float]:
    """Milliseconds from the first call at none to its answer."""
    command = [sys.executable, "-m", "fairlead", "serve", f"m={model}", "--replicas", "0..2", "--idle-ttl", "0.5"]
    command += ["--trust-pickle", "--log-level", "warning", "--home", str(folder / "home"), "--port"]
    found = []
    with rig.running(rig.Entry(command), rig.readyz, pin=False) as (port, _, _):
        for _ in range(count):
            while metrics(port).get("fairlead_model_processes", 1.0):
                time.sleep(0.1)
            began = time.perf_counter()
            head, _ = asyncio.run(_ask(port, post("/v2/models/m/infer", body)))
            assert head.startswith(b"HTTP/1.1 200"), head
            assert float(re.findall(r"queue;dur=([\d.]+)", text(head, b"server-timing"))[0]) > 0
            found.append((time.perf_counter() - began) * 1000)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.replicas")
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--day", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--peak", type=float, default=130.0)
    parser.add_argument("--work", type=float, default=20.0)
    parser.add_argument("--idle", type=float, default=10.0)
    parser.add_argument("--wakes", type=int, default=5)
    parser.add_argument("--wake-model", nargs=2, metavar=("MODEL", "BODY"), action="append", default=[])
    options = parser.parse_args()
    runs: dict[str, Heard] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "scaled.py").write_text(MODEL.format(work=options.work / 1000))
        counts = counts_of(options.trace, options.day) if options.trace else made_up()
        due = arrivals(counts, options.seconds, options.peak)
        for name, words in {
            "0 to 4, as called": ("--replicas", "0..4", "--target-concurrency", "1", "--idle-ttl", str(options.idle)),
            "4, always": ("--processes", "4"),
        }.items():
            if options.seconds:
                with rig.running(busy(folder, *words), rig.readyz, pin=False) as (port, _, _):
                    runs[name] = asyncio.run(replay(port, due, options.idle + 5))
        if runs:
            print(table(runs), end="\n\n", flush=True)
        body = fetch(w1.make(folder).parent / "v2.requests")[0].partition(b"\r\n\r\n")[2]
        models = [(str(folder / "model.onnx"), body)]
        models += [(model, Path(asked).read_bytes()) for model, asked in options.wake_model]
        rows = []
        for model, asked in models if options.wakes else []:
            took = wakes(folder, model, asked, options.wakes)
            rows.append([Path(model).name, f"{np.median(took):.0f}", f"{min(took):.0f} to {max(took):.0f}"])
        if rows:
            print(rig.markdown(["waking from none", "median ms", "spread"], rows))
    failed = sum((heard.failed for heard in runs.values()), Counter())
    rig.save("replicas", {name: {"waited": heard.waited, "replicas": heard.replicas} for name, heard in runs.items()})
    if failed:
        sys.exit(f"failed: {dict(failed)}")


if __name__ == "__main__":
    main()
