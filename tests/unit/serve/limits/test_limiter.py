from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import numpy as np
import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import (
    Cancelled,
    DeadlineExceeded,
    FairleadError,
    ModelFailed,
    QueueFull,
    RateLimited,
    Unavailable,
)
from fairlead.contracts.limits import Charge, Limits, Measure, Period, Quota, Rate, Verdict
from fairlead.contracts.types import Reply
from fairlead.serve.call import Call
from fairlead.serve.limits import limiter as module
from fairlead.serve.limits.book import Alone, Book, Together
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.limits.rules import EndpointLimits, Rules
from fairlead.serve.limits.table import Table
from fairlead.serve.line import compiled
from fairlead.testing.clock import ManualClock

ONE_A_SECOND = Limits((Rate(1, 1),))
NONE = Limits()


def caller(name: str = "shop", tenant: str = "", limits: Limits = NONE) -> Caller:
    return Caller(name, "key", (), tenant, limits)


class Line:
    """A limiter of endpoint ``churn`` in front of nothing."""

    def __init__(self, rules: Rules, book: Book | None = None, others: module.Others | None = None) -> None:
        self.clock = ManualClock()
        self.over: Counter[tuple[str, str, str]] = Counter()
        self.limiter = Limiter(rules, self.clock, self._told, book, others)
        self.outcomes: list[object] = []

    def _told(self, endpoint: str, scope: str, kind: str) -> None:
        self.over[endpoint, scope, kind] += 1

    def call(self, by: Caller | None = None, rows: int = 1, size: int = 10) -> Call:
        call = Call({"x": np.zeros((rows, 1))}, rows, lambda _call: None, arrived=self.clock.now())
        call.caller, call.size, call.metered = by, size, True
        return call

    def ask(self, by: Caller | None = None, rows: int = 1, size: int = 10, endpoint: str = "churn") -> Call:
        """Raises what the stage does."""
        call = self.call(by, rows, size)
        stage = self.limiter.stage(endpoint)
        assert stage is not None
        assert stage(call) is None
        return call


def books(tmp_path: Path) -> list[Book]:
    return [Alone(), Alone(Table(tmp_path / "alone")), Together(Table(tmp_path / "together"))]


@pytest.fixture(params=["memory", "kept", "table"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Book:
    return dict(zip(("memory", "kept", "table"), books(tmp_path), strict=True))[request.param]


def test_an_endpoint_without_limits_has_no_stage() -> None:
    assert Limiter(Rules(), ManualClock(), lambda *_: None).stage("churn") is None
    only = Rules(endpoints={"other": EndpointLimits(ONE_A_SECOND)})
    assert Limiter(only, ManualClock(), lambda *_: None).stage("churn") is None


@pytest.mark.parametrize(
    ("scope", "rules", "by", "stranger"),
    [
        ("key", Rules(every=ONE_A_SECOND), caller(), caller("other")),
        ("key", Rules(named=True), caller(limits=ONE_A_SECOND), caller("other", limits=ONE_A_SECOND)),
        ("tenant", Rules(tenants={"acme": ONE_A_SECOND}), caller("b", "acme"), caller("c", "umbrella")),
        ("caller", Rules(endpoints={"churn": EndpointLimits(each=ONE_A_SECOND)}), caller(), caller("other")),
    ],
)
def test_each_scope_has_its_own_bucket(scope: str, rules: Rules, by: Caller, stranger: Caller, book: Book) -> None:
    line = Line(rules, book)
    line.ask(by)
    with pytest.raises(RateLimited) as refused:
        line.ask(by)
    assert (refused.value.scope, refused.value.kind, refused.value.retry_after) == (scope, "requests", 1.0)
    assert line.over == {("churn", scope, "requests"): 1}
    line.ask(stranger)
    line.clock.advance(1)
    line.ask(by)


def test_a_tenants_keys_share_and_an_endpoints_callers_do(book: Book) -> None:
    tenant = Line(Rules(tenants={"acme": ONE_A_SECOND}), book)
    tenant.ask(caller("a", "acme"))
    with pytest.raises(RateLimited, match="limit of your tenant: 1 requests/s"):
        tenant.ask(caller("b", "acme"))
    endpoint = Line(Rules(endpoints={"churn": EndpointLimits(ONE_A_SECOND)}), book)
    endpoint.ask(None)
    with pytest.raises(RateLimited, match="limit of endpoint 'churn'"):
        endpoint.ask(caller("b", "acme"))


def test_a_keys_own_limits_stand_in_place_of_those_of_every_key_kind_by_kind() -> None:
    rules = Rules(every=Limits((Rate(1, 1),), (Quota(3, Period.DAY),), 1))
    found = rules.of(Limits((Rate(9, 1),)))
    assert found == Limits((Rate(9, 1),), (Quota(3, Period.DAY),), 1)
    assert rules.of(Limits(concurrency=7)).concurrency == 7


@pytest.mark.parametrize(
    ("rate", "rows", "size", "kind"),
    [
        (Rate(10, 1, Measure.ROWS), 6, 1, "rows"),
        (Rate(1000, 1, Measure.BYTES), 1, 600, "bytes"),
    ],
)
def test_rows_and_bytes_are_counted(rate: Rate, rows: int, size: int, kind: str, book: Book) -> None:
    line = Line(Rules(every=Limits((rate,))), book)
    line.ask(caller(), rows, size)
    with pytest.raises(RateLimited) as refused:
        line.ask(caller(), rows, size)
    assert refused.value.kind == kind
    assert refused.value.retry_after == pytest.approx(0.2)


def test_a_call_larger_than_a_burst_is_told_never_to_come_again(book: Book) -> None:
    line = Line(Rules(every=Limits((Rate(10, 1, Measure.ROWS),))), book)
    with pytest.raises(RateLimited, match="this call has 11 rows, .* it can never be let in; send less") as refused:
        line.ask(caller(), rows=11)
    assert refused.value.retry_after is None
    line.ask(caller(), rows=10)


def test_a_refused_call_costs_nothing_of_any_limit(book: Book) -> None:
    rules = Rules(
        every=Limits((Rate(100, 1),), (Quota(3, Period.DAY),)), endpoints={"churn": EndpointLimits(ONE_A_SECOND)}
    )
    line = Line(rules, book)
    line.ask(caller())
    for _ in range(10):
        with pytest.raises(RateLimited):
            line.ask(caller())
    for _ in range(2):
        line.clock.advance(1)
        line.ask(caller())
    line.clock.advance(1)
    with pytest.raises(RateLimited, match="3 requests/day"):
        line.ask(caller())


def test_it_is_told_when_all_limits_have_room_again() -> None:
    line = Line(Rules(every=Limits((Rate(1, 1),)), endpoints={"churn": EndpointLimits(Limits((Rate(1, 60),)))}))
    line.ask(caller())
    with pytest.raises(RateLimited) as refused:
        line.ask(caller())
    assert (refused.value.scope, refused.value.retry_after) == ("endpoint", 60.0)


def test_what_the_server_asks_itself_is_not_counted() -> None:
    line = Line(Rules(every=ONE_A_SECOND, endpoints={"churn": EndpointLimits(ONE_A_SECOND)}))
    stage = line.limiter.stage("churn")
    assert stage is not None
    for _ in range(5):
        call = line.call()
        call.metered = False
        stage(call)
    counted = line.ask(caller())
    stage(counted)  # the same call on its way through another version: it was charged


OUTCOMES = [
    Reply({}, "churn", "1"),
    QueueFull("full"),
    ModelFailed("broke"),
    DeadlineExceeded("late"),
    Cancelled("gone"),
    Unavailable("unloaded"),
    FairleadError("ours"),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("phase", ["in the line", "after it", "already over"])
async def test_calls_in_flight_are_given_back_whatever_becomes_of_them(
    outcome: Reply | FairleadError, phase: str, book: Book
) -> None:
    line = Line(Rules(every=Limits(concurrency=1)), book)
    stage = line.limiter.stage("churn")
    assert stage is not None
    waits = asyncio.Event()

    async def wait() -> None:
        await waits.wait()

    def second(_call: Call) -> Awaitable[None] | None:
        return wait() if phase == "in the line" else None

    ended: list[Call] = []
    enter, held = compiled((stage, second), ended.append, asyncio.get_running_loop(), line.clock)
    for _ in range(3):
        told: list[object] = []
        call = line.call(caller())
        call._done = told.append
        if phase == "already over":
            call.finish(outcome)
            stage(call)
        else:
            enter(call)
            await asyncio.sleep(0)
            with pytest.raises(RateLimited, match="1 calls in flight") as refused:
                stage(line.call(caller()))
            assert refused.value.kind == "concurrency"
            assert call.finish(outcome)
        assert told == [call]
        assert not call.finish(outcome), "one outcome"
        for _ in range(3):
            await asyncio.sleep(0)
    assert not held


async def test_what_is_no_call_is_counted_too_and_given_back(book: Book) -> None:
    line = Line(Rules(every=Limits((Rate(2, 1),), concurrency=1)), book)
    permit = await line.limiter.admit(caller(), "churn", 1, 10)
    with pytest.raises(RateLimited, match="in flight"):
        line.ask(caller())
    with pytest.raises(RateLimited, match="in flight"):
        await line.limiter.admit(caller(), "", 0, 10)
    permit.release()
    permit.release()
    line.ask(caller())
    with pytest.raises(RateLimited):
        await line.limiter.admit(caller(), "", 0, 10)


LINE = re.compile(rb"([a-z-]+): ([^\r\n]+)\r\n")


def test_headers_tell_a_caller_their_own_limits_and_never_what_others_do() -> None:
    rules = Rules(
        every=Limits((Rate(10, 1, burst=5),), (Quota(100, Period.DAY),)),
        tenants={"acme": Limits((Rate(1000, 60, Measure.ROWS),))},
        endpoints={"churn": EndpointLimits(Limits((Rate(50, 1),)))},
    )
    line = Line(rules)
    line.ask(caller("b"))
    call = line.ask(caller("a", "acme"))
    assert call.allowance is not None
    told = dict(LINE.findall(call.allowance.lines()))
    assert told[b"ratelimit-policy"] == (
        b'"key-requests-s";q=10;w=1, "key-requests-day";q=100;w=86400, "tenant-rows-min";q=1000;w=60;qu="rows"'
    )
    # 1,700,000,000 is 22:13:20 of its day
    assert told[b"ratelimit"] == b'"key-requests-s";r=4;t=1, "key-requests-day";r=99;t=6400, "tenant-rows-min";r=15;t=1'
    assert told[b"x-ratelimit-limit-requests"] == b"5"
    assert told[b"x-ratelimit-remaining-requests"] == b"4"
    assert told[b"x-ratelimit-reset-requests"] == b"100ms"


def test_a_refusal_by_the_endpoint_tells_when_to_come_back_and_no_more() -> None:
    line = Line(Rules(every=Limits((Rate(10, 1),)), endpoints={"churn": EndpointLimits(ONE_A_SECOND)}))
    line.ask(caller("stranger"))
    with pytest.raises(RateLimited) as refused:
        line.ask(caller("me", "acme"))
    assert b'"endpoint-requests-s";r=0;t=1' in refused.value.told
    assert b"stranger" not in refused.value.told
    assert "stranger" not in str(refused.value)


@pytest.mark.parametrize(
    ("rate", "policy"),
    [
        (Rate(0.5, 1), b"q=1;w=2"),
        (Rate(2.5, 1), b"q=2;w=1"),
        (Rate(5_000_000, 3600), b"q=5000000;w=3600"),
        (Rate(64e6, 1, Measure.BYTES), b'q=64000000;w=1;qu="content-bytes"'),
    ],
)
def test_policies_are_whole_numbers(rate: Rate, policy: bytes) -> None:
    call = Line(Rules(every=Limits((rate,)))).ask(caller())
    assert call.allowance is not None
    assert policy in call.allowance.lines()


def test_idle_accounts_are_forgotten_and_busy_ones_are_not(monkeypatch: pytest.MonkeyPatch, book: Book) -> None:
    monkeypatch.setattr(module, "KEPT", 50)
    line = Line(Rules(every=Limits((Rate(1, 3600),))), book)
    line.limiter._most = 50
    busy = caller("busy")
    line.ask(busy)
    for number in range(49):
        line.ask(caller(f"idle-{number}", limits=Limits((Rate(1000, 1),))))
    line.clock.advance(10)
    for number in range(200):
        line.ask(caller(f"later-{number}", limits=Limits((Rate(1000, 1),))))
        line.clock.advance(1)
    assert sum(map(len, line.limiter._accounts.values())) <= 60
    assert len(line.limiter._buckets) <= 60
    with pytest.raises(RateLimited):
        line.ask(busy)


def test_a_caller_who_comes_with_other_limits_has_them_at_once() -> None:
    line = Line(Rules(named=True))
    line.ask(caller(limits=ONE_A_SECOND))
    with pytest.raises(RateLimited):
        line.ask(caller(limits=ONE_A_SECOND))
    line.ask(caller(limits=Limits((Rate(5, 1),))))
    line.ask(caller())


class Store:
    """Others that answer what they are told to; None: they cannot be asked."""

    def __init__(self) -> None:
        self.answer: Verdict | str | None = "down"
        self.asked: list[list[Charge]] = []
        self.owed: list[Charge] = []

    def take(self, charges: list[Charge]) -> Awaitable[Verdict | None] | None:
        if self.answer == "down":
            return None
        self.asked.append(charges)
        future: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
        future.set_result(self.answer)  # type: ignore[arg-type]
        return future

    def owe(self, charges: list[Charge]) -> None:
        self.owed += charges


async def test_what_others_let_in_is_counted_here_and_what_they_refuse_is_not() -> None:
    store = Store()
    line = Line(Rules(every=Limits((Rate(2, 60),), (Quota(10, Period.DAY),))), others=store)
    stage = line.limiter.stage("churn")
    assert stage is not None

    async def ask() -> Call:
        call = line.call(caller())
        waiting = stage(call)
        assert waiting is not None
        await waiting
        return call

    store.answer = Verdict(0.0, -1, ((1, 30.0), (9, 100.0)))
    call = await ask()
    assert call.allowance is not None
    assert b'"key-requests-min";r=1;t=30, "key-requests-day";r=9;t=100' in call.allowance.lines()
    assert [one.cost for one in store.asked[0]] == [1, 1]
    store.answer = Verdict(12.5, 0, ((0, 60.0), (9, 100.0)))
    with pytest.raises(RateLimited, match=r"2 requests/min, 1 in a burst; try again in 12\.500 s") as refused:
        await ask()
    assert refused.value.retry_after == 12.5
    store.answer = "down"
    with pytest.raises(RateLimited):
        line.ask(caller())  # what they let in was counted here
    line.clock.advance(30)
    line.ask(caller())
    assert [one.cost for one in store.owed] == [1, 1]


async def test_no_answer_in_time_is_decided_here_and_refused_where_the_policy_is_closed() -> None:
    for closed in (False, True):
        refused: list[float | None] = []
        store = Store()
        line = Line(Rules(every=Limits((Rate(1, 1),), concurrency=1), closed=closed), others=store)
        stage = line.limiter.stage("churn")
        assert stage is not None
        for answer in (None, "down"):
            store.answer = answer  # type: ignore[assignment]
            call = line.call(caller())
            try:
                waiting = stage(call)
                if waiting is not None:
                    await waiting
            except Unavailable as error:
                refused.append(error.retry_after)
                call.finish(error)
            else:
                assert call.finish(Reply({}, "churn", "1"))
            line.clock.advance(1)
        assert refused == ([1, 1] if closed else [])


async def test_a_call_that_is_one_too_many_in_flight_is_not_charged_by_others() -> None:
    store = Store()
    line = Line(Rules(every=Limits((Rate(9, 1),), concurrency=1)), others=store)
    stage = line.limiter.stage("churn")
    assert stage is not None
    store.answer = Verdict(0.0, -1, ((8, 1.0),))
    first = line.call(caller())
    waiting = stage(first)
    assert waiting is not None
    await waiting
    with pytest.raises(RateLimited, match="1 calls in flight"):
        stage(line.call(caller()))
    assert len(store.asked) == 1
    store.answer = "down"
    with pytest.raises(RateLimited, match="1 calls in flight"):
        line.ask(caller())
    first.finish(Reply({}, "churn", "1"))
    assert line.ask(caller()).finish(Reply({}, "churn", "1"))
    line.ask(caller())
