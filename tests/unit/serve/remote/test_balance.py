"""Two drawn and the better one taken; who fails is left out, and while all are out nobody is asked."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.serve.remote.balance import LONGEST, Balance, State


def made(count: int = 2, limit: int = 8, failures: int = 3, seconds: float = 10.0, seed: int = 1) -> Balance:
    return Balance(count, limit, failures, seconds, random.Random(seed))


def fail(balance: Balance, at: int, now: float, times: int) -> float:
    """Requests to one address, whatever the balance would choose."""
    out = 0.0
    for _ in range(times):
        balance.seats[at].in_flight += 1
        out = balance.failed(at, now)
    return out


def answer(balance: Balance, at: int, now: float, seconds: float | None = 0.01) -> None:
    balance.seats[at].in_flight += 1
    balance.answered(at, now, seconds)


def test_the_faster_of_two_is_taken_until_it_has_more_to_do() -> None:
    balance = made(limit=100)
    answer(balance, 0, 0.0, 0.010)
    answer(balance, 1, 0.0, 0.030)
    chosen = [balance.choose(0.0) for _ in range(8)]
    assert chosen.count(0) == 6  # three times as fast: three times as many
    assert chosen.count(1) == 2


def test_a_slow_one_is_tried_again_when_its_slowness_is_long_ago() -> None:
    balance = made()
    answer(balance, 0, 100.0, 0.010)
    answer(balance, 1, 0.0, 0.100)  # ten half-lives before
    assert balance.choose(100.0) == 1


def test_nobody_gets_more_than_the_limit() -> None:
    balance = made(count=2, limit=3)
    assert [balance.choose(0.0) is not None for _ in range(7)] == [True] * 6 + [False]
    balance.answered(1, 0.0, 0.01)
    assert balance.choose(0.0) == 1


def test_failures_in_a_row_eject_and_one_answer_between_them_does_not() -> None:
    balance = made()
    assert fail(balance, 0, 0.0, 2) == 0
    answer(balance, 0, 0.0)
    assert fail(balance, 0, 0.0, 2) == 0
    assert fail(balance, 0, 0.0, 1) == 10
    assert balance.seats[0].state is State.OUT
    assert {balance.choose(0.0) for _ in range(8)} == {1}


def test_errors_of_a_call_or_a_model_are_answers_and_say_nothing_of_speed() -> None:
    balance = made()
    answer(balance, 0, 0.0, 0.5)
    answer(balance, 0, 0.0, None)
    assert balance.seats[0].latency == 0.5


def test_after_its_time_it_gets_one_request_at_a_time_until_one_succeeds() -> None:
    balance = made(count=1, limit=4)
    fail(balance, 0, 0.0, 3)
    balance.well(0)
    assert balance.choose(11.0) == 0
    assert balance.choose(11.0) is None
    balance.answered(0, 11.0, 0.01)
    assert [balance.choose(11.0) for _ in range(5)] == [0, 0, 0, 0, None]


def test_one_failure_on_trial_is_enough_and_each_time_is_longer_up_to_a_cap() -> None:
    balance = made()
    lengths = [fail(balance, 0, 0.0, 3)]
    for _ in range(6):
        balance.well(0)
        lengths.append(fail(balance, 0, 0.0, 1))
    assert lengths == [10, 20, 40, 80, 100, 100, 100]
    assert lengths[-1] == 10 * LONGEST


def test_having_been_well_for_long_enough_forgives() -> None:
    balance = made()
    fail(balance, 0, 0.0, 3)
    balance.well(0)
    answer(balance, 0, 20.0)
    answer(balance, 0, 29.0)
    assert balance.seats[0].ejections == 1
    answer(balance, 0, 31.0)
    assert balance.seats[0].ejections == 0


def test_while_all_are_out_nobody_is_asked_and_a_late_answer_changes_nothing() -> None:
    balance = made()
    balance.seats[0].in_flight += 1
    fail(balance, 0, 0.0, 3)
    fail(balance, 1, 5.0, 3)
    assert balance.choose(6.0) is None
    assert not balance.able()
    assert balance.soonest(6.0) == 4
    balance.answered(0, 6.0, 0.01)
    assert balance.seats[0].state is State.OUT


def test_when_nobody_is_left_those_who_did_not_answer_are_asked_sooner() -> None:
    balance = made(3)
    fail(balance, 0, 0.0, 3)
    assert balance.outlier(1, 0.0, "errors") == 0.0  # one of three is out already
    fail(balance, 1, 0.0, 3)
    assert balance.hasten(0.0) == []
    balance.alien(2, 0.0)
    assert balance.hasten(1.0) == [(0, 1.0), (1, 1.0)]
    assert balance.hasten(1.0) == []
    assert balance.soonest(1.0) == 1


def test_who_is_left_out_for_its_errors_keeps_its_whole_time() -> None:
    balance = made(1)
    assert balance.outlier(0, 0.0, "errors") == 10
    assert balance.hasten(0.0) == []


def test_what_it_said_of_coming_again_is_the_least() -> None:
    balance = made(failures=1)
    balance.seats[0].in_flight += 1
    assert balance.failed(0, 0.0, 25.0) == 25
    balance.seats[1].in_flight += 1
    assert balance.failed(1, 0.0, 5.0) == 10


@pytest.mark.parametrize(("count", "most", "out"), [(1, 0.5, 1), (2, 0.5, 1), (5, 0.5, 2), (5, 0.1, 1), (4, 1.0, 4)])
def test_outliers_are_left_out_until_so_many_are(count: int, most: float, out: int) -> None:
    balance = Balance(count, 8, 3, 10.0, random.Random(1), most)
    assert [balance.outlier(at, 0.0, "slow") > 0 for at in range(count)] == [True] * out + [False] * (count - out)
    assert balance.outlier(0, 0.0, "slow") == 0  # it is out


def test_who_serves_another_model_is_never_asked() -> None:
    balance = made()
    assert balance.alien(0, 0.0) == 10
    assert balance.choose(0.0) == 1
    assert not balance.able({1})
    assert balance.choose(0.0, {1}) is None
    balance.well(0)
    assert balance.able({1})


@pytest.mark.parametrize(
    ("known", "had", "counts"),
    [(0.0, 0.01, False), (0.0, 0.2, True), (0.1, 0.2, False), (0.1, 0.5, True)],
    ids=["too short to say", "long for one that never answered", "others needed half of it", "five times the usual"],
)
def test_running_out_of_time_counts_when_there_was_enough_of_it(known: float, had: float, counts: bool) -> None:
    balance = made(failures=1)
    if known:
        answer(balance, 0, 0.0, known)
    balance.seats[0].in_flight += 1
    assert (balance.timed_out(0, 0.0, had) > 0) is counts
    assert balance.seats[0].latency == max(known, had)
    assert balance.seats[0].in_flight == 0


def test_who_never_answers_in_time_is_ejected_however_long_that_goes_on() -> None:
    balance = made(failures=3)
    answer(balance, 0, 0.0, 0.01)
    out = 0.0
    for _ in range(3):
        balance.seats[0].in_flight += 1
        out = balance.timed_out(0, 0.0, 0.2)
    assert out == 10


steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ok", "error", "fail", "late", "drop", "well", "alien", "outlier", "wait"]),
        st.integers(0, 4),
    ),
    max_size=200,
)


def asked(balance: Balance, now: float, limit: int) -> list[int]:
    """Who was chosen, if anybody has room."""
    room = {State.IN: limit, State.TRIAL: 1, State.OUT: 0, State.ALIEN: 0}
    chosen = balance.choose(now)
    if chosen is None:
        assert all(seat.in_flight >= room[seat.state] for seat in balance.seats)
        return []
    assert balance.seats[chosen].in_flight <= room[balance.seats[chosen].state]
    return [chosen]


def ended(balance: Balance, one: int, what: str, now: float, at: int) -> None:
    if what in ("ok", "error"):
        balance.answered(one, now, 0.01 * at if what == "ok" else None)
    elif what == "fail":
        assert 0 <= balance.failed(one, now) <= LONGEST
    elif what == "late":
        balance.timed_out(one, now, 0.1 * at)
    else:
        balance.dropped(one)


@given(steps, st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**32))
@settings(deadline=None)
def test_whatever_happens_the_counts_hold_and_only_those_who_are_in_are_asked(
    steps: list[tuple[str, int]], count: int, limit: int, seed: int
) -> None:
    balance = made(count, limit, 2, 1.0, seed)
    open_: list[int] = []
    now = 0.0
    for what, at in steps:
        if what == "ask":
            open_ += asked(balance, now, limit)
        elif what == "outlier" and at < count:
            out = sum(seat.state is State.OUT for seat in balance.seats)
            assert not balance.outlier(at, now, "errors") or out < max(1, count // 2)
        elif what == "wait":
            now += at
        elif what == "well" and at < count:
            balance.well(at)
        elif what == "alien" and at < count:
            balance.alien(at, now)
        elif open_ and what in ("ok", "error", "fail", "late", "drop"):
            ended(balance, open_.pop(at % len(open_)), what, now, at)
        assert [seat.in_flight for seat in balance.seats] == [open_.count(one) for one in range(count)]
        assert all(seat.in_flight <= limit for seat in balance.seats)
        assert balance.able() == any(seat.state in (State.IN, State.TRIAL) for seat in balance.seats)
        assert 0 <= balance.soonest(now) <= LONGEST


def simulated(choose: Callable[[Balance, float], int | None], seconds: list[float], rate: float, calls: int) -> float:
    """p99 in seconds, of calls that come at random to servers that take ``seconds`` each, one request at a time."""
    chance = random.Random(7)
    balance = made(len(seconds), limit=1000)
    free_at = [0.0] * len(seconds)
    ends: list[tuple[float, int, float]] = []
    taken = []
    now = 0.0
    for _ in range(calls):
        now += chance.expovariate(rate)
        while ends and ends[0][0] <= now:
            end, at, began = heapq.heappop(ends)
            balance.answered(at, end, end - began)
        at = choose(balance, now)
        assert at is not None
        free_at[at] = max(now, free_at[at]) + chance.expovariate(1 / seconds[at])
        heapq.heappush(ends, (free_at[at], at, now))
        taken.append(free_at[at] - now)
    return float(np.percentile(taken, 99))


def test_a_slow_server_among_four_does_not_set_the_p99() -> None:
    """Three take 5 ms, one ten times as long; 300 requests a second are half of what they can carry together."""
    chance = random.Random(3)

    def blind(balance: Balance, _: float) -> int:
        at = chance.randrange(len(balance.seats))
        balance.seats[at].in_flight += 1
        return at

    servers = [0.005, 0.005, 0.005, 0.05]
    drawn = simulated(lambda balance, now: balance.choose(now), servers, 300, 20_000)
    random_ = simulated(blind, servers, 300, 20_000)
    assert drawn < random_ / 10
    assert drawn < 0.1
