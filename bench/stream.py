"""What a stream worker does on one core: W1 from one stream to another; broker and producer are on the other core.

usage: python -m bench.stream [--brokers nats,redis] [--rate 5000] [--seconds 6] [--messages 20000] [--rounds 3]
       [--keys 500]
Each round: ``--messages`` wait already and are worked off (how many a second), then ``--rate`` a second come for
``--seconds`` (end to end: from the broker's time of a message to its time of the answer). Every answer is checked, and
that each message has one and each key its order. The brokers are private servers that keep what they have in files.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import numpy as np
import uvloop
from redis.asyncio import Redis

from bench import rig, w1
from bench.load import fetch
from fairlead.contracts.broker import Message, Outgoing, Place
from fairlead.kit import plugins

TURN = 0.005
"""Seconds between two batches of the producer."""

Figures = dict[str, float]


def nats_command(port: int, folder: Path) -> list[str]:
    return ["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]


def redis_command(port: int, folder: Path) -> list[str]:
    keep = ["--save", "", "--appendonly", "yes", "--dir", str(folder)]
    return ["redis-server", "--bind", "127.0.0.1", "--port", str(port), *keep]


async def nats_streams(port: int, names: list[str]) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    for name in names:
        await client.jetstream().add_stream(name=name, subjects=[name])
    await client.close()


async def redis_streams(port: int, names: list[str]) -> None:
    async with Redis(port=port) as client:
        for name in names:
            await client.xdel(name, await client.xadd(name, {"body": ""}))


BROKERS = {"nats": (nats_command, nats_streams), "redis": (redis_command, redis_streams)}


@contextlib.contextmanager
def served(broker: str, folder: Path) -> Iterator[int]:
    """A private broker on the core of the load; gives its port."""
    command, _ = BROKERS[broker]
    port = rig.free_port()
    folder.mkdir()
    words = rig.pinned(command(port, folder), rig.LOAD_CORE)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    try:
        time.sleep(0.7)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def worker(model: Path, place: str, ends: tuple[str, str], words: list[str]) -> Iterator[dict[str, Any]]:
    """A worker on the core of the server, ready; what it says at its end is in the dictionary afterwards."""
    command = [sys.executable, "-m", "fairlead", "stream", f"w1={model}", "--json", *words]
    command += ["--input", f"{place}/{ends[0]}", "--output", f"{place}/{ends[1]}"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(rig.ROOT)}
    process = subprocess.Popen(
        rig.pinned(command, rig.SERVER_CORE), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    said: dict[str, Any] = {"pid": process.pid}
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if '"event":"ready"' in line:
            break
    else:
        raise SystemExit(f"the worker did not start: {''.join(lines)[-2000:]}")
    try:
        yield said
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=40)
        said.update(json.loads(out), rc=process.returncode)


class Round:
    """Messages to one stream and the answers of another. ``rows``: bodies, used in turn."""

    def __init__(self, broker: str, port: int, rows: list[bytes], expected: np.ndarray, keys: int) -> None:
        self.scheme, self.address = broker, f"127.0.0.1:{port}"
        self.rows, self.expected, self.keys = rows, expected, keys

    async def send(self, name: str, messages: int, rate: float) -> None:
        """As fast as it goes with a rate of 0."""
        broker = plugins.load("fairlead.brokers", self.scheme)(Place(self.scheme, self.address, name))
        target = await broker.target()
        began, sent = time.perf_counter(), 0
        while sent < messages:
            due = messages if not rate else min(messages, int((time.perf_counter() - began) * rate))
            batch = [self._letter(number) for number in range(sent, min(due, sent + 1000))]
            if batch:
                await target.publish(batch)
                sent += len(batch)
            if rate:
                await asyncio.sleep(TURN)
        await broker.close()

    def _letter(self, number: int) -> Outgoing:
        headers = {"x-request-id": str(number)}
        return Outgoing(self.rows[number % len(self.rows)], headers, f"k{number % self.keys}" if self.keys else "")

    async def read(self, name: str, messages: int, seconds: float) -> list[Message]:
        broker = plugins.load("fairlead.brokers", self.scheme)(Place(self.scheme, self.address, name))
        source = await broker.source("bench", "bench")
        found: list[Message] = []
        ends = time.monotonic() + seconds
        while len(found) < messages and time.monotonic() < ends:
            some = await source.fetch(2000, 0.5)
            await source.settle(some)
            found += some
        await source.close()
        await broker.close()
        return found

    def check(self, answers: list[Message], messages: int) -> None:
        """Each message once, right, and in the order of its key. Raises SystemExit."""
        numbers = [int(one.headers["x-request-id"]) for one in answers]
        if sorted(numbers) != list(range(messages)):
            raise SystemExit(f"{len(set(numbers))} of {messages} messages were answered, {len(numbers)} answers")
        last: dict[str, int] = {}
        for one, number in zip(answers, numbers, strict=True):
            if one.key and last.get(one.key, -1) > number:
                raise SystemExit(f"key {one.key}: {number} after {last[one.key]}")
            last[one.key] = number
            outputs = {item["name"]: item["data"] for item in json.loads(one.body)["outputs"]}
            if not np.allclose(outputs["probabilities"], self.expected[number % len(self.rows)], atol=1e-5):
                raise SystemExit(f"message {number} was answered wrong")


def run(broker: str, folder: Path, options: argparse.Namespace, number: int) -> dict[str, Figures]:
    """One round on one broker."""
    model = next((folder / "model").rglob("*.onnx"))
    rows = [one.partition(b"\r\n\r\n")[2] for one in fetch(folder / "model" / "v2.requests")]
    expected = np.load(folder / "model" / "expected.npy")
    _, make = BROKERS[broker]
    found: dict[str, Figures] = {}
    with served(broker, folder / f"{broker}-{number}") as port:
        uvloop.run(make(port, ["backlog", "done", "paced", "answers"]))
        place, work = f"{broker}://127.0.0.1:{port}", Round(broker, port, rows, expected, options.keys)
        uvloop.run(work.send("backlog", options.messages, 0))
        with worker(model, place, ("backlog", "done"), []) as said:
            answers = uvloop.run(work.read("done", options.messages, 120))
            cpu = rig.cpu_seconds(said["pid"])
            memory = rig.memory_mb(said["pid"])
        work.check(answers, options.messages)
        times = sorted(one.at_ms for one in answers)
        tenth = len(times) // 10  # the first and the last are not full speed
        rate = 1000 * (len(times) - 2 * tenth) / (times[-tenth - 1] - times[tenth])
        found["backlog"] = {"per_second": rate, "cpu_seconds": cpu, "memory_mb": memory}
        messages = round(options.rate * options.seconds)
        with worker(model, place, ("paced", "answers"), []) as said:
            before = rig.cpu_seconds(said["pid"])
            uvloop.run(work.send("paced", messages, options.rate))
            answers = uvloop.run(work.read("answers", messages, 60))
            cpu = rig.cpu_seconds(said["pid"]) - before
        work.check(answers, messages)
        sent = {one.id: one.at_ms for one in uvloop.run(work.read("paced", messages, 30))}
        waits = np.array([one.at_ms - sent[one.headers["fairlead-source-id"]] for one in answers])
        span = (max(one.at_ms for one in answers) - min(sent.values())) / 1000
        found["paced"] = {
            "per_second": messages / span,
            "p50_ms": float(np.percentile(waits, 50)),
            "p99_ms": float(np.percentile(waits, 99)),
            "p999_ms": float(np.percentile(waits, 99.9)),
            "cpu_us_per_message": 1e6 * cpu / messages,
            "said_p99_ms": said["p99_ms"],
        }
    print(f"stream round {number + 1} {broker}: {json.dumps(found)}", file=sys.stderr)
    return found


def table(runs: dict[str, list[dict[str, Figures]]]) -> str:
    header = ["broker", "backlog, messages/s", "paced, messages/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU us a message"]
    rows = []
    for broker, rounds in runs.items():
        middle = lambda part, key, all_=rounds: float(np.median([one[part][key] for one in all_]))  # noqa: E731
        row = [broker, f"{middle('backlog', 'per_second'):,.0f}", f"{middle('paced', 'per_second'):,.0f}"]
        row += [f"{middle('paced', key):.1f}" for key in ("p50_ms", "p99_ms", "p999_ms")]
        rows.append([*row, f"{middle('paced', 'cpu_us_per_message'):.0f}"])
    return rig.markdown(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.stream")
    parser.add_argument("--brokers", default="nats,redis")
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keys", type=int, default=500, help="0: messages have no key")
    options = parser.parse_args()
    brokers = options.brokers.split(",")
    for broker in brokers:
        program = re.sub("$", "-server", broker)
        if broker not in BROKERS or shutil.which(program) is None:
            parser.error(f"no such broker here: {broker} ({program})")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "model").mkdir()
        w1.make(folder / "model")
        runs: dict[str, list[dict[str, Figures]]] = {broker: [] for broker in brokers}
        for number in range(options.rounds):
            for broker in brokers:
                runs[broker].append(run(broker, folder, options, number))
    rig.save("stream", runs)
    print(table(runs))


if __name__ == "__main__":
    main()
