from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contracts.limits import Limits, Measure, Period, Quota, Rate
from fairlead.kit import gcra
from fairlead.serve.limits.buckets import NEVER, AnyBucket, Counted, Flying, Rated, buckets, force, take
from fairlead.serve.limits.calendar import period

SECOND = gcra.SECOND
ONE = (1, 1, 100, 0)


def ms(*at: int) -> int:
    return round(datetime(*at, tzinfo=UTC).timestamp() * 1000)


class LeakyBucket:
    """The oracle: water in fractions, that leaks all the time; a call's water must fit below the brim."""

    def __init__(self, amount: Fraction, seconds: Fraction, burst: Fraction) -> None:
        self.leak = amount / seconds / SECOND
        self.brim = burst
        self.water = Fraction(0)
        self.at = 0

    def pours(self, now: int, cost: int) -> bool:
        self.water = max(Fraction(0), self.water - self.leak * (now - self.at))
        self.at = now
        if self.water + cost > self.brim:
            return False
        self.water += cost
        return True


rates = st.builds(
    Rate,
    st.one_of(st.integers(1, 100_000), st.sampled_from([0.1, 0.3, 2.5, 1 / 3])).map(float),
    st.sampled_from([1.0, 60.0, 3600.0]),
    st.just(Measure.REQUESTS),
    st.integers(0, 50).map(float),
)


@settings(max_examples=300, deadline=None)
@given(
    rates,
    st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(0, 8)), max_size=80),
    st.integers(0, 10**17),
)
def test_a_rate_decides_as_a_leaky_bucket_does(rate: Rate, arrivals: list[tuple[int, int]], began: int) -> None:
    bucket = Rated("k", "key", rate)
    amount, seconds = Fraction(repr(rate.amount)), Fraction(repr(rate.seconds))
    oracle = LeakyBucket(amount, seconds, Fraction(rate.burst) or max(Fraction(1), amount / seconds))
    now, brim = began, oracle.brim
    for gap, cost in arrivals:
        now += gap
        wait = bucket.wait(cost, now, 0)
        taken = take((bucket,), (cost, 0, 0, 0), now, 0)
        assert taken == oracle.pours(now, cost)
        assert taken == (wait == 0)
        assert bucket.left(now, 0)[0] == int(brim - oracle.water)
        if wait > 0:  # to the nanosecond: then it fits, and not one before
            assert not Fraction(0) <= brim - max(Fraction(0), oracle.water - oracle.leak * (wait - 1)) - cost
            assert brim - max(Fraction(0), oracle.water - oracle.leak * wait) - cost >= 0
        else:
            assert wait == (0 if taken else NEVER)
            assert taken or cost > brim


@pytest.mark.parametrize(("rate", "expected"), [(Rate(200, 1), 200 * 60 + 199), (Rate(7, 60, burst=3), 7 + 2)])
def test_a_minute_lets_in_the_rate_and_one_burst(rate: Rate, expected: int) -> None:
    """Asked every 0.1 ms for 60 s: the first call of the burst is the rate's own."""
    bucket = Rated("k", "key", rate)
    began = 123_456_789_012
    asked = range(began, began + 60 * SECOND, 100_000)
    assert sum(take((bucket,), ONE, now, 0) for now in asked) == expected


def test_the_limit_holds_in_every_window_of_a_second() -> None:
    bucket, let_in = Rated("k", "key", Rate(50, 1, burst=5)), deque[int]()
    for now in range(0, 20 * SECOND, 777_777):
        while let_in and let_in[0] <= now - SECOND:
            let_in.popleft()
        if take((bucket,), ONE, now, 0):
            let_in.append(now)
        assert len(let_in) <= 50 + 5


def test_a_call_is_charged_to_all_of_its_limits_or_to_none() -> None:
    rate = Rated("a", "key", Rate(10, 1))
    quota = Counted("b", "tenant", Quota(3, Period.DAY))
    flying = Flying("c", "endpoint", 2)
    every: tuple[AnyBucket, ...] = (rate, quota, flying)
    assert take(every, ONE, 0, 0)
    assert take(every, ONE, 0, 0)
    before = [one.value for one in every]
    assert not take(every, ONE, 0, 0), "two are in flight"
    assert [one.value for one in every] == before
    flying.value = 0
    assert take(every, ONE, 0, 0)
    flying.value = 0
    before = [one.value for one in every]
    assert not take(every, ONE, 0, 0), "three of the day are used"
    assert [one.value for one in every] == before


def test_what_others_let_in_is_counted_whatever_the_limits_say() -> None:
    bucket = Rated("k", "key", Rate(1, 1))
    for _ in range(3):
        force((bucket,), ONE, 0, 0)
    assert bucket.wait(1, 0, 0) == 3 * SECOND


def test_a_larger_call_than_a_burst_never_fits() -> None:
    assert Rated("k", "key", Rate(100, 1, Measure.ROWS)).wait(101, 0, 0) == NEVER
    assert Rated("k", "key", Rate(100, 1, Measure.ROWS)).wait(100, 0, 0) == 0
    assert Counted("k", "key", Quota(5, Period.DAY)).wait(6, 0, 0) == NEVER


@pytest.mark.parametrize(
    ("kind", "at", "begins", "ends"),
    [
        (Period.HOUR, ms(2026, 3, 1, 23, 59, 59), ms(2026, 3, 1, 23), ms(2026, 3, 2)),
        (Period.DAY, ms(2024, 2, 28, 12), ms(2024, 2, 28), ms(2024, 2, 29)),
        (Period.WEEK, ms(2026, 11, 29, 23), ms(2026, 11, 23), ms(2026, 11, 30)),
        (Period.WEEK, ms(2026, 11, 30), ms(2026, 11, 30), ms(2026, 12, 7)),
        (Period.MONTH, ms(2024, 2, 29, 23, 59), ms(2024, 2, 1), ms(2024, 3, 1)),
        (Period.MONTH, ms(2023, 12, 31, 23, 59), ms(2023, 12, 1), ms(2024, 1, 1)),
        (Period.MONTH, ms(2026, 1, 1), ms(2026, 1, 1), ms(2026, 2, 1)),
    ],
)
def test_periods_are_those_of_the_calendar(kind: Period, at: int, begins: int, ends: int) -> None:
    assert period(kind, at) == (begins, ends)


@given(st.sampled_from(list(Period)), st.integers(0, ms(2200, 1, 1)))
def test_periods_follow_one_another_without_a_gap(kind: Period, at: int) -> None:
    begins, ends = period(kind, at)
    assert begins <= at < ends
    assert period(kind, ends)[0] == ends
    assert period(kind, begins - 1)[1] == begins or begins == 0


def test_a_quota_begins_again_when_the_month_ends() -> None:
    quota, last = Counted("k", "key", Quota(2, Period.MONTH)), ms(2026, 2, 28, 23, 59, 59) + 999
    assert take((quota,), ONE, 0, last)
    assert take((quota,), ONE, 0, last)
    assert not take((quota,), ONE, 0, last)
    assert quota.wait(1, 0, last) == 1_000_000, "a millisecond"
    assert take((quota,), ONE, 0, last + 1)
    assert quota.left(0, last + 1) == (1, 31 * 24 * 3600 * SECOND)


def test_a_clock_that_is_set_back_gives_no_period_twice() -> None:
    quota = Counted("k", "key", Quota(2, Period.DAY))
    today, yesterday, tomorrow = ms(2026, 5, 5, 1), ms(2026, 5, 4, 23), ms(2026, 5, 6)
    assert [take((quota,), ONE, 0, at) for at in (today, yesterday, yesterday)] == [True, True, False]
    assert [take((quota,), ONE, 0, at) for at in (today, tomorrow)] == [False, True]


def test_limits_of_one_owner_share_their_buckets_and_changed_ones_do_not() -> None:
    known: dict[str, AnyBucket] = {}
    limits = Limits((Rate(1, 1), Rate(100, 60)), (Quota(5, Period.DAY),), 3)

    def found(limits: Limits, scope: str, owner: str) -> list[AnyBucket]:
        return buckets(limits, scope, owner, lambda key, make: known.setdefault(key, make()))

    assert found(limits, "key", "a") == found(limits, "key", "a")
    assert not set(found(limits, "key", "a")) & set(found(limits, "key", "b"))
    assert not set(found(limits, "key", "a")) & set(found(limits, "tenant", "a"))
    assert found(Limits((Rate(2, 1),)), "key", "a")[0] not in found(limits, "key", "a")
    assert len({one.key for one in found(limits, "key", "a")}) == 4
