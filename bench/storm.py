"""What clients see when a worker is killed and when the server is told to end, under load.

usage: python -m bench.storm [--workers 2] [--connections 32] [--seconds 4] [--least 10000]
One process keeps the connections busy, each with one request at a time, and checks every answer. First ``kill -9`` of a
worker in full run, then SIGTERM of the supervisor in full run. Prints one JSON document and a table. Exit code 1 when

- fewer than ``--least`` requests a second were answered in the second before either;
- a client got a wrong answer or an error, or could not connect while the server should be there;
- the kill cost a connection of another worker its answer, or the worker was not replaced;
- the SIGTERM cost anybody an answer, or the supervisor's exit code was not 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvloop

from bench import rig, w1
from bench.load import fetch, header, v2


@dataclass
class Storm:
    """What all connections share. ``seen`` counts per phase what happened: ``calm``, ``kill`` and ``term``."""

    port: int
    requests: list[bytes]
    expected: np.ndarray
    phase: str = "calm"
    over: bool = False
    turn: int = 0
    seen: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in ("calm", "kill", "term")}
    )
    times: list[float] = field(default_factory=list)
    """When answers came."""
    kept: list[tuple[int, bytes]] = field(default_factory=list)
    lost_by: Counter[int] = field(default_factory=Counter)
    """Answers lost, by the local port of the connection, to see whose it was."""

    def count(self, what: str) -> None:
        self.seen[self.phase][what] += 1

    def rate(self, until: float) -> int:
        return sum(until - 1 <= at < until for at in self.times)

    def wrong(self) -> int:
        return sum(not np.allclose(v2(b"", body), self.expected[at], rtol=1e-4, atol=1e-5) for at, body in self.kept)


class Caller(asyncio.Protocol):
    """One connection. ``ended``: done when it is closed, with whether an answer was owed then."""

    def __init__(self, storm: Storm) -> None:
        self.storm = storm
        self.buffer = b""
        self.owed = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.local = transport.get_extra_info("sockname")[1]
        self.next()

    def next(self) -> None:
        self.storm.turn = self.at = (self.storm.turn + 1) % len(self.storm.requests)
        self.owed = True
        self.transport.write(self.storm.requests[self.at])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < header(head, b"content-length"):
            return
        self.buffer, self.owed = b"", False
        self.storm.times.append(time.monotonic())
        if head.startswith(b"HTTP/1.1 200"):
            self.storm.count("answered")
            self.storm.kept.append((self.at, body))
        else:
            self.storm.count("answered with " + head[9:12].decode())
        if self.storm.over or b"connection: close" in head.lower():
            self.storm.count("told to close")
            self.transport.close()
        else:
            self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.owed and not self.storm.over:
            how = "reset" if exc else "closed"
            self.storm.count(f"{how} {'in the middle of' if self.buffer else 'before'} an answer")
            self.storm.lost_by[self.local] += 1
        self.ended.set_result(None)


async def client(storm: Storm) -> None:
    """Connect, ask, and connect again when the connection ends; give up when the door is shut for good."""
    loop = asyncio.get_running_loop()
    while not storm.over:
        try:
            async with asyncio.timeout(10):
                _, caller = await loop.create_connection(lambda: Caller(storm), "127.0.0.1", storm.port)
        except ConnectionRefusedError:
            storm.count("refused")
            if storm.phase == "term":
                return
            await asyncio.sleep(0.05)
            continue
        except (OSError, TimeoutError) as error:
            storm.count(f"no connection: {type(error).__name__}")
            if storm.phase == "term":
                return
            continue
        storm.count("connected")
        await caller.ended


class Server:
    """``fairlead serve --workers``, and its log."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.log = folder / "log"
        command = [sys.executable, "-m", "fairlead", "serve", f"w1={folder / 'model.onnx'}", "--threads", "1"]
        command += ["--port", "0", "--workers", str(workers), "--home", str(folder / "home")]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stderr=out, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def events(self, name: str) -> list[dict[str, object]]:
        lines = self.log.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if event.get("event") == name]

    async def until(self, name: str, count: int, seconds: float = 30.0) -> list[dict[str, object]]:
        ends = time.monotonic() + seconds
        while len(found := self.events(name)) < count:
            if self.process.poll() is not None or time.monotonic() > ends:
                raise SystemExit(f"no {name!r} in the log: {self.log.read_text()[-2000:]}")
            await asyncio.sleep(0.02)
        return found


def connections_of(pid: int, port: int) -> set[int]:
    """The clients' ports of the connections that a process has."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if found := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink())):
            inodes.add(found[1])
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and int(fields[1].partition(":")[2], 16) == port:
            ports.add(int(fields[2].partition(":")[2], 16))
    return ports


async def run(storm: Storm, server: Server, options: argparse.Namespace) -> dict[str, object]:
    clients = [asyncio.create_task(client(storm)) for _ in range(options.connections)]
    await asyncio.sleep(options.seconds)
    killed = int(str(server.events("worker started")[0]["pid"]))
    theirs = connections_of(killed, storm.port)
    before_kill = storm.rate(time.monotonic())
    storm.phase = "kill"
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    await server.until("worker started", options.workers + 1)
    await server.until("loaded", options.workers + 1)
    replaced = time.monotonic() - began
    await asyncio.sleep(options.seconds)
    before_term = storm.rate(time.monotonic())
    storm.phase = "term"
    server.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code = await asyncio.to_thread(server.process.wait, 40)
    ended = time.monotonic() - began
    await asyncio.wait(clients, timeout=15)
    left = sum(not task.done() for task in clients)
    storm.over = True
    return {
        "requests_per_second_before_the_kill": before_kill,
        "connections_of_the_killed_worker": len(theirs),
        "answers_lost_by_others": sum(count for port, count in storm.lost_by.items() if port not in theirs),
        "seconds_until_replaced": round(replaced, 2),
        "requests_per_second_before_sigterm": before_term,
        "seconds_until_ended": round(ended, 2),
        "exit_code": code,
        "clients_left_hanging": left,
        "wrong": storm.wrong(),
        "seen": {phase: dict(sorted(counts.items())) for phase, counts in storm.seen.items()},
    }


def broken(found: dict[str, object], storm: Storm, least: int) -> list[str]:
    """The promises that were not kept."""
    rates = [found[f"requests_per_second_before_{what}"] for what in ("the_kill", "sigterm")]
    bad = [f"only {rate} requests/s" for rate in rates if int(str(rate)) < least]
    bad += [
        f"{name} = {found[name]}"
        for name in ("answers_lost_by_others", "exit_code", "wrong", "clients_left_hanging")
        if found[name]
    ]
    for phase, counts in storm.seen.items():
        allowed = {"answered", "connected", "told to close"}
        allowed |= {"kill": {"reset before an answer", "closed before an answer"}, "term": {"refused"}}.get(
            phase, set()
        )
        bad += [f"{phase}: {count} {what}" for what, count in counts.items() if what not in allowed]
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.storm")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--least", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        w1.make(folder).rename(folder / "model.onnx")
        server = Server(folder, options.workers)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                (ready,) = runner.run(server.until("ready", 1))
                port = int(str(ready["url"]).rpartition(":")[2]) if "url" in ready else 0
                storm = Storm(port, fetch(folder / "v2.requests"), np.load(folder / "expected.npy"))
                found = runner.run(run(storm, server, options))
            finally:
                if server.process.poll() is None:
                    server.process.kill()
    bad = broken(found, storm, options.least)
    rig.save("storm", {**found, "broken": bad})
    print(json.dumps({**found, "broken": bad}, indent=1))
    kinds = sorted({what for counts in storm.seen.values() for what in counts})
    print(
        rig.markdown(
            ["what clients saw", *storm.seen],
            [[kind, *(f"{storm.seen[p][kind]:,}" for p in storm.seen)] for kind in kinds],
        )
    )
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
