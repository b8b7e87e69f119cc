"""Bounds of a look are its tests turned round: held against the tests themselves, margin by margin, and simulated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sights import EDGES, arm

from fairlead.contracts.plans import Answer, Check
from fairlead.orchestrate.intervals import Interval, interval
from fairlead.orchestrate.observed import Arm, Moments, Observed
from fairlead.orchestrate.verdict import Gate, Levels, gate, look

ALPHA, COMPARISONS = 0.05, 16
LEVELS = Levels.of(ALPHA, COMPARISONS)
GATES = ("error_rate", "latency_p90", "prediction_drift", "flip_rate", "mean:revenue")


def of(one: Gate, seen: Observed, *, paired: bool = False) -> tuple[Check, Interval | None]:
    check = look(seen, [one], alpha=ALPHA, comparisons=COMPARISONS, paired=paired)[0]
    return check, interval(one, check, seen, LEVELS, paired=paired)


def sights(rng: np.random.Generator) -> Observed:
    def side() -> Arm:
        calls = int(rng.integers(50, 8_000))
        errors = int(rng.binomial(calls, rng.choice([0.002, 0.02, 0.2])))
        seconds = rng.lognormal(np.log(0.02 * rng.choice([0.8, 1.0, 1.5])), 0.4, calls - errors)
        scores = rng.multinomial(calls, rng.dirichlet(np.full(10, 50.0)))
        means = {"revenue": Moments(calls, float(rng.normal(1.0, 0.05)), 0.25)}
        return Arm(calls, errors, np.histogram(np.clip(seconds, 1e-3, 9.9), EDGES)[0], scores, means)

    champion, candidate = side(), side()
    return Observed(champion, candidate, EDGES, candidate.calls, int(rng.binomial(candidate.calls, 0.1)))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), paired=st.booleans())
def test_a_gate_fails_above_its_lower_bound_and_passes_under_its_upper_one(seed: int, paired: bool) -> None:
    seen = sights(np.random.default_rng(seed))
    names = GATES[:4] if paired else (*GATES[:3], GATES[4])
    for name in names:
        lowest = 1.01 if name.startswith("latency") else 0.001
        for margin in lowest + np.array([0.0, 0.05, 0.3]):
            check, found = of(gate(name, float(margin)), seen, paired=paired)
            assert found is not None
            assert found.lower <= found.estimate
            assert found.upper is None or found.estimate <= found.upper
            assert (found.lower >= margin * (1 - 1e-12)) == (check.answer is Answer.FAIL)
            if check.answer is Answer.PASS:
                assert found.upper is not None
                assert found.upper <= margin * (1 + 1e-12)
            elif check.answer is Answer.INCONCLUSIVE and seen.candidate.errors * 2 < seen.candidate.calls:
                assert found.upper is None or found.upper > margin


def test_bounds_are_those_that_a_grid_of_margins_finds() -> None:
    """Every margin of a grid is tested by itself: the last that fails and the first that passes are the bounds."""
    seen = Observed(arm(9_000, 45), arm(3_000, 60), EDGES, 3_000, 300)
    for name, grid in (("error_rate", np.linspace(0.0005, 0.05, 100)), ("flip_rate", np.linspace(0.05, 0.2, 151))):
        found = of(gate(name), seen, paired=name == "flip_rate")[1]
        assert found is not None
        answers = [of(gate(name, float(one)), seen, paired=name == "flip_rate")[0].answer for one in grid]
        step = grid[1] - grid[0]
        fails = [one for one, answer in zip(grid, answers, strict=True) if answer is Answer.FAIL]
        passes = [one for one, answer in zip(grid, answers, strict=True) if answer is Answer.PASS]
        assert max(fails) <= found.lower <= max(fails) + step
        assert found.upper is not None
        assert min(passes) - step <= found.upper <= min(passes)


def test_the_truth_is_rarely_ever_outside() -> None:
    """Of 60 sequences with the same rates, looked at four times each, few are ever under the truth."""
    rng, outside, above = np.random.default_rng(11), 0, 0
    one = gate("error_rate")
    for _ in range(60):
        counts = np.cumsum(rng.binomial(250, 0.03, (40, 2)), axis=0)
        found = [
            of(one, Observed(replace(arm(n, 0), errors=int(a)), replace(arm(n, 0), errors=int(b)), EDGES))[1]
            for n, (a, b) in zip(range(2_500, 10_001, 2_500), counts[9::10], strict=False)
        ]
        outside += any(each is not None and each.upper is not None and each.upper < 0.0 for each in found)
        above += any(each is not None and each.lower > 0.0 for each in found)
    assert outside <= 3 + 5, "alpha, and chance"
    assert above <= 2, "alpha over all comparisons, and chance"


@pytest.mark.parametrize("name", GATES)
def test_without_calls_there_is_no_interval(name: str) -> None:
    assert (
        of(gate(name, 1.1 if "latency" in name else 0.1), Observed(edges=EDGES), paired=name == "flip_rate")[1] is None
    )


def test_what_nothing_bounds_has_no_upper_bound() -> None:
    found = of(gate("latency_p99"), Observed(arm(20), arm(20, slow=5), EDGES))[1]
    assert found is not None
    assert found.upper is None
    assert found.lower < 0.1
    assert found.estimate > 1.0


def test_a_champion_beyond_the_last_edge_says_how_much_faster_the_candidate_is() -> None:
    edges = np.array([0.0, 0.01, 0.02, 1.0, np.inf])
    slow, fast = (Arm(400, 0, np.array(counts)) for counts in ([0, 0, 0, 400], [400, 0, 0, 0]))
    found = of(gate("latency_p90", 1.1), Observed(slow, fast, edges))[1]
    assert found is not None
    assert found.estimate < 0.1
    assert found.upper is not None
    assert found.upper < 0.1
