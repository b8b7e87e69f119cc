"""The bars of ``bench/verdicts.py``, in short."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from bench.verdicts import BAD, false_aborts, misses

pytestmark = pytest.mark.slow


def test_a_twin_is_rarely_aborted() -> None:
    """2,000 runs of the benchmark stay at or under 5 %; of 60, more than 7 would be a one in a hundred event."""
    found = false_aborts(60, 4000, seed=7)
    assert found.get("aborting", 0) <= 7
    assert found["promoting"] >= 45, "and it is promoted"


@pytest.mark.parametrize("weight", [5.0, 50.0])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_canary_is_rarely_missed(name: str, weight: float) -> None:
    missed, calls = misses(40, BAD[name](), weight, seed=7)
    assert missed <= 0.1
    assert calls is not None
    assert calls <= 10_000
