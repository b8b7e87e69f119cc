"""What callers see, and a sick upstream gets, when one server of two is sick: with the policies and without them.

usage: python -m bench.upstream [--rounds 2] [--seconds 10] [--rate 200] [--deadline 500]
Half of the sick one's answers are errors and a twentieth of them hang for 2 seconds. Calls come at random times that
nobody's answer delays (open loop), each with its deadline. All are real processes on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench import rig
from bench.rig import Entry

WITH = "{}"
WITHOUT = "{retries: 0, eject: {failures: 1000, errors: 1.0, slower: 0, requests: 1000000}}"
HEDGED = "{hedge: {quantile: 0.95, budget: 0.05}}"
RETRIES = "{retries: 2, eject: {failures: 1000, errors: 1.0, slower: 0, requests: 1000000}}"
SCENES: dict[str, tuple[int, int, dict[str, str]]] = {
    "one of two": (1, 1, {"none": WITHOUT, "the defaults": WITH, "the defaults and hedging": HEDGED}),
    "the only one": (1, 0, {"none": WITHOUT, "the defaults": WITH}),
    "both": (2, 0, {"none": WITHOUT, "two retries, nobody left out": RETRIES, "the defaults": WITH}),
}
"""How many are sick and well, and the policies."""
SICK = {"503": ("--errors", "0.5", "--hangs", "0.05"), "500": ("--errors", "0.5", "--hangs", "0.05", "--status", "500")}
BODY = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [2.0]}]}
_ARRIVES = 0.02
"""Seconds after an ejection in which a request that was sent before it may arrive."""
Figures = dict[str, float]


@contextmanager
def behind(*words: str) -> Iterator[int]:
    entry = Entry([sys.executable, "-m", "bench.servers.sick", *words, "--port"])
    with rig.running(entry, lambda port: bool(asked(port) or True), pin=False) as (port, _, _):
        yield port


def asked(port: int) -> list[float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/asked", timeout=5) as answer:
        found: list[float] = json.load(answer)
        return found


def is_ready(port: int) -> bool:
    try:
        return rig.readyz(port)
    except OSError:
        return False


@contextmanager
def front(folder: Path, ports: list[int], policy: str) -> Iterator[tuple[int, Path]]:
    """Port and log of a Fairlead in front of them."""
    port, log = rig.free_port(), folder / "log"
    urls = json.dumps([f"http://127.0.0.1:{one}" for one in ports])
    spec = f"server: {{port: {port}}}\nrecord: false\nendpoints:\n  m:\n    upstream: {{urls: {urls}}}\n"
    (folder / "f.yaml").write_text(f"{spec}    resilience: {policy}\n    batching: {{max_rows: 1}}\n")
    command = [sys.executable, "-m", "fairlead", "up", str(folder / "f.yaml"), "--home", str(folder / "home")]
    with log.open("wb") as handle:
        process = subprocess.Popen(command, stdout=handle, stderr=handle)
    try:
        ends = time.monotonic() + 30
        while not is_ready(port):
            if process.poll() is not None or time.monotonic() > ends:
                raise rig.NotReady(log.read_text()[-1000:])
            time.sleep(0.05)
        yield port, log
    finally:
        process.terminate()
        process.wait(20)


async def calls(port: int, seconds: float, rate: float, deadline_ms: float) -> list[tuple[float, int]]:
    """Milliseconds since each was due, and its status; 0 where there was no answer."""
    chance, loop = random.Random(7), asyncio.get_running_loop()
    found: list[tuple[float, int]] = []
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    body = json.dumps(BODY).encode()
    head = f"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\nx-request-timeout-ms: {deadline_ms:g}\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    async def one(at: float) -> None:
        try:
            link = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
            link[1].write(request)
            told = (await link[0].readuntil(b"\r\n\r\n")).lower()
            await link[0].readexactly(int(told.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            idle.append(link)
            found.append((1000 * (loop.time() - at), int(told[9:12])))
        except (OSError, asyncio.IncompleteReadError):
            found.append((1000 * (loop.time() - at), 0))

    began = at = loop.time()
    tasks = []
    while at < began + seconds:
        await asyncio.sleep(max(0.0, at - loop.time()))
        tasks.append(asyncio.create_task(one(at)))
        at += chance.expovariate(rate)
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    return found


def while_out(log: Path, address: str, times: list[float]) -> tuple[int, float]:
    """Requests that came to an address while it was left out, and for how many seconds it was."""
    since, spans = 0.0, []
    for line in log.read_text().splitlines():
        event: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
        if event.get("address") == address and event.get("event") == "upstream left out" and not since:
            since = _at(event)
        elif event.get("address") == address and event.get("event") == "upstream tried" and since:
            spans.append((since, _at(event)))
            since = 0.0
    spans += [(since, time.time())] if since else []
    return sum(start + _ARRIVES < one < end for one in times for start, end in spans), sum(b - a for a, b in spans)


def _at(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def run(
    options: argparse.Namespace, folder: Path, words: tuple[str, ...], policy: str, sick: int, well: int
) -> Figures:
    with ExitStack() as stack:
        ports = [stack.enter_context(behind(*(words if at < sick else ()))) for at in range(sick + well)]
        port, log = stack.enter_context(front(folder, ports, policy))
        found = asyncio.run(calls(port, options.seconds, options.rate, options.deadline))
        times = [asked(one) for one in ports]
        out, seconds = while_out(log, f"http://127.0.0.1:{ports[0]}", times[0])
    took = [one for one, _ in found]
    return {
        "calls": len(found),
        "ok_percent": 100 * sum(status == 200 for _, status in found) / len(found),
        "p50_ms": float(np.percentile(took, 50)),
        "p99_ms": float(np.percentile(took, 99)),
        "max_ms": max(took),
        "sick_percent": 100 * len(times[0]) / len(found),
        "while_out": out,
        "seconds_out": seconds,
        "amplification": sum(map(len, times)) / len(found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.upstream")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--deadline", type=float, default=500.0)
    options = parser.parse_args()
    runs: dict[str, list[Figures]] = {}
    for _ in range(options.rounds):
        for scene, (sick, well, policies) in SCENES.items():
            for status, words in SICK.items():
                for policy, text in policies.items():
                    name = f"{scene} | {status} | {policy}"
                    with tempfile.TemporaryDirectory() as scratch:
                        runs.setdefault(name, []).append(run(options, Path(scratch), words, text, sick, well))
                    print(f"{name}: {json.dumps(runs[name][-1])}", file=sys.stderr, flush=True)
    rig.save("upstream", runs)
    columns = {
        "answered %": "ok_percent", "p50 ms": "p50_ms", "p99 ms": "p99_ms", "longest ms": "max_ms",
        "sick one asked, % of calls": "sick_percent", "asked while out": "while_out", "out, s": "seconds_out",
        "requests for a call": "amplification",
    }  # fmt: skip
    rows = [
        [*name.split(" | "), *(f"{min(one[key] for one in every):.4g}-{max(one[key] for one in every):.4g}"
                               for key in columns.values())]
        for name, every in runs.items()
    ]  # fmt: skip
    print(rig.markdown(["sick", "errors", "policies", *columns], rows))


if __name__ == "__main__":
    main()
