"""Machines that spend from one budget, each with a ledger of its own."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fairlead.contracts.engine import EngineTraits, Event, Running, Tell
from fairlead.contracts.errors import Conflict, OverBudget, Unavailable
from fairlead.contracts.generation import Ended, Generation, Sampling, Usage
from fairlead.contracts.ledger import Budget, Line, Window
from fairlead.serve.llm.ask import OVER, Ask
from fairlead.serve.llm.ledger.books import Books
from fairlead.serve.llm.ledger.ledger import Ledger
from fairlead.serve.llm.ledger.prices import PriceBook
from fairlead.serve.llm.ledger.shares import KIND, Shares
from fairlead.serve.llm.ledger.stage import LedgerStage
from fairlead.testing.clock import ManualClock
from fairlead.testing.ledgers import MemoryLedger
from fairlead.testing.sinks import MemorySink
from fairlead.testing.state import MemoryState

HOUR = 3_600_000


def line(worst: int = 10, most: int = 1000, hour: int = 1) -> Line:
    return Line("b", hour * HOUR, (hour + 1) * HOUR, most, worst, money=False, hard=True)


def granted(state: MemoryState) -> dict[str, int]:
    (document,) = state.all(KIND)
    found: dict[str, int] = document.body["granted"]
    return found


def test_shares_are_taken_and_never_more_than_there_is() -> None:
    state = MemoryState()
    one, other = Shares(state, "one"), Shares(state, "other")
    assert one.granted(line()) == 0
    assert one.more(line(), 0, HOUR)
    assert one.granted(line()) == 125
    assert other.more(line(300), 0, HOUR)
    assert granted(state) == {"one": 125, "other": 300}
    assert not other.more(line(600), 300, HOUR)  # and what is left stays for others
    assert granted(state) == {"one": 125, "other": 300}
    assert one.more(line(575), 125, HOUR)
    assert sum(granted(state).values()) == 1000
    assert not other.more(line(1), 300, HOUR)
    again = Shares(state, "one")  # a worker of the same machine
    assert again.more(line(), 100, HOUR)
    assert again.granted(line()) == 700


def test_shares_of_windows_that_have_passed_go() -> None:
    state = MemoryState()
    shares = Shares(state, "one")
    assert shares.more(line(hour=1), 0, HOUR)
    assert shares.more(line(hour=30), 0, 30 * HOUR)
    assert len(state.all(KIND)) == 1


def test_one_that_is_always_slower_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    state = MemoryState()

    def slower(*_: Any, **__: Any) -> None:
        raise Conflict("lost")

    monkeypatch.setattr(state, "put", slower)
    with pytest.raises(Unavailable, match="change all the time"):
        Shares(state, "one").more(line(), 0, HOUR)


def test_many_machines_at_once() -> None:
    state = MemoryState()

    def spend(machine: int) -> int:
        shares, chance, spent = Shares(state, f"m{machine}"), random.Random(machine), 0
        for _ in range(60):
            worst = chance.randint(1, 40)
            try:
                if spent + worst <= shares.granted(line()) or shares.more(line(worst), spent, HOUR):
                    spent += worst
            except Unavailable:
                continue
        return spent

    with ThreadPoolExecutor(6) as pool:
        spent = sum(pool.map(spend, range(6)))
    assert sum(granted(state).values()) <= 1000
    assert 600 < spent <= 1000


class Engine:
    traits = EngineTraits("test", 400)

    async def count(self, _asked: Generation) -> int:
        return 4


def machine(state: MemoryState, name: str, *, closed: bool = True) -> Any:
    """Its way in, and its ledger."""
    store = MemoryLedger()
    budget = Budget("b", 1000, Window.DAY)
    ledger = Ledger(
        store, PriceBook(), Books([budget]), ManualClock(), MemorySink(), closed=closed, shares=Shares(state, name)
    )

    def answer(ask: Ask, tell: Tell) -> Running:
        tell(Ended("stop", Usage(ask.prompt, 0, 6)))
        return OVER

    return LedgerStage(ledger, "chat", ("chat",), Engine()).stage(answer), store  # type: ignore[arg-type]


def ask(most: int = 16) -> Ask:
    return Ask(Generation("1", "chat", "x", Sampling(most=most)), 0.0, "r", prompt=4)


async def test_machines_keep_one_budget_together() -> None:
    state = MemoryState()
    machines = [machine(state, name) for name in "abc"]
    told: list[Event] = []
    for number in range(150):
        enter, _ = machines[number % 3]
        enter(ask(), told.append)
        for _ in range(200):
            if len(told) == number + 1:
                break
            await asyncio.sleep(0.001)
    spent = sum(store.balances()[0].settled for _, store in machines)
    assert spent <= 1000
    assert spent > 850
    refused = [one for one in told if isinstance(one, OverBudget)]
    assert len(refused) + spent // 10 == 150
    assert "is spent" in str(refused[-1])
    assert refused[-1].retry_after is not None


async def test_while_the_store_fails_what_was_taken_can_be_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    state = MemoryState()
    enter, store = machine(state, "a")
    told: list[Event] = []
    enter(ask(), told.append)
    await asyncio.sleep(0.05)

    def away(*_: Any) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(state, "get", away)
    enter(ask(), told.append)
    assert [type(one) for one in told] == [Ended, Ended]
    enter(ask(300), told.append)
    await asyncio.sleep(0.05)
    assert isinstance(told[-1], Unavailable)
    assert store.balances()[0].settled == 20


async def test_cancelled_while_a_share_is_taken() -> None:
    state = MemoryState()
    enter, store = machine(state, "a")
    told: list[Event] = []
    enter(ask(), told.append).cancel()
    await asyncio.sleep(0.05)
    assert not told
    assert all(one.reserved == 0 for one in store.balances())
