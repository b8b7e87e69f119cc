"""Callers at a steady pace who check every answer, note which version gave it, and tell what turned out to be true."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from bench.load import header, post, v2

FEEDBACK_SECONDS = 0.5
PATIENCE_SECONDS = 10.0


@dataclass
class Heard:
    """What all callers heard. ``answers``: when each was asked (Unix seconds) and by which version it was answered.

    ``acknowledged``: prediction ids whose label the server said it keeps.  ``refused``: answers to labels but 200.
    """

    answers: list[tuple[float, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    late_ms: list[float] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)


class Callers:
    """``rate`` calls a second over ``connections`` kept connections; a label for one call in ``label_every``."""

    def __init__(
        self, port: int, requests: list[bytes], expected: np.ndarray, *, rate: float, connections: int, label_every: int
    ) -> None:
        self.heard = Heard()
        self._port, self._requests, self._expected = port, requests, expected
        self._rate, self._connections, self._every = rate, connections, label_every
        self._owed: list[str] = []
        self._over = False

    def stop(self) -> None:
        """Every caller ends after the answer that it waits for, and the labels that are left are told."""
        self._over = True

    async def run(self) -> None:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for place in range(self._connections):
                group.create_task(self._call(place, began))
            group.create_task(self._tell())

    async def _call(self, place: int, began: float) -> None:
        link: _Link | None = None
        turn = place
        while not self._over:
            await asyncio.sleep(began + turn / self._rate - time.perf_counter())
            at, started = turn % len(self._requests), time.perf_counter()
            asked = time.time()
            try:
                link = link or await _Link.to(self._port)
                head, body = await link.ask(self._requests[at])
                self._answered(at, asked, head, body, started)
            except (OSError, EOFError, TimeoutError) as error:
                self.heard.failed[type(error).__name__] += 1
                head = b"connection: close"
            if link is not None and b"connection: close" in head.lower():
                link.close()
                link = None
            turn += self._connections

    def _answered(self, at: int, asked: float, head: bytes, body: bytes, started: float) -> None:
        if not head.startswith(b"HTTP/1.1 200"):
            self.heard.failed[head[9:12].decode()] += 1
            return
        if not np.allclose(v2(head, body), self._expected[at], rtol=1e-4, atol=1e-5):
            self.heard.failed["wrong answer"] += 1
            return
        self.heard.late_ms.append((time.perf_counter() - started) * 1000)
        self.heard.answers.append((asked, text(head, b"fairlead-version")))
        self.heard.ids.append(id_ := text(head, b"fairlead-prediction-id"))
        if len(self.heard.ids) % self._every == 0:
            self._owed.append(id_)

    async def _tell(self) -> None:
        """Labels in batches. What is not acknowledged is told again; what is left at the end is given up in time."""
        ends = 0.0
        while not self._over or (self._owed and time.perf_counter() < ends):
            await asyncio.sleep(FEEDBACK_SECONDS)
            ends = ends if self._over else time.perf_counter() + PATIENCE_SECONDS
            told, self._owed = self._owed, []
            if told and not await self._acknowledged(told):
                self._owed = told + self._owed

    async def _acknowledged(self, told: list[str]) -> bool:
        labels = [{"prediction_id": one, "label": 1} for one in told]
        try:
            link = await _Link.to(self._port)
            try:
                head, _ = await link.ask(
                    post("/v1/feedback", json.dumps({"endpoint": "w1", "labels": labels}).encode())
                )
            finally:
                link.close()
        except (OSError, EOFError, TimeoutError) as error:
            self.heard.refused[type(error).__name__] += 1
            return False
        if head.startswith(b"HTTP/1.1 200"):
            self.heard.acknowledged.update(told)
            return True
        self.heard.refused[head[9:12].decode()] += 1
        return False


def text(head: bytes, name: bytes) -> str:
    """A header's value."""
    at = head.lower().index(b"\r\n%b:" % name) + len(name) + 3
    return head[at:].partition(b"\r\n")[0].strip().decode()


class _Link:
    """One kept connection, one request at a time. Raises OSError, EOFError, TimeoutError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> _Link:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            self._writer.write(request)
            head = await self._reader.readuntil(b"\r\n\r\n")
            return head, await self._reader.readexactly(header(head, b"content-length"))

    def close(self) -> None:
        self._writer.close()
