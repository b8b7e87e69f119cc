"""Tokens are charged before, and what was not taken is given back, whatever becomes of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.engine import EngineTraits, Event, Running, Tell
from fairlead.contracts.errors import EngineLost, FairleadError, RateLimited, Unavailable
from fairlead.contracts.generation import Begun, Ended, Generation, Piece, Sampling, Usage
from fairlead.contracts.limits import Charge, Limits, Measure, Period, Quota, Rate, Verdict
from fairlead.serve.limits.book import Alone, Book, Together
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.limits.rules import EndpointLimits, Rules
from fairlead.serve.limits.sharing import Sharing
from fairlead.serve.limits.table import Table
from fairlead.serve.llm.ask import Ask
from fairlead.serve.llm.limiting import LimitStage
from fairlead.testing.clock import ManualClock

TOKENS = Limits((Rate(6000, 60.0, Measure.TOKENS, 6000), Rate(60, 60.0, Measure.REQUESTS, 6)))
QUOTA = Limits(quotas=(Quota(6000, Period.DAY, Measure.TOKENS),), concurrency=2)


class Engine:
    traits = EngineTraits("test", 4000)

    def __init__(self) -> None:
        self.tell: Tell = lambda _: None
        self.cancelled = self.asked = 0

    def enter(self, _ask: Ask, tell: Tell) -> Running:
        self.asked += 1
        self.tell = tell
        return self

    def cancel(self) -> None:
        self.cancelled += 1


class Rig:
    def __init__(self, limits: Limits, book: Book | None = None, others: object = None, **rules: object) -> None:
        self.clock = ManualClock()
        made = Rules(endpoints={"chat": EndpointLimits(either=limits)}, **rules)  # type: ignore[arg-type]
        self.limiter = Limiter(made, self.clock, lambda *_: None, book, others)  # type: ignore[arg-type]
        self.engine = Engine()
        self.enter = LimitStage(self.limiter, "chat", self.engine).stage(self.engine.enter)  # type: ignore[arg-type]
        self.told: list[Event] = []

    def ask(self, most: int | None = 2000, prompt: int = 1000, *, first: bool = True, name: str = "shop") -> Running:
        asked = Generation("1", "chat", "x", Sampling(most=most))
        caller = Caller(name, "key", ()) if name else None
        if getattr(self, "last", None) is not None and name == "shop":
            caller = self.last.caller
        self.last = Ask(asked, 0.0, "r", caller, prompt=prompt, first=first)
        return self.enter(self.last, self.told.append)

    last: Ask

    def left(self) -> int:
        account = self.limiter.permit(self.last.caller, "chat").account
        assert account is not None
        wall = self.clock.wall_ms()
        return next(one.left(int(self.clock.now() * 1e9), wall)[0] for one in account.tokens)


@pytest.mark.parametrize("limits", [TOKENS, QUOTA])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("events", "used"),
    [
        ([Ended("stop", Usage(900, 100, 10))], 1010),
        ([Ended("stop", Usage(4000))], 4000),
        ([Begun(Usage(1000)), Piece("x", 20), EngineLost("gone")], 1020),
        ([Unavailable("no")], 0),
        ([Begun(Usage(1000)), Piece("x", 20), None], 1020),
        ([None], 0),
    ],
)
def test_what_was_not_taken_is_given_back(
    limits: Limits, shared: bool, events: list[Event | None], used: int, tmp_path: Path
) -> None:
    rig = Rig(limits, Together(Table(tmp_path / "t")) if shared else Alone())
    running = rig.ask()
    assert rig.left() == 3000
    for event in events:
        if event is None:
            running.cancel()
            running.cancel()
            assert rig.engine.cancelled == 1
        else:
            rig.engine.tell(event)
    assert rig.left() == 6000 - used
    rig.engine.tell(Piece("late"))
    assert len(rig.told) == len([one for one in events if one])


def test_what_a_cache_answered_is_given_back_whole() -> None:
    rig = Rig(TOKENS)
    rig.ask()
    rig.last.notes.facts["cache"] = "exact"
    rig.engine.tell(Ended("stop", Usage(900, 100, 10)))
    assert rig.left() == 6000


def test_over_the_limit() -> None:
    rig = Rig(TOKENS)
    rig.ask()
    rig.ask()
    rig.ask(most=10)
    error = rig.told[-1]
    assert isinstance(error, RateLimited)
    assert (error.scope, error.kind) == ("caller", "tokens")
    assert b"x-ratelimit-remaining-tokens: 0\r\n" in error.told
    assert b"x-ratelimit-limit-requests: 6\r\n" in error.told
    assert rig.engine.asked == 2
    assert rig.last.notes.allowance is None
    rig.clock.advance(11)
    rig.ask(most=10)
    assert rig.engine.asked == 3
    assert rig.last.notes.allowance is not None


def test_a_request_counts_once_and_each_answer_has_its_tokens() -> None:
    rig = Rig(TOKENS)
    for place in range(5):
        rig.ask(most=10, first=place == 0)
    assert rig.left() == 6000 - 5 * 1010
    lines = rig.last.notes.allowance.lines()  # type: ignore[union-attr]
    assert b"x-ratelimit-remaining-requests: 5\r\n" in lines


def test_who_names_no_number_is_charged_what_can_be_had_at_once() -> None:
    rig = Rig(Limits((Rate(1500, 60.0, Measure.TOKENS, 1500),)))
    rig.ask(most=None)
    assert rig.left() == 0
    rig.engine.tell(Ended("stop", Usage(1000, 0, 2)))
    assert rig.left() == 498


def test_all_together_where_nobody_says_who_they_are() -> None:
    rig = Rig(TOKENS)
    rig.ask(name="")
    assert rig.left() == 3000
    account = rig.limiter.permit(None, "chat").account
    assert account is not None
    assert {one.scope for one in account.buckets} == {"endpoint"}


def test_calls_in_flight_end_with_the_answer() -> None:
    rig = Rig(QUOTA)
    rig.ask(most=1)
    rig.ask(most=1)
    rig.ask(most=1)
    assert isinstance(rig.told[-1], RateLimited)
    rig.engine.tell(Ended("stop", Usage(1)))
    rig.ask(most=1)
    assert rig.engine.asked == 3


def test_what_passes_by_costs_nothing() -> None:
    rig = Rig(Limits())
    assert rig.ask() is rig.engine
    rated = Rig(Limits((Rate(60, 60.0, Measure.REQUESTS, 6),)))
    assert rated.ask() is rated.engine  # counted, and not wrapped


def test_what_another_endpoint_passes_on_was_counted_there() -> None:
    rig = Rig(TOKENS)
    rig.ask()
    rig.enter(replace(rig.last, through=("other",)), rig.told.append)
    assert rig.engine.asked == 2
    assert rig.left() == 3000


def test_a_period_that_has_passed_keeps_what_it_was_charged() -> None:
    rig = Rig(Limits(quotas=(Quota(6000, Period.HOUR, Measure.TOKENS),)))
    rig.ask()
    late = rig.engine.tell
    rig.clock.advance(3600)
    rig.ask()
    assert rig.left() == 3000
    late(Ended("stop", Usage(1)))
    assert rig.left() == 3000


class Store:
    """What several servers share."""

    def __init__(self) -> None:
        self.charged: list[Charge] = []
        self.refuses = False
        self.fails = False

    async def take(self, calls: Sequence[Sequence[Charge]]) -> list[Verdict]:
        await asyncio.sleep(0)
        if self.fails:
            raise Unavailable("away")
        if self.refuses:
            return [Verdict(2.0, 0, tuple((0, 2.0) for _ in call)) for call in calls]
        self.charged += [one for call in calls for one in call]
        return [Verdict(0.0, -1, tuple((5, 1.0) for _ in call)) for call in calls]

    async def add(self, charges: Sequence[Charge]) -> None:
        if self.fails:
            raise Unavailable("away")
        self.charged += charges

    async def close(self) -> None: ...


def sharing(store: Store) -> Sharing:
    return Sharing(store, "redis", lambda *_: None)


async def test_other_servers_are_asked_and_given_back() -> None:
    store = Store()
    rig = Rig(TOKENS, others=sharing(store))
    rig.ask()
    await asyncio.sleep(0.01)
    assert [one.cost for one in store.charged] == [3000, 1]
    rig.engine.tell(Ended("stop", Usage(10)))
    await asyncio.sleep(0.01)
    assert [one.cost for one in store.charged] == [3000, 1, -2990]
    store.refuses = True
    rig.ask()
    await asyncio.sleep(0.01)
    assert isinstance(rig.told[-1], RateLimited)


async def test_cancelled_while_others_are_asked() -> None:
    store = Store()
    rig = Rig(replace(TOKENS, concurrency=1), others=sharing(store))
    rig.ask().cancel()
    await asyncio.sleep(0.01)
    assert not rig.told
    assert not rig.engine.asked
    assert sum(one.cost for one in store.charged if one.limit.measure is Measure.TOKENS) == 0
    rig.ask()
    await asyncio.sleep(0.01)
    assert rig.engine.asked == 1


async def test_where_others_do_not_answer() -> None:
    store = Store()
    store.fails = True
    rig = Rig(TOKENS, others=sharing(store))
    rig.ask()
    await asyncio.sleep(0.01)
    rig.engine.tell(Ended("stop", Usage(10)))
    await asyncio.sleep(0.01)
    closed = Rig(TOKENS, others=sharing(store), closed=True)
    closed.ask()
    await asyncio.sleep(0.01)
    assert rig.left() == 5990
    error = closed.told[-1]
    assert isinstance(error, FairleadError)
    assert error.code == "unavailable"
