"""Who is refused when more come than can be answered: decisions, and an endpoint under load without a clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from rush import Arrival, Seen, bursts, poisson, run

from fairlead.contracts.errors import Overloaded
from fairlead.contracts.shedding import Shed
from fairlead.serve.batcher import Batcher, Policy
from fairlead.serve.call import NEVER, Call
from fairlead.serve.pace import Pace
from fairlead.serve.resilience.shedding import Shedding, overloaded

ROW = 0.005
"""Seconds of the model for a row, alone or in a batch."""
RATE = 1 / ROW
SECONDS = 6.0
LINEAR = Pace((1, 2, 4, 8), (ROW, 2 * ROW, 4 * ROW, 8 * ROW))
GAINS = ((1, 2, 4, 8, 16, 32), (0.010, 0.011, 0.013, 0.017, 0.025, 0.041))
"""A model that answers 780 rows a second in batches of 32, and 100 one by one."""

Make = Callable[[Counter[tuple[str, str]]], Batcher]


def alone(shed: Shed | None = Shed(), *, known: bool = True, workers: int = 1) -> Make:  # noqa: B008 - frozen
    """A batcher that runs calls one by one. ``known``: how long they take."""

    def make(count: Counter[tuple[str, str]]) -> Batcher:
        pace = Pace((1, 2), (ROW, 2 * ROW)) if known else None
        policy = Policy(coalesce=False, shed=shed)
        return Batcher(policy, pace, workers, lambda reason, lane: count.update([(reason, lane)]))

    return make


def together(count: Counter[tuple[str, str]]) -> Batcher:
    return Batcher(Policy(max_rows=32), Pace(*GAINS), 1, lambda reason, lane: count.update([(reason, lane)]))


def noisy(seed: int = 1) -> Callable[[int], float]:
    rng = np.random.default_rng(seed)
    return lambda rows: ROW * rows * float(rng.normal(1, 0.05))


def goodput(seen: Seen) -> float:
    """Of what the model can answer at most while calls come."""
    return sum(seen.good.values()) / SECONDS / RATE


@pytest.mark.parametrize("known", [True, False], ids=["pace known", "pace unknown"])
@pytest.mark.parametrize("times", [2, 5, 10])
def test_goodput_stays_at_its_peak_however_many_come(times: int, known: bool) -> None:
    seen = run(alone(known=known), poisson(RATE * times, SECONDS, 0.1, times), noisy())
    assert goodput(seen) >= 0.95
    assert sum(seen.late.values()) <= 0.01 * sum(seen.came.values())
    assert np.quantile(seen.waits, 0.99) <= 0.1


def test_without_shedding_most_calls_wait_until_their_time_is_over() -> None:
    seen = run(alone(None), poisson(RATE * 5, SECONDS, 0.1, 5), noisy())
    assert not seen.shed
    assert sum(seen.late.values()) > 0.75 * sum(seen.came.values())


@pytest.mark.parametrize("allowed", [0.25, 60.0])
def test_nobody_is_refused_while_all_can_be_answered(allowed: float) -> None:
    for seed in range(5):
        seen = run(alone(), poisson(RATE * 0.8, 20.0, allowed, seed), noisy())
        assert not seen.shed
        assert not seen.late


def test_tight_deadlines_at_eight_tenths_of_what_is_possible_cost_one_in_a_thousand_at_most() -> None:
    seen = run(alone(), poisson(RATE * 0.8, 60.0, 0.1, 3), noisy())
    assert sum(seen.shed.values()) + sum(seen.late.values()) <= 0.001 * sum(seen.came.values())


@pytest.mark.parametrize("size", [8, 64, 400])
def test_bursts_are_taken_in(size: int) -> None:
    seen = run(alone(), bursts(RATE * 0.8, size, 20.0, max(0.1, 1.1 * size * ROW)), noisy())
    assert not seen.shed
    assert not seen.late


def test_callers_who_wait_for_their_answers_are_never_refused() -> None:
    """A queue that always stands, of callers with time: 64 connections, each with one call at a time."""
    batcher = alone()(count := Counter())
    now, calls = 0.0, [Arrival(0.0, 60.0) for _ in range(64)]
    seen = run(lambda _: batcher, calls, lambda rows: ROW * rows)
    assert not seen.shed
    for turn in range(20):
        now += 64 * ROW
        seen = run(lambda _: batcher, [Arrival(now, 60.0) for _ in range(64)], lambda rows: ROW * rows)
        assert sum(seen.good.values()) == 64, turn
    assert not count


def test_a_target_bounds_the_wait_where_calls_allow_themselves_minutes() -> None:
    seen = run(alone(Shed(0.05)), poisson(RATE * 2, SECONDS, 60.0, 1), noisy())
    assert goodput(seen) >= 0.95
    assert np.quantile(seen.waits, 0.9) <= 0.07
    seen = run(alone(), poisson(RATE * 2, SECONDS, 60.0, 1), noisy())
    assert not seen.shed  # all can be answered within the minute


def test_where_calls_ride_together_full_batches_are_no_overload() -> None:
    pace = Pace(*GAINS)
    light = run(together, poisson(500, SECONDS, 0.25, 1), pace.seconds)
    assert not light.shed
    assert not light.late
    for times in (2, 5, 10):
        seen = run(together, poisson(780 * times, SECONDS, 0.25, times), pace.seconds)
        assert sum(seen.good.values()) / SECONDS >= 0.95 * 780
        assert sum(seen.late.values()) <= 0.01 * sum(seen.came.values())


@pytest.mark.parametrize("allowed", [0.1, 60.0])
def test_urgent_calls_are_refused_last(allowed: float) -> None:
    shed = Shed() if allowed < 1 else Shed(0.05)
    urgent = poisson(RATE * 0.8, SECONDS, allowed, 1, lane=0)
    seen = run(alone(shed), [*urgent, *poisson(RATE * 4.2, SECONDS, allowed, 2)], noisy())
    assert seen.good["interactive"] >= 0.99 * len(urgent)
    assert goodput(seen) >= 0.9


def test_batch_calls_are_refused_first() -> None:
    share = {}
    arrivals = [one for lane in range(3) for one in poisson(RATE * 0.4, SECONDS, 0.1, lane, lane=lane)]
    seen = run(alone(), arrivals, noisy())
    for lane in ("interactive", "standard", "batch"):
        share[lane] = seen.good[lane] / seen.came[lane]
    assert share["interactive"] > 0.99
    assert share["standard"] > 0.9 > share["batch"]


def test_several_batches_at_once_are_counted_as_such() -> None:
    seen = run(alone(workers=4), poisson(4 * RATE * 5, SECONDS, 0.1, 1), noisy())
    assert goodput(seen) >= 4 * 0.95
    assert sum(seen.late.values()) <= 0.01 * sum(seen.came.values())


def test_a_model_that_becomes_slow_is_believed() -> None:
    """Five times slower than it was measured: what is let in is still answered in time."""
    seen = run(alone(), poisson(RATE, SECONDS, 0.25, 1), lambda rows: 5 * ROW * rows)
    assert 5 * goodput(seen) >= 0.9
    assert sum(seen.late.values()) <= 0.05 * sum(seen.came.values())


def test_the_time_to_come_back_is_that_of_the_calls_before() -> None:
    """A minute of calls waits: who allows 40 s may come back when 20 of them are over, and a batch call later."""
    batcher = alone()(Counter())
    batcher.policy = Policy(coalesce=False, queue_calls=100_000, queue_rows=100_000)
    for number in range(12_000):
        batcher.offer(asked(0.0001 * number, NEVER), 0.0001 * number)
    for allowed, lane, after in ((40.0, 1, 20.0), (70.0, 1, 60 - 0.8 * 70), (70.0, 2, 60 - 0.5 * 70)):
        with pytest.raises(Overloaded) as caught:
            batcher.offer(asked(1.3, allowed, lane), 1.3)
        assert caught.value.retry_after == pytest.approx(after, abs=0.1)
    batcher.offer(asked(1.3, 76.0), 1.3)
    batcher.offer(asked(1.3, 40.0, 0), 1.3)  # nobody is before it


def asked(now: float, allowed: float, lane: int = 1) -> Call:
    return Call({"x": np.zeros((1, 1))}, 1, lambda _: None, arrived=now, deadline=now + allowed, lane=lane)


class TestStanding:
    def test_a_queue_stands_when_it_was_not_empty_for_an_interval(self) -> None:
        shedding = Shedding(Shed(interval=0.1), None, [0, 0, 0])
        shedding.first(1.0)
        assert not shedding.stands(1.09)
        assert shedding.stands(1.1)
        shedding.first(2.0)
        assert not shedding.stands(2.0)

    def test_a_batch_that_takes_long_is_no_queue_that_stands(self) -> None:
        shedding = Shedding(Shed(interval=0.1), None, [0, 0, 0])
        for _ in range(50):
            shedding.ended("x", 1, 0.5, 0.0)
        shedding.first(1.0)
        assert not shedding.stands(2.9)
        assert shedding.stands(3.1)

    def test_with_a_target_a_short_queue_does_not_stand(self) -> None:
        shedding = Shedding(Shed(0.05, 0.1), None, [0, 0, 0])
        shedding.first(1.0)
        for step in range(20):
            now = 1.0 + 0.02 * step
            shedding.began(step, 1, now - 0.04, now)
            assert not shedding.stands(now)
        for step in range(6):
            now = 1.4 + 0.02 * step
            shedding.began(step, 1, now - 0.06, now)
        assert shedding.stands(1.5)
        shedding.began(99, 1, 1.5 - 0.001, 1.5)
        assert shedding.stands(1.5)  # until it was empty once

    def test_shed_nothing_sheds_nothing(self) -> None:
        shedding = Shedding(None, LINEAR, [0, 0, 0])
        shedding.first(0.0)
        assert shedding.refusal(1, 100.0, 1.0, 0.0, 0.1, 50.0) is None
        assert not shedding.stands(50.0)


class TestEstimates:
    def test_what_runs_counts_until_it_should_be_over(self) -> None:
        shedding = Shedding(Shed(), LINEAR, [0, 0, 0])
        shedding.began("a", 4, 0.0, 0.0)
        assert shedding.wait(1, 2, 1, 0.005) == pytest.approx(0.025)
        assert shedding.wait(1, 2, 1, 0.1) == pytest.approx(0.010)
        shedding.ended("a", 4, 0.02, 0.02)
        assert shedding.wait(1, 2, 1, 0.02) == pytest.approx(0.010)
        assert shedding.wait(1, 4, 2, 0.02) == pytest.approx(0.010)

    def test_nothing_known_is_no_wait(self) -> None:
        assert Shedding(Shed(), None, [0, 0, 0]).wait(1, 1000, 1, 0.0) == 0.0

    def test_while_a_queue_stands_what_leaves_it_is_measured(self) -> None:
        shedding = Shedding(Shed(), None, [0, 0, 0])
        shedding.first(0.0)
        for step in range(1, 30):
            shedding.began(step, 2, 0.0, step * 0.03)
            shedding.ended(step, 2, 0.02, step * 0.03 + 0.03)
        assert shedding.wait(1, 10, 1, 1.0) == pytest.approx(0.15, rel=0.01)

    def test_calls_of_lanes_before_that_are_still_to_come_count_too(self) -> None:
        shedding = Shedding(Shed(), None, came := [0, 0, 0])
        shedding.first(0.0)
        for step in range(1, 400):
            came[0], came[1] = came[0] + 3, came[1] + 1
            shedding.began(step, 4, 0.0, step * 0.02)
            shedding.ended(step, 4, 0.02, step * 0.02 + 0.02)
        assert shedding.wait(0, 8, 1, 9.0) == pytest.approx(0.04, rel=0.01)
        assert shedding.wait(1, 8, 1, 9.0) == pytest.approx(0.16, rel=0.01)
        assert shedding.wait(2, 8, 1, 9.0) == pytest.approx(0.8, rel=0.01)  # a twentieth is left, at least

    def test_calls_without_a_deadline_are_only_bound_by_a_target(self) -> None:
        for shed, refused in ((Shed(), None), (Shed(0.05), "delay")):
            shedding = Shedding(shed, LINEAR, [0, 0, 0])
            shedding.first(0.0)
            found = shedding.refusal(1, 10.0, ROW, 0.0, NEVER, 5.0)
            assert (found and found[0]) == refused


def test_what_a_refused_caller_is_told() -> None:
    late = overloaded("deadline", 0.12, 0.1)
    assert str(late) == (
        "the calls before this one and itself need 120 ms, and it may take 100 ms; "
        "try again later, or allow more with x-request-timeout-ms"
    )
    assert (late.code, late.retry_after) == ("overloaded", 1.0)
    stands = overloaded("delay", 5.5, 2.0)
    assert "would need 5500 ms, and now 2000 ms are the limit" in str(stands)
    assert stands.retry_after == 3.5
