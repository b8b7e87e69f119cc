"""Replicas for a load, against the law itself and a simulation of the queue."""

from __future__ import annotations

import heapq
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contracts.errors import UsageError
from fairlead.plan import littles_law
from fairlead.plan.littles_law import Load


def simulated(rate: float, seconds: float, places: int, calls: int, seed: int) -> np.ndarray:
    """Waits of calls at a queue with Poisson arrivals and exponential times, first come first served."""
    dice, at = Random(seed), 0.0
    free = [0.0] * places
    waits = []
    for _ in range(calls):
        at += dice.expovariate(rate)
        start = max(at, heapq.heappop(free))
        waits.append(start - at)
        heapq.heappush(free, start + dice.expovariate(1 / seconds))
    return np.array(waits[calls // 10 :])


@pytest.mark.parametrize(("rate", "seconds", "places"), [(50, 0.4, 28), (50, 0.4, 22), (3, 0.25, 1), (8, 0.5, 5)])
def test_the_wait_is_that_of_a_simulated_queue(rate: float, seconds: float, places: int) -> None:
    told = littles_law.wait(Load(rate, seconds, 1), places)
    assert told is not None
    waits = simulated(rate, seconds, places, 400_000, seed=7)
    assert float((waits > 0).mean()) == pytest.approx(told.share, rel=0.1)
    assert float(waits.mean()) == pytest.approx(told.mean, rel=0.15)
    assert float(np.percentile(waits, 99)) == pytest.approx(told.p99, rel=0.15, abs=0.005)


def test_the_example_of_the_command() -> None:
    found = littles_law.plan(Load(50, 0.4, 4, 0.3))
    assert found.load.in_flight == pytest.approx(20)
    assert found.floor == pytest.approx(5)
    assert found.replicas == 7  # 20 * 1.3 / 4 = 6.5
    assert found.load.target == pytest.approx(4 / 1.3)
    assert found.utilization == pytest.approx(20 / 28)


def test_one_place_is_the_queue_of_the_books() -> None:
    told = littles_law.wait(
        Load(8, 0.1, 1), 1
    )  # M/M/1: a call waits with probability rho, rho / (mu - lambda) on average
    assert told is not None
    assert told.share == pytest.approx(0.8)
    assert told.mean == pytest.approx(0.8 / (10 - 8))


def test_a_round_number_is_not_rounded_up_by_floats() -> None:
    assert littles_law.plan(Load(30, 0.1, 1, 0.1)).replicas == 4  # 3.3
    assert littles_law.plan(Load(10, 0.3, 1, 0.0)).replicas == 3
    assert littles_law.plan(Load(0, 0.3, 1)).replicas == 1


def test_no_place_free_is_waiting_without_end() -> None:
    assert littles_law.plan(Load(10, 0.4, 4, 0.0)).wait is None
    assert littles_law.plan(Load(10, 0.4, 4, 0.0), most_wait=10).replicas == 2


@settings(max_examples=200)
@given(st.floats(0, 2000), st.floats(0.001, 5), st.floats(1, 64), st.floats(0, 2), st.floats(0.001, 1) | st.none())
def test_replicas_hold_the_load_and_one_less_does_not(
    rate: float, seconds: float, concurrency: float, headroom: float, most: float | None
) -> None:
    load = Load(rate, seconds, concurrency, headroom)
    found = littles_law.plan(load, most)
    assert found.replicas * load.target >= load.in_flight * (1 - 1e-6) - 1e-6
    if found.wait is not None:
        assert 0 <= found.wait.share <= 1
        assert math.isfinite(found.wait.p99)
    if most is not None:
        assert found.wait is not None
        assert found.wait.p99 <= most
    elif found.replicas > 1:
        assert (found.replicas - 1) * load.target < load.in_flight + 1e-6


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rate": -1}, "rate is -1"),
        ({"rate": math.nan}, "rate is nan"),
        ({"seconds": 0}, "seconds is 0; expected more than 0"),
        ({"rate": math.inf}, "rate is inf; expected a finite number"),
        ({"concurrency": 0.5}, "concurrency is 0.5; expected at least 1"),
        ({"headroom": -0.1}, "headroom is -0.1"),
    ],
)
def test_numbers_that_are_none_are_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Load(**{"rate": 1.0, "seconds": 1.0, "concurrency": 1.0, **wrong})


def test_a_load_beyond_measure_is_refused() -> None:
    with pytest.raises(UsageError, match="more than 1,000,000 calls at once"):
        littles_law.plan(Load(1e9, 1, 1))
    with pytest.raises(UsageError, match="longest wait is 0 s"):
        littles_law.plan(Load(1, 1, 1), most_wait=0)
