"""An open-loop HTTP load generator: calls come when they come, however slow the answers are.

usage: python -m bench.open_load PORT RATE [--seconds 5] [--warm 1.5] [--deadline 100] [--interactive 0] [--seed 7]
Arrivals are Poisson, fixed by the seed before the first call, and a latency counts from the time at which a call was
due, so a server that makes callers wait is charged for it. A call takes a free connection or opens one more. Callers
give up after twice their deadline and close. Prints one JSON document; every answer is checked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter, deque

import numpy as np
import uvloop

from bench.load import header, post

FIRST, MOST = 32, 1024
"""Connections to begin with, and at most."""
ROWS = 64


def requests(deadline: float, name: str, priority: str = "") -> list[bytes]:
    """Requests of one row each; row ``n`` sums up to ``20 * n``."""
    lines = [b"x-request-timeout-ms: %g" % deadline]
    if priority:
        lines.append(b"x-request-priority: " + priority.encode())
    bodies = [
        {"inputs": [{"name": "X", "shape": [1, 20], "datatype": "FP32", "data": [float(n)] * 20}]} for n in range(ROWS)
    ]
    return [post(f"/v2/models/{name}/infer", json.dumps(one).encode(), *lines) for one in bodies]


class Ask:
    """One call: when it was due, which row, whether it is interactive and whether it counts."""

    __slots__ = ("counts", "due", "link", "row", "urgent")

    def __init__(self, due: float, row: int, urgent: bool, counts: bool) -> None:
        self.due, self.row, self.urgent, self.counts = due, row, urgent, counts
        self.link: Link | None = None


class Link(asyncio.Protocol):
    """A connection, with one call at a time."""

    def __init__(self, load: Load, ask: Ask | None) -> None:
        self.load, self.ask = load, ask
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self.ask is None:
            self.load.free.append(self)
        elif self.ask.link is self:
            self.send(self.ask)
        else:
            transport.close()  # its caller gave up meanwhile

    def send(self, ask: Ask) -> None:
        self.ask, ask.link = ask, self
        self.transport.write(self.load.requests[ask.urgent][ask.row])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < header(head, b"content-length"):
            return
        ask, self.ask, self.buffer = self.ask, None, b""
        if ask is not None:
            self.load.answered(ask, head, body)
        if b"connection: close" in head.lower():
            self.transport.close()
        else:
            self.load.free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self.load.open -= 1
        if self in self.load.free:
            self.load.free.remove(self)
        if self.ask is not None and self.ask.link is self:
            self.load.count(self.ask, "lost")
            self.ask.link = None


class Load:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.deadline = options.deadline / 1000
        self.requests = [requests(options.deadline, options.model, lane) for lane in ("", "interactive")]
        rng = np.random.default_rng(options.seed)
        total = options.warm + options.seconds
        times = np.cumsum(rng.exponential(1 / options.rate, int(options.rate * total * 1.2) + 10))
        times = times[times < total]
        urgent = rng.random(len(times)) < options.interactive
        self.asks = deque(
            Ask(float(at), int(n % ROWS), bool(hot), at >= options.warm)
            for n, (at, hot) in enumerate(zip(times, urgent, strict=True))
        )
        self.loop = asyncio.get_running_loop()
        self.free: list[Link] = []
        self.pending: deque[Ask] = deque()
        self.open = self.most = 0
        self.seen: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
        self.all: Counter[str] = Counter()
        self.answers: dict[bool, list[float]] = {False: [], True: []}
        self.refusals: list[float] = []
        self.later: Counter[str] = Counter()
        self.lag = 0.0

    def count(self, ask: Ask, what: str) -> None:
        self.all[what] += 1
        if ask.counts:
            self.seen[ask.urgent][what] += 1

    def answered(self, ask: Ask, head: bytes, body: bytes) -> None:
        ask.link = None
        took, status = time.perf_counter() - self.began - ask.due, head[9:12]
        if status == b"200":
            right = json.loads(body)["outputs"][0]["data"] == [20.0 * ask.row]
            self.count(ask, "wrong" if not right else "good" if took <= self.deadline else "late")
            if ask.counts:
                self.answers[ask.urgent].append(took)
        elif status in (b"429", b"503"):
            self.count(ask, "shed")
            if ask.counts:
                self.refusals.append(took)
                self.later[head.lower().partition(b"retry-after: ")[2].partition(b"\r")[0].decode()] += 1
        else:
            self.count(ask, "expired" if status == b"504" else f"status {status.decode()}")

    def send(self, ask: Ask) -> None:
        self.pending.append(ask)
        if self.free:
            self.free.pop().send(ask)
        elif self.open < MOST:
            self._connect(ask)
        else:
            self.count(ask, "no connection")

    def _connect(self, ask: Ask | None) -> None:
        link = Link(self, ask)
        self.open += 1
        self.most = max(self.most, self.open)
        if ask is not None:
            ask.link = link
        task = self.loop.create_task(self.loop.create_connection(lambda: link, "127.0.0.1", self.options.port))
        task.add_done_callback(lambda done: self._failed(link, done))

    def _failed(self, link: Link, done: asyncio.Task[object]) -> None:
        if done.cancelled() or done.exception() is not None:
            self.open -= 1
            if link.ask is not None and link.ask.link is link:
                self.count(link.ask, "not connected")
                link.ask.link = None

    def sweep(self, now: float) -> None:
        """Give up what is twice as old as it may be."""
        while self.pending and self.pending[0].due < now - 2 * self.deadline:
            ask = self.pending.popleft()
            link, ask.link = ask.link, None
            if link is not None:
                self.count(ask, "given up")
                link.ask = link.ask if not hasattr(link, "transport") else None
                if hasattr(link, "transport"):
                    link.transport.close()

    async def run(self) -> None:
        for _ in range(FIRST):
            self._connect(None)
        await asyncio.sleep(0.3)
        self.began = time.perf_counter()
        while self.asks or self.pending:
            now = time.perf_counter() - self.began
            while self.asks and self.asks[0].due <= now:
                ask = self.asks.popleft()
                self.lag = max(self.lag, now - ask.due)
                self.send(ask)
            self.sweep(now)
            due = self.asks[0].due if self.asks else now + 0.02
            await asyncio.sleep(min(0.02, max(0.0, due - (time.perf_counter() - self.began))))


def rank(values: list[float], share: float) -> float:
    found = np.sort(np.array(values or [float("nan")])) * 1000
    return float(found[max(0, int(np.ceil(share * len(found))) - 1)])


async def main(options: argparse.Namespace) -> None:
    load = Load(options)
    await load.run()
    lanes = {}
    for name, urgent in (("standard", False), ("interactive", True)):
        answers = load.answers[urgent]
        lanes[name] = {
            **load.seen[urgent],
            "goodput": load.seen[urgent]["good"] / options.seconds,
            "p50_ms": rank(answers, 0.5),
            "p99_ms": rank(answers, 0.99),
            "max_ms": rank(answers, 1.0),
        }
    found = {"lanes": lanes, "all": load.all, "refusal_p99_ms": rank(load.refusals, 0.99), "later": load.later}
    print(json.dumps({**found, "connections": load.most, "generator_lag_ms": load.lag * 1000}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.open_load")
    parser.add_argument("port", type=int)
    parser.add_argument("rate", type=float)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm", type=float, default=1.5)
    parser.add_argument("--deadline", type=float, default=100.0)
    parser.add_argument("--interactive", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model", default="row")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parser.parse_args()))
