"""Which embedding models are live, and how texts of many callers ride together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.contracts.embedder import Embedded, Embedder, Text
from fairlead.contracts.errors import (
    DeadlineExceeded,
    FairleadError,
    InvalidParameter,
    ModelFailed,
    NotFound,
    QueueFull,
    Unavailable,
)
from fairlead.kit.clock import Clock
from fairlead.kit.config import nearest

MOST: Final = 2048
"""Texts of one call, as OpenAI's API has it."""
_ROWS: Final = 64
_TOKENS: Final = 16_384
"""Texts, and tokens, that are computed together."""
_WAITING: Final = 8 * MOST
"""Texts that wait, of all callers."""
_INLINE: Final = 4_096
"""Characters that are read on the event loop: a millisecond or two. More are read in a thread."""


@dataclass(slots=True)
class _Call:
    """Texts of one caller. ``next``: the first that is not computed yet."""

    rows: Sequence[Sequence[int]]
    deadline: float
    future: asyncio.Future[NDArray[np.float32]]
    next: int = 0
    parts: list[NDArray[np.float32]] = field(default_factory=list)

    def takes(self, part: NDArray[np.float32]) -> None:
        self.parts.append(part)
        if self.next == len(self.rows) and not self.future.done():
            self.future.set_result(self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts))

    def fails(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Riding:
    """Batches of one embedder: it is never idle while a text waits, and never waits for more."""

    def __init__(self, embedder: Embedder, clock: Clock) -> None:
        self._embedder, self._clock = embedder, clock
        self._waiting: deque[_Call] = deque()
        self._rows = 0
        self._task: asyncio.Task[None] | None = None

    async def embed(self, rows: Sequence[Sequence[int]], deadline: float) -> NDArray[np.float32]:
        """Raises QueueFull, DeadlineExceeded, and what the embedder raises of these rows."""
        if self._rows + len(rows) > _WAITING:
            raise QueueFull(f"{self._rows} texts wait for the embedding model; at most {_WAITING} may", retry_after=1)
        call = _Call(rows, deadline, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._rows += len(rows)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        return await call.future

    async def _run(self) -> None:
        while self._waiting:
            batch = self._batch()
            if batch:
                await self._computed(batch)

    def _batch(self) -> list[tuple[_Call, int, int]]:
        """The next texts: of calls, from a place up to another."""
        found: list[tuple[_Call, int, int]] = []
        rows = tokens = 0
        while self._waiting and rows < _ROWS:
            call = self._waiting[0]
            if not call.future.done() and call.deadline <= self._clock.now():
                call.fails(DeadlineExceeded("the time of the request was over before its texts were computed"))
            if call.future.done():
                self._rows -= len(call.rows) - call.next
                self._waiting.popleft()
                continue
            start = call.next
            while call.next < len(call.rows) and rows < _ROWS and (not rows or tokens < _TOKENS):
                tokens += len(call.rows[call.next])
                call.next += 1
                rows += 1
            if call.next > start:
                found.append((call, start, call.next))
                self._rows -= call.next - start
            if call.next < len(call.rows):
                break
            self._waiting.popleft()
        return found

    async def _computed(self, batch: list[tuple[_Call, int, int]]) -> None:
        try:
            vectors = await self._embedder.embed([row for call, start, end in batch for row in call.rows[start:end]])
        except asyncio.CancelledError:
            for call, _start, _end in batch:
                call.fails(Unavailable("the embedding model was stopped", retry_after=1))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends calls and not the batches after it
            if len(batch) > 1:
                for one in batch:
                    await self._computed([one])
            else:
                batch[0][0].fails(_typed(error))
            return
        place = 0
        for call, start, end in batch:
            call.takes(vectors[place : place + end - start])
            place += end - start

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for call in self._waiting:
            call.fails(Unavailable("the embedding model was stopped", retry_after=1))
        self._waiting.clear()


def _typed(error: Exception) -> FairleadError:
    return (
        error
        if isinstance(error, FairleadError)
        else ModelFailed(f"the embedding model failed: {type(error).__name__}")
    )


@dataclass(frozen=True, slots=True)
class Embedding:
    """An embedding model that answers. ``deadline``: seconds that a call may take.  ``created``: Unix time."""

    name: str
    embedder: Embedder
    riding: Riding
    deadline: float = 60.0
    created: int = 0

    async def embed(self, texts: Sequence[Text], deadline: float) -> Embedded:
        """``deadline``: monotonic seconds. Raises InputError that names the text, and what ``Riding.embed`` raises."""
        if not 0 < len(texts) <= MOST:
            raise InvalidParameter(f"input has {len(texts)} texts; 1 to {MOST} are taken at once")
        if sum(map(len, texts)) <= _INLINE:
            rows = self._read(texts)
        else:
            rows = await asyncio.get_running_loop().run_in_executor(None, self._read, texts)
        return Embedded(await self.riding.embed(rows, deadline), tuple(map(len, rows)))

    def _read(self, texts: Sequence[Text]) -> list[list[int]]:
        return [self.embedder.read(one) for one in texts]


class Embeddings:
    """By the name that callers send as ``model``."""

    def __init__(self) -> None:
        self._live: dict[str, Embedding] = {}
        self._expected: set[str] = set()

    def expect(self, name: str) -> None:
        self._expected.add(name)

    def put(self, embedding: Embedding) -> None:
        self._live[embedding.name] = embedding
        self._expected.discard(embedding.name)

    def remove(self, name: str) -> None:
        self._live.pop(name, None)

    def resolve(self, name: str) -> Embedding:
        """Raises NotFound naming what is live, Unavailable while it loads."""
        found = self._live.get(name)
        if found is not None:
            return found
        if name in self._expected:
            raise Unavailable(f"embedding model {name!r} is still loading", retry_after=1)
        known = list(self._live)
        raise NotFound(
            f"there is no embedding model {name!r}{nearest(name, known)} (live: {', '.join(known) or 'none'})"
        )

    async def one(self, name: str, text: str) -> NDArray[np.float32]:
        """The vector of one text, of shape [d]. Raises what ``resolve`` and ``Embedding.embed`` do."""
        found = await self.resolve(name).embed([text], float("inf"))
        vector: NDArray[np.float32] = found.vectors[0]
        return vector

    def all(self) -> list[Embedding]:
        return list(self._live.values())


def shortened(vectors: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """``dimensions`` of the API: the first numbers of each vector, of length 1 again. Raises InvalidParameter."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    if not 0 < dimensions < vectors.shape[1]:
        raise InvalidParameter(f"dimensions is {dimensions}; the model has {vectors.shape[1]}")
    first = vectors[:, :dimensions]
    lengths = np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    found: NDArray[np.float32] = np.divide(first, lengths, dtype=np.float32)
    return found
