"""What a crowd that keeps a server waiting costs those who are answered: time, memory, open files.

usage: python -m bench.crowd [--seconds 8] [--idle 2000] [--slow 300] [--opens 10000] [--rate 500] [--rounds 2]
       [--workers 1]
Callers at a steady pace, in a process of their own, are measured in calm and beside each crowd, in turn:

- ``idle``: so many connections that say nothing;
- ``slow``: so many that send a request byte by byte, and come again when they are cut off;
- ``opens``: so many connections opened and closed again, at ``--rate`` a second.

A crowd's p99 is held against the p99 of the calm before and after it. Exit code 1 when it is more than 20 % and 1 ms
above, when a call failed, or when memory (10 MiB) or open files are higher after the last round than after the first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import numpy as np

from bench import rig
from bench.fuzz import start

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}).encode()
REQUEST = b"POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
CALLERS, PACE = 4, 0.01
"""Measured connections, and seconds between two calls of each."""

Crowd = Callable[[int, argparse.Namespace], AbstractAsyncContextManager[dict[str, int]]]


async def measured(port: int, seconds: float) -> dict[str, object]:
    """Latencies of callers at a steady pace."""
    times: list[float] = []
    failed = 0

    async def call() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ends, due = time.perf_counter() + seconds, time.perf_counter()
        while time.perf_counter() < ends:
            began = time.perf_counter()
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            times.append(time.perf_counter() - began)
            failed += not head.startswith(b"HTTP/1.1 200")
            due += PACE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        writer.close()

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    milliseconds = np.array(times) * 1000
    p50, p99 = (float(np.percentile(milliseconds, q)) for q in (50, 99))
    return {"calls": len(times), "failed": failed, "p50": p50, "p99": p99}


async def beside(port: int, seconds: float) -> dict[str, object]:
    words = [sys.executable, "-m", "bench.crowd", "--measure", str(port), "--seconds", str(seconds)]
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, cwd=rig.ROOT)
    out, _ = await process.communicate()
    return dict(json.loads(out))


@asynccontextmanager
async def idle(port: int, options: argparse.Namespace) -> AsyncIterator[dict[str, int]]:
    """Connections that say nothing."""
    writers = []
    for _ in range(options.idle):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
    yield {"connections": len(writers)}
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


@asynccontextmanager
async def slow(port: int, options: argparse.Namespace) -> AsyncIterator[dict[str, int]]:
    """Senders of one byte a time, half of them of a head and half of a body."""
    told = {"bytes": 0, "cut off": 0}

    async def send(number: int) -> None:
        skip = REQUEST.index(b"\r\n\r\n") + 4 if number % 2 else 0
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(REQUEST[:skip])
                for at in range(skip, len(REQUEST) - 1):
                    writer.write(REQUEST[at : at + 1])
                    await writer.drain()
                    told["bytes"] += 1
                    await asyncio.sleep(0.5)
                writer.close()
            told["cut off"] += 1
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(send(number)) for number in range(options.slow)]
    await asyncio.sleep(0.5)
    yield told
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def opens(port: int, options: argparse.Namespace) -> AsyncIterator[dict[str, int]]:
    """Connections that are closed at once, spread over the time that is measured."""
    told = {"opened": 0, "failed": 0}
    began = time.perf_counter()

    async def knock() -> None:
        while told["opened"] < options.opens:
            told["opened"] += 1
            late = began + told["opened"] / options.rate - time.perf_counter()
            if late > 0:
                await asyncio.sleep(late)
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
            except OSError:
                told["failed"] += 1

    tasks = [asyncio.create_task(knock()) for _ in range(64)]
    yield told
    await asyncio.gather(*tasks)


CROWDS: dict[str, Crowd] = {"idle": idle, "slow": slow, "opens": opens}


def held(pid: int) -> dict[str, float]:
    """Memory and open files of the server."""
    files = 0
    for one in rig.family(pid):
        with suppress(OSError):
            files += len(list(Path(f"/proc/{one}/fd").iterdir()))
    return {"mib": round(rig.memory_mb(pid), 1), "files": files}


async def run(port: int, pid: int, options: argparse.Namespace) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []

    async def calm(number: int) -> None:
        found.append({"round": number, "crowd": "", **await beside(port, options.seconds), **held(pid)})

    await beside(port, 2.0)
    for number in range(options.rounds):
        await calm(number)
        for name, crowd in CROWDS.items():
            seconds = options.opens / options.rate if name == "opens" else options.seconds
            async with crowd(port, options) as told:
                figures = await beside(port, seconds)
                found.append({"round": number, "crowd": name, **figures, **held(pid), "told": dict(told)})
            await asyncio.sleep(3.0)  # the server hears of the last ones
            await calm(number)
    return found


def broken(found: list[dict[str, object]]) -> list[str]:
    """The promises that were not kept."""
    bad = [f"{one['failed']} failed beside {one['crowd'] or 'nobody'}" for one in found if one["failed"]]
    for name in CROWDS:
        ratios = []
        for at, one in enumerate(found):
            if one["crowd"] == name:
                around = statistics.mean(float(str(found[beside]["p99"])) for beside in (at - 1, at + 1))
                ratios.append((float(str(one["p99"])), around))
        crowd, around = (statistics.median(pair[side] for pair in ratios) for side in (0, 1))
        if crowd > 1.2 * around and crowd > around + 1:
            bad.append(f"{name}: p99 {crowd:.2f} ms, {around:.2f} ms in calm")
    first, last = found[2 * len(CROWDS)], found[-1]  # what one round fills stays with the allocator
    if float(str(last["mib"])) > float(str(first["mib"])) + 10:
        bad.append(f"memory grew from {first['mib']} to {last['mib']} MiB")
    if float(str(last["files"])) > float(str(first["files"])):
        bad.append(f"open files grew from {first['files']} to {last['files']}")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.crowd")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--slow", type=int, default=300)
    parser.add_argument("--opens", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--measure", type=int, default=0)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(asyncio.run(measured(options.measure, options.seconds))))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        process, port, _ = start(Path(scratch), ["--workers", str(options.workers)])
        try:
            found = asyncio.run(run(port, process.pid, options))
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(40)
    bad = broken(found) + ([f"exit code {code}"] if code else [])
    rig.save("crowd", {"found": found, "broken": bad})
    header = ["crowd", "p50 ms", "p99 ms", "calls", "MiB", "open files", "what it did"]
    rows = [
        [
            str(one["crowd"] or "none"),
            f"{one['p50']:.2f}",
            f"{one['p99']:.2f}",
            f"{one['calls']:,}",
            str(one["mib"]),
            str(one["files"]),
            ", ".join(f"{count:,} {what}" for what, count in dict(one.get("told", {})).items()),
        ]
        for one in found
    ]
    print(rig.markdown(header, rows))
    print("\n".join(bad) or "every promise was kept", file=sys.stderr)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
