"""How many replicas: against a brute force over a fine grid, and the promises of the decision under any load."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.scaling import Scaling
from fairlead.orchestrate.scale import Kpa, Seen, average, decide

LOADS = st.lists(st.floats(0, 500), min_size=1, max_size=200)


def replay(scaling: Scaling, loads: list[float]) -> list[int]:
    """Replicas after each second of a load, when a replica comes as soon as it is asked for."""
    scaler, replicas, found = Kpa(scaling), max(1, scaling.least), []
    for second, load in enumerate(loads):
        replicas = scaler.decide(second + 1.0, 1.0, load, replicas)
        found.append(replicas)
    return found


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 50)), min_size=1, max_size=30), st.integers(1, 40))
def test_the_average_is_that_of_a_fine_grid(spans: list[tuple[int, float]], window: int) -> None:
    looks, at, grid = [], 0.0, []
    for length, concurrency in spans:
        at += length
        looks.append((at, float(length), concurrency))
        grid += [concurrency] * length
    assert average(tuple(looks), at, window) == pytest.approx(float(np.mean(grid[-window:])))


@given(LOADS, st.integers(0, 2), st.integers(2, 9))
def test_it_stays_within_what_is_allowed(loads: list[float], least: int, most: int) -> None:
    assert all(least <= replicas <= most for replicas in replay(Scaling(least, most), loads))


@given(LOADS)
def test_nobody_is_let_go_within_a_stable_window_of_a_rush(loads: list[float]) -> None:
    scaling = Scaling(1, 1000, target=2)
    scaler, replicas, rushed = Kpa(scaling), 1, -math.inf
    for second, load in enumerate(loads):
        now, recent = second + 1.0, loads[max(0, second - 5) : second + 1]
        if math.ceil(sum(recent) / len(recent) / 2 - 1e-6) >= 2 * max(1, replicas):
            rushed = now
        after = scaler.decide(now, 1.0, load, replicas)
        if rushed > now - scaling.stable:
            assert after >= replicas
        replicas = after


@pytest.mark.parametrize(("load", "replicas"), [(0.1, 1), (8, 1), (8.1, 2), (31, 4), (32, 4), (1000, 4)])
def test_a_steady_load_has_what_it_needs(load: float, replicas: int) -> None:
    assert replay(Scaling(0, 4, target=8), [load] * 130)[-1] == replicas


def test_a_rush_is_met_within_the_short_window() -> None:
    quiet = [1.0] * 120
    found = replay(Scaling(1, 16, target=8), [*quiet, *[100.0] * 10])
    assert set(found[:120]) == {1}
    assert found[121] >= 4  # after two seconds; the average of a minute asks for one
    assert found[125] == 13


def test_the_last_one_ends_after_its_time_without_a_call_and_not_before() -> None:
    found = replay(Scaling(0, 4, target=8, idle=90), [1.0] * 10 + [0.0] * 200)
    ended = found.index(0)
    assert 10 + 90 - 1 <= ended <= 10 + 90 + 1
    assert set(found[ended:]) == {0}


def test_a_short_time_to_zero_does_not_wait_for_the_averages() -> None:
    found = replay(Scaling(0, 4, target=1, idle=3), [50.0] * 10 + [0.0] * 10)
    assert found[9:] == [4, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0]


def test_one_that_no_call_ever_reached_ends_too() -> None:
    assert replay(Scaling(0, 1, idle=30), [0.0] * 40)[-1] == 0


def test_after_a_rush_the_load_of_a_minute_decides() -> None:
    found = replay(Scaling(0, 16, target=8), [100.0] * 30 + [4.0] * 200)
    assert max(found) == 13
    assert found[-1] == 1


def test_it_forgets_what_is_older_than_its_window() -> None:
    seen = Seen()
    for second in range(1000):
        seen, _ = decide(Scaling(), seen, float(second), 1.0, 1.0, 1)
    assert len(seen.looks) <= 60
