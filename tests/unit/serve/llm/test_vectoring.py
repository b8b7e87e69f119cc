"""Texts that become vectors are paid for as answers are, however they end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import ModelFailed, OverBudget
from fairlead.contracts.ledger import Budget, Price, Window
from fairlead.serve.llm.ask import Notes
from fairlead.serve.llm.embeddings import Embedding, Riding
from fairlead.serve.llm.ledger.books import Books
from fairlead.serve.llm.ledger.ledger import Ledger
from fairlead.serve.llm.ledger.prices import PriceBook
from fairlead.serve.llm.ledger.stage import LedgerStage
from fairlead.serve.llm.measuring import Measuring
from fairlead.serve.llm.relay import Relay
from fairlead.serve.llm.vectoring import Vectoring
from fairlead.testing.clock import ManualClock
from fairlead.testing.ledgers import MemoryLedger
from fairlead.testing.sinks import MemorySink

SHOP = Caller("shop", "key", ())


class Letters:
    """``Embedder``: a letter a token; waits for its gate, and fails where it is told to."""

    size, most = 2, 100

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.fails = False

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def read(self, text: Any) -> list[int]:
        return [ord(one) for one in text]

    async def embed(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        await self.gate.wait()
        if self.fails:
            raise ValueError("unlucky")
        return np.array([[row[0], len(row)] for row in rows], np.float32)


class Rig:
    def __init__(self) -> None:
        self.embedder, self.store, sink, clock = Letters(), MemoryLedger(), MemorySink(), ManualClock()
        books = Books([Budget("b", 10, Window.DAY, key="shop")])
        ledger = Ledger(self.store, PriceBook([Price("e", 0, "USD", 10**9, 0, 0, 0)]), books, clock, sink)
        stages = [
            Measuring(sink.chat("e"), clock),
            LedgerStage(ledger, "e", ("e",), Relay((), pytest.fail)),
        ]
        self.notes = Notes()
        self.line = Vectoring(Embedding("e", self.embedder, Riding(self.embedder, clock)), stages, clock)

    async def embed(self, *texts: str) -> Any:
        return await self.line.embed(texts, SHOP, "r", 10, self.notes)

    def stands(self) -> tuple[int, int]:
        return sum(one.settled for one in self.store.balances()), sum(one.reserved for one in self.store.balances())


async def test_their_tokens_are_paid_for_until_the_budget_is_spent() -> None:
    rig = Rig()
    rig.embedder.gate.set()
    found = await rig.embed("abc", "de")
    assert found.vectors.tolist() == [[97, 3], [100, 2]]
    assert found.tokens == (3, 2)
    assert rig.notes.headers["fairlead-cost"] == "0.000005 USD"
    with pytest.raises(OverBudget):
        await rig.embed("abcdef")
    await rig.embed("abcde")
    assert rig.stands() == (10, 0)


async def test_who_waits_holds_what_it_may_take_and_who_leaves_once_they_are_computed_pays() -> None:
    rig = Rig()
    first = asyncio.create_task(rig.embed("abc"))
    await asyncio.sleep(0.01)
    queued = asyncio.create_task(rig.embed("abcd"))
    await asyncio.sleep(0.01)
    assert rig.stands() == (0, 7)
    for one in (first, queued):
        one.cancel()
    await asyncio.gather(first, queued, return_exceptions=True)
    assert rig.stands() == (3, 0)


async def test_one_that_fails_gives_the_rest_back() -> None:
    rig = Rig()
    rig.embedder.fails = True
    rig.embedder.gate.set()
    with pytest.raises(ModelFailed):
        await rig.embed("abc")
    assert rig.stands() == (3, 0)
