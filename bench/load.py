"""A closed-loop HTTP load generator that checks every answer. Runs as a process of its own, on a core of its own.

usage: python -m bench.load PORT CONNECTIONS REQUESTS [--seconds 4 | --count N] [--reader v2] [--expected FILE]
Prints one JSON document. ``--seconds`` measures what is answered in that time, after a while to warm up; ``--count``
measures how long so many requests take, for models so slow that answers come in bursts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import uvloop


def store(path: Path, requests: list[bytes]) -> None:
    """Keep whole HTTP requests for ``fetch``."""
    path.write_bytes(b"".join(struct.pack("<I", len(one)) + one for one in requests))


def fetch(path: Path) -> list[bytes]:
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def post(path: str, body: bytes, *lines: bytes, content: bytes = b"application/json") -> bytes:
    head = [b"POST %b HTTP/1.1" % path.encode(), b"host: bench", b"content-type: " + content, *lines]
    return b"\r\n".join([*head, b"content-length: %d" % len(body), b"", body])


def header(head: bytes, name: bytes) -> int:
    return int(head.lower().partition(b"\r\n%b:" % name)[2].partition(b"\r\n")[0])


def v2(head: bytes, body: bytes) -> np.ndarray:
    outputs = {output["name"]: output for output in json.loads(body)["outputs"]}
    return np.array(outputs["probabilities"]["data"], np.float64).ravel()


def plain(head: bytes, body: bytes) -> np.ndarray:
    found = json.loads(body)
    return np.array(found["output"] if isinstance(found, dict) else found, np.float64).ravel()


def binary(head: bytes, body: bytes) -> np.ndarray:
    size = header(head, b"inference-header-content-length")
    (output,) = json.loads(body[:size])["outputs"]
    assert output["parameters"]["binary_data_size"] == len(body) - size
    return np.frombuffer(body, np.float32, offset=size)


def mlserver(head: bytes, body: bytes) -> np.ndarray:
    (output,) = json.loads(body)["outputs"]
    return np.array(output["data"], np.float64).ravel()


def mlflow(head: bytes, body: bytes) -> np.ndarray:
    return np.array(json.loads(body)["predictions"], np.float64).ravel()


Reader = Callable[[bytes, bytes], np.ndarray]
READERS: dict[str, Reader] = {"v2": v2, "plain": plain, "binary": binary, "mlserver": mlserver, "mlflow": mlflow}


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is whole."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.at = 0
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def next(self) -> None:
        self.at = self.load.take()
        self.sent = time.perf_counter()
        self.transport.write(self.load.requests[self.at])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < header(head, b"content-length"):
            return
        self.load.answered(self.at, head, body, time.perf_counter() - self.sent)
        self.buffer = b""
        if not self.load.over:
            self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.load.over:
            self.load.done.set_exception(exc or ConnectionError("the server closed the connection"))
            self.load.over = True


class Load:
    def __init__(self, requests: list[bytes], count: int) -> None:
        self.requests = requests
        self.left = count
        """Requests to send, below zero: any number."""
        self.owed = count
        self.turn = 0
        self.over = False
        self.measuring = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self.kept: list[tuple[int, bytes, bytes]] = []
        self.errors = 0

    def take(self) -> int:
        self.turn = (self.turn + 1) % len(self.requests)
        self.left -= 1
        self.over = self.left == 0
        return self.turn

    def answered(self, at: int, head: bytes, body: bytes, seconds: float) -> None:
        if not self.measuring:
            return
        self.owed -= 1
        self.latencies.append(seconds)
        if not head.startswith(b"HTTP/1.1 200"):
            self.errors += 1
        else:
            self.kept.append((at, head, body))
        if self.owed == 0:
            self.done.set_result(None)

    def wrong(self, expected: np.ndarray, reader: Reader) -> int:
        """Answers that are not the answer to their request (checked after the run, so that checking costs no load)."""
        tolerance = 1e-5 * float(np.abs(expected).max())
        return sum(
            not np.allclose(reader(head, body), expected[at], rtol=1e-4, atol=tolerance) for at, head, body in self.kept
        )


async def run(options: argparse.Namespace) -> dict[str, float]:
    load = Load(fetch(options.requests), options.count or -1)
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", options.port)
        for _ in range(options.connections)
    ]
    load.measuring = bool(options.count)
    began = time.perf_counter()
    for _, connection in made:
        if not load.over:
            connection.next()
    if options.count:
        await load.done
    else:
        await asyncio.wait([load.done], timeout=min(1.0, options.seconds / 3))
        load.measuring, began = True, time.perf_counter()
        await asyncio.wait([load.done], timeout=options.seconds)
    taken = time.perf_counter() - began
    load.measuring, load.over = False, True
    if load.done.done():
        load.done.result()
    latencies = np.sort(np.array(load.latencies) * 1000)

    def rank(share: float) -> float:
        return float(latencies[max(0, int(np.ceil(share * len(latencies))) - 1)])

    found = {"requests_per_second": len(latencies) / taken, "seconds": taken, "sent": options.count or -1 - load.left}
    found |= {"p50_ms": rank(0.5), "p99_ms": rank(0.99), "p999_ms": rank(0.999), "errors": load.errors}
    if options.expected:
        found |= {"checked": len(load.kept), "wrong": load.wrong(np.load(options.expected), READERS[options.reader])}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.load")
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("requests", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--reader", choices=sorted(READERS), default="v2")
    parser.add_argument("--expected", type=Path)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(run(options))))


if __name__ == "__main__":
    main()
