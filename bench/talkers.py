"""A closed-loop load of OpenAI's API that checks every answer. Runs as a process of its own, on a core of its own.

usage: python -m bench.talkers PORT CONNECTIONS REQUEST ANSWER [--seconds 4] [--stream]
REQUEST is a file with a whole HTTP request, ANSWER one with the text that it gets. Prints one JSON document: requests
a second, chunks (events with text) a second, the median and the 99th percentile in milliseconds, and those to the first
byte.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

import uvloop

WARM = 0.5
"""Seconds before it is measured."""


PATIENCE = 60.0
"""Seconds for each connection to have one answer."""


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is whole."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = bytearray()
        self.sent = self.first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.ask()

    def ask(self) -> None:
        self.sent, self.first = time.perf_counter(), 0.0
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        if not self.first:
            self.first = time.perf_counter()
        self.buffer += data
        if self.load.whole(self.buffer):
            self.load.answered(bytes(self.buffer), self.sent, self.first)
            self.buffer.clear()
            if not self.load.over:
                self.ask()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.load.over:
            raise SystemExit("the server closed a connection")


class Load:
    """``request``: what is sent.  ``answer``: the text that comes back."""

    def __init__(self, request: bytes, answer: str, streams: bool) -> None:
        self.request, self._answer, self._streams = request, answer, streams
        self.over, self.began = False, 0.0
        self.times: list[float] = []
        self.firsts: list[float] = []
        self.chunks = self.sent = 0
        self._checked: set[int] = set()

    def whole(self, buffer: bytearray) -> bool:
        if self._streams:
            return buffer.endswith(b"\r\n0\r\n\r\n")
        head = buffer.find(b"\r\n\r\n")
        if head < 0:
            return False
        lower = bytes(buffer[:head]).lower()
        return len(buffer) >= head + 4 + int(lower.partition(b"content-length:")[2].split()[0])

    def answered(self, data: bytes, sent: float, first: float) -> None:
        now = time.perf_counter()
        if not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"an answer that is none: {data[:600]!r}")
        if not self._streams or len(data) not in self._checked:  # ids differ, lengths hardly
            self._check(data)
        self.sent += 1
        if now < self.began:
            return
        self.times.append(now - sent)
        self.firsts.append(first - sent)
        self.chunks += data.count(b'"content":"') if self._streams else 0

    def _check(self, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        if self._streams:
            text = said(body)
            self._checked.add(len(data))
        else:
            text = json.loads(body)["choices"][0]["message"]["content"]
        if text != self._answer:
            raise SystemExit(f"another answer: {text[:200]!r} {head!r}")


def said(body: bytes) -> str:
    """The text of a chunked stream."""
    plain, at = bytearray(), 0
    while at < len(body):
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        plain += body[end + 2 : end + 2 + size]
        at = end + 4 + size
    events = [line[6:] for line in plain.split(b"\n") if line.startswith(b"data: {")]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def at(values: list[float], share: float) -> float:
    return 1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def run(port: int, connections: int, load: Load, seconds: float) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    load.began = time.perf_counter() + WARM
    made = [await loop.create_connection(lambda: Connection(load), "127.0.0.1", port) for _ in range(connections)]
    await asyncio.sleep(WARM + seconds)
    while len(load.times) < connections and time.perf_counter() < load.began + PATIENCE:  # noqa: ASYNC110 - a bench
        await asyncio.sleep(0.05)
    load.over, seconds = True, time.perf_counter() - load.began
    for transport, _ in made:
        transport.close()
    return {
        "requests_per_second": len(load.times) / seconds,
        "sent": load.sent,
        "chunks_per_second": load.chunks / seconds,
        "p50_ms": at(load.times, 0.5),
        "p99_ms": at(load.times, 0.99),
        "first_p50_ms": at(load.firsts, 0.5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.talkers")
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("request", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--stream", action="store_true")
    options = parser.parse_args()
    load = Load(options.request.read_bytes(), options.answer.read_text(), options.stream)
    print(json.dumps(uvloop.run(run(options.port, options.connections, load, options.seconds))))


if __name__ == "__main__":
    main()
