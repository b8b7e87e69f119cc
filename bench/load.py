"""A closed-loop HTTP load generator that checks every answer. Runs as a process of its own, on a core of its own.

usage: python -m bench.load PORT CONNECTIONS SECONDS FOLDER CHECK  (prints one JSON document)
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np
import uvloop

PATH = b"/v2/models/w1/infer"


class Connection(asyncio.Protocol):
    """Sends the next body as soon as the answer to the last one is whole."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.at = 0
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.next()

    def next(self) -> None:
        self.at = self.load.take()
        self.sent = time.perf_counter()
        self.transport.write(self.load.requests[self.at])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.load.answered(self.at, head, body, time.perf_counter() - self.sent)
        self.buffer = b""
        if not self.load.over:
            self.next()


class Load:
    def __init__(self, bodies: list[bytes], expected: np.ndarray, check: bool) -> None:
        head = b"POST %b HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        self.requests = [head % (PATH, len(body), body) for body in bodies]
        self.expected = expected
        self.check = check
        self.turn = 0
        self.over = False
        self.measuring = False
        self.latencies: list[float] = []
        self.kept: list[tuple[int, bytes]] = []
        self.errors = 0

    def take(self) -> int:
        self.turn = (self.turn + 1) % len(self.requests)
        return self.turn

    def answered(self, at: int, head: bytes, body: bytes, seconds: float) -> None:
        if not self.measuring:
            return
        self.latencies.append(seconds)
        if not head.startswith(b"HTTP/1.1 200"):
            self.errors += 1
        elif self.check:
            self.kept.append((at, body))

    def wrong(self) -> int:
        """Answers that are not the answer to their request (checked after the run, so that checking costs no load)."""
        count = 0
        for at, body in self.kept:
            outputs = {output["name"]: output for output in json.loads(body)["outputs"]}
            given = np.array(outputs["probabilities"]["data"], np.float64).ravel()
            count += not np.allclose(given, self.expected[at], atol=1e-6)
        return count


async def run(port: int, connections: int, seconds: float, folder: Path, check: bool) -> dict[str, float]:
    bodies = [line for line in (folder / "bodies").read_bytes().split(b"\n") if line]
    load = Load(bodies, np.load(folder / "expected.npy"), check)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", port)
    await asyncio.sleep(min(1.0, seconds / 3))
    load.measuring = True
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    taken = time.perf_counter() - began
    load.measuring, load.over = False, True
    latencies = np.sort(np.array(load.latencies) * 1000)

    def rank(share: float) -> float:
        return float(latencies[max(0, int(np.ceil(share * len(latencies))) - 1)])

    return {
        "requests_per_second": len(latencies) / taken,
        "p50_ms": rank(0.5),
        "p99_ms": rank(0.99),
        "p999_ms": rank(0.999),
        "checked": len(load.kept),
        "wrong": load.wrong(),
        "errors": load.errors,
    }


if __name__ == "__main__":
    port, connections, seconds, folder, check = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(run(int(port), int(connections), float(seconds), Path(folder), check == "1"))
    print(json.dumps(found))
