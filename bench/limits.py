"""What limits let in and what they cost: counted over real seconds, and in process.

usage: python -m bench.limits [--seconds 60] [--workers 2] [--rate 300]
Two servers, each with its own home and so many workers, share the limits of one endpoint through a Redis of their own;
callers ask four times as much as is allowed. In the second phase Redis is killed, in the third it is started again,
empty. A phase may let in its rate and one burst; while Redis is away, each server has the whole limit. Exit code 1
when more was let in (1 % beside), or when a call had another answer than 200 or 429. ``--cost``: in process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench import rig
from bench.load import post
from fairlead.contracts.access import Caller
from fairlead.contracts.limits import Limits, Period, Quota, Rate
from fairlead.kit.clock import SystemClock
from fairlead.serve.call import Call
from fairlead.serve.limits.book import Alone, Book, Together
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.limits.rules import EndpointLimits, Rules
from fairlead.serve.limits.table import Table

MODEL = """
class Same:
    inputs = (("x", "FP64", (-1, 1)),)
    outputs = (("y", "FP64", (-1, 1)),)

    def load(self, path):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"]}
"""
PHASES = ("shared", "Redis killed", "Redis back")
OVER, CONNECTIONS = 4, 8
"""How much more is asked than allowed, and from how many connections a server."""


@dataclass
class Heard:
    """By phase: what was answered, and how long the slowest answers took."""

    statuses: Counter[int] = field(default_factory=Counter)
    at: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


async def caller(port: int, every: float, until: float, heard: Heard) -> None:
    """Ask on one connection, on time."""
    tensor = {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [1.0]}
    request = post("/v2/models/same/infer", json.dumps({"inputs": [tensor]}).encode())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = time.perf_counter() + every * (port % 7) / 7
    while due < until:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
        ended, status = time.perf_counter(), int(head[9:12])
        heard.statuses[status] += 1
        heard.seconds.append(ended - began)
        if status == 200:
            heard.at += began, ended
        due = max(due + every, ended - 10 * every)
    writer.close()


def ask(ports: list[int], rate: float, seconds: float) -> Heard:
    heard, until = Heard(), time.perf_counter() + seconds
    every = CONNECTIONS * len(ports) / (OVER * rate)

    async def all_of_them() -> None:
        await asyncio.gather(*(caller(port, every, until, heard) for port in ports for _ in range(CONNECTIONS)))

    asyncio.run(all_of_them())
    return heard


class Redis:
    """A Redis of this bench's own, that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = rig.free_port(), folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


def spec(folder: Path, name: str, port: int, workers: int, rate: float, burst: int, redis: int) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(
        f"server: {{port: {port}, workers: {workers}}}\nrecord: false\nredis: redis://127.0.0.1:{redis}/0\n"
        "endpoints:\n  same:\n    model: same:Same\n"
        f"    access: {{rate: {rate:g}/s, burst: {burst}}}\n"
    )
    return path


def run(folder: Path, workers: int, rate: float, seconds: float) -> dict[str, dict[str, float]]:
    """The phases, with their figures."""
    (folder / "same.py").write_text(MODEL)
    redis, burst, ports = Redis(folder), max(1, round(rate / 10)), [rig.free_port(), rig.free_port()]
    redis.start()
    servers, found = [], {}
    env = {**os.environ, "PYTHONPATH": f"{folder}:{rig.ROOT}", "OMP_NUM_THREADS": "1"}
    try:
        for name, port in zip("ab", ports, strict=True):
            path = spec(folder, name, port, workers, rate, burst, redis.port)
            command = [sys.executable, "-m", "fairlead", "up", str(path), "--home", str(folder / name)]
            with (folder / f"{name}.log").open("wb") as log:
                servers.append(subprocess.Popen(command, cwd=folder, env=env, stderr=log, stdout=log))
        for port in ports:
            ready(port)
        for phase in PHASES:
            if phase == "Redis killed":
                redis.kill()
            elif phase == "Redis back":
                redis.start()
                time.sleep(1)
            heard = ask(ports, rate, seconds if phase == "shared" else max(3.0, seconds / 4))
            found[phase] = figures(heard, rate, burst, len(ports) if phase == "Redis killed" else 1)
    finally:
        redis.kill()
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(30)
    return found


def ready(port: int) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        with suppress(OSError):
            if rig.readyz(port):
                return
        time.sleep(0.05)
    raise rig.NotReady(f"the server on port {port} was not ready after 60 seconds")


def figures(heard: Heard, rate: float, burst: int, servers: int) -> dict[str, float]:
    lasted = max(heard.at) - min(heard.at)  # from the first question that was let in to the last answer
    allowed = servers * (rate * lasted + burst)
    slow = sorted(heard.seconds)
    return {
        "seconds": round(lasted, 2),
        "asked": sum(heard.statuses.values()),
        "let_in": heard.statuses[200],
        "allowed": round(allowed, 1),
        "over_percent": round(100 * max(0.0, heard.statuses[200] - allowed) / allowed, 3),
        "refused": heard.statuses[429],
        "failed": sum(count for status, count in heard.statuses.items() if status not in (200, 429)),
        "p99_ms": round(1e3 * slow[int(0.99 * len(slow))], 2),
    }


def cost(folder: Path, calls: int = 50_000) -> dict[str, dict[str, float]]:
    """Microseconds of CPU a call: to decide, and to say in its headers how the limits stand."""
    rate, quota = Rate(1e9, 1), Quota(10**12, Period.DAY)
    shop = Caller("shop-web", "key", (), "", Limits((rate,), (quota,)))
    plain = Caller("shop-web", "key", (), "", Limits((rate,)))
    here = {"churn": EndpointLimits(Limits((rate,)))}
    cases: dict[str, tuple[Rules, Caller | None, Book]] = {
        "a key without limits": (Rules(named=True), Caller("shop-web", "key", ()), Alone()),
        "a key's rate": (Rules(named=True), plain, Alone()),
        "a key's rate and quota": (Rules(named=True), shop, Alone()),
        "and the endpoint's rate": (Rules(named=True, endpoints=here), shop, Alone()),
        "the same, counted with other workers": (
            Rules(named=True, endpoints=here),
            shop,
            Together(Table(folder / "t")),
        ),
    }
    return {name: {"decide_us": decide, "headers_us": headers} for name, (decide, headers) in _costs(cases, calls)}


def _costs(cases: dict[str, tuple[Rules, Caller | None, Book]], calls: int):
    for name, (rules, by, book) in cases.items():
        stage = Limiter(rules, SystemClock(), lambda *_: None, book).stage("churn")
        best = [float("inf"), float("inf")]
        for _ in range(5):
            asked = [Call({}, 1, lambda _call: None, arrived=0.0) for _ in range(calls)]
            for call in asked:
                call.caller, call.size, call.metered = by, 500, True
            gc.collect()
            gc.disable()
            began = time.process_time()
            for call in asked:
                stage(call)
            decided = time.process_time()
            for call in asked:
                if call.allowance is not None:
                    call.allowance.lines()
            told = time.process_time()
            gc.enable()
            best = [min(pair) for pair in zip(best, (decided - began, told - decided), strict=True)]
        yield name, tuple(round(1e6 * one / calls, 2) for one in best)


def table(rows: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(rows.values())))
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[one]:,}' for one in names)} |" for name, row in rows.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.limits")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--cost", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        costs = cost(Path(scratch))
        print(table(costs), end="\n\n", flush=True)
        if options.cost:
            return
        found = run(Path(scratch), options.workers, options.rate, options.seconds)
    rig.save("limits", {"phases": found, "cost": costs})
    print(table(found))
    wrong = [phase for phase, one in found.items() if one["failed"] or one["over_percent"] > 1]
    sys.exit(f"not within the limits: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
