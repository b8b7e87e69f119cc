"""Texts of many callers ride together, and nobody is hurt by a neighbour."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead.contracts.embedder import Text
from fairlead.contracts.errors import DeadlineExceeded, InvalidParameter, ModelFailed, NotFound, QueueFull, Unavailable
from fairlead.serve.llm.embeddings import MOST, Embedding, Embeddings, Riding, shortened
from fairlead.testing.clock import ManualClock

FOREVER = float("inf")


class Counting:
    """``Embedder``: the vector of a text is its first token; a token 13 fails; a batch is told when it may go."""

    size, most = 2, 100

    def __init__(self, waits: bool = False) -> None:
        self.batches: list[int] = []
        self.gate = asyncio.Event()
        if not waits:
            self.gate.set()

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def read(self, text: Text) -> list[int]:
        if not text:
            raise InvalidParameter("input has an empty text")
        return [ord(one) for one in text] if isinstance(text, str) else list(text)

    async def embed(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.batches.append(len(rows))
        await self.gate.wait()
        if any(row[0] == 13 for row in rows):
            raise ValueError("unlucky")
        return np.array([[row[0], len(row)] for row in rows], np.float32)


def made(waits: bool = False) -> tuple[Counting, Embedding, ManualClock]:
    embedder, clock = Counting(waits), ManualClock()
    return embedder, Embedding("e", embedder, Riding(embedder, clock)), clock


async def test_vectors_come_in_order_with_their_tokens() -> None:
    _, embedding, _ = made()
    found = await embedding.embed(["a", "bcd", (5, 6)], FOREVER)
    assert found.vectors.tolist() == [[97, 1], [98, 3], [5, 2]]
    assert found.tokens == (1, 3, 2)


async def test_calls_ride_together_while_a_batch_runs() -> None:
    embedder, embedding, _ = made(waits=True)
    first = asyncio.create_task(embedding.embed(["a"], FOREVER))
    await asyncio.sleep(0.01)
    others = [asyncio.create_task(embedding.embed([chr(one)], FOREVER)) for one in range(100, 120)]
    await asyncio.sleep(0.01)
    embedder.gate.set()
    found = await asyncio.gather(first, *others)
    assert embedder.batches == [1, 20]
    assert [one.vectors[0, 0] for one in found] == [97, *range(100, 120)]


async def test_a_large_call_is_split() -> None:
    embedder, embedding, _ = made()
    found = await embedding.embed([chr(one) for one in range(100, 300)], FOREVER)
    assert found.vectors[:, 0].tolist() == list(range(100, 300))
    assert embedder.batches == [64, 64, 64, 8]


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("how", ["fails", "cancelled", "late"])
async def test_one_that_fails_hurts_no_other(place: int, how: str) -> None:
    embedder, embedding, clock = made(waits=True)
    first = asyncio.create_task(embedding.embed(["z"], FOREVER))
    await asyncio.sleep(0)
    calls = []
    for one in range(4):
        text: Text = (13,) if one == place and how == "fails" else (20 + one,)
        calls.append(asyncio.create_task(embedding.embed([text], 1.0 if one == place and how == "late" else FOREVER)))
    await asyncio.sleep(0.01)
    clock.advance(2)
    if how == "cancelled":
        calls[place].cancel()
    embedder.gate.set()
    found = await asyncio.gather(first, *calls, return_exceptions=True)
    for one, answer in enumerate(found[1:]):
        if one == place:
            assert isinstance(answer, ModelFailed | asyncio.CancelledError | DeadlineExceeded)
        else:
            assert not isinstance(answer, BaseException)
            assert answer.vectors.tolist() == [[20 + one, 1]]


async def test_what_cannot_be_taken_is_told() -> None:
    _, embedding, _ = made()
    for wrong in ([], ["x"] * (MOST + 1), [""]):
        with pytest.raises(InvalidParameter):
            await embedding.embed(wrong, FOREVER)


async def test_the_queue_is_bounded_and_stopping_ends_who_waits() -> None:
    _, embedding, _ = made(waits=True)
    waiting = [asyncio.create_task(embedding.embed(["x"] * MOST, FOREVER)) for _ in range(8)]
    await asyncio.sleep(0.01)
    with pytest.raises(QueueFull):
        await embedding.embed(["x"] * MOST, FOREVER)
    await embedding.riding.stop()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, Unavailable) for one in found)


async def test_names() -> None:
    _, embedding, _ = made()
    embeddings = Embeddings()
    embeddings.expect("e")
    with pytest.raises(Unavailable):
        embeddings.resolve("e")
    embeddings.put(embedding)
    assert embeddings.resolve("e") is embedding
    assert (await embeddings.one("e", "abc")).tolist() == [97, 3]
    with pytest.raises(NotFound, match="live: e"):
        embeddings.resolve("f")
    embeddings.remove("e")
    assert embeddings.all() == []


def test_fewer_numbers() -> None:
    vectors = np.array([[3, 4, 12], [0, 0, 0]], np.float32)
    assert np.allclose(shortened(vectors, 2), [[0.6, 0.8], [0, 0]])
    assert shortened(vectors, None) is vectors
    for wrong in (0, 4):
        with pytest.raises(InvalidParameter, match="dimensions"):
            shortened(vectors, wrong)
