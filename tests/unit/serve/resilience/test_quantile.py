"""A quantile of what was seen lately: compared with numpy's of all of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.resilience.quantile import ACCURACY, Quantile


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_numpys_within_its_accuracy(share: float, seed: int) -> None:
    draws = np.random.default_rng(seed)
    values = draws.lognormal(-4.0, 1.5, 5_000)
    quantile = Quantile(share)
    for value in values:
        quantile.saw(float(value), 0.0)
    assert quantile.value(0.0) == pytest.approx(np.quantile(values, share, method="lower"), rel=ACCURACY + 1e-9)


@given(
    values=st.lists(st.floats(2e-6, 9e3), min_size=1, max_size=31),
    share=st.sampled_from([0.5, 0.9, 0.95]),
)
def test_few_values_are_enough_or_said_to_be_too_few(values: list[float], share: float) -> None:
    quantile = Quantile(share)
    for value in values:
        quantile.saw(value, 5.0)
    found = quantile.value(5.0)
    if len(values) * (1 - share) < 1:
        assert found is None
    else:
        assert found == pytest.approx(np.quantile(values, share, method="lower"), rel=ACCURACY + 1e-9)


def test_what_was_long_ago_is_forgotten() -> None:
    quantile = Quantile(0.5, seconds=60.0)
    for at in range(100):
        quantile.saw(1.0, float(at % 10))
    assert quantile.value(10.0) == pytest.approx(1.0, rel=ACCURACY)
    for _ in range(300):
        quantile.saw(0.01, 45.0)
    assert quantile.value(45.0) == pytest.approx(0.01, rel=ACCURACY)  # most of both halves
    assert quantile.value(80.0) == pytest.approx(0.01, rel=ACCURACY)
    assert quantile.value(300.0) is None


def test_values_beyond_the_bins_are_at_their_ends() -> None:
    low, high = Quantile(0.5), Quantile(0.5)
    for _ in range(10):
        low.saw(0.0, 0.0)
        high.saw(1e9, 0.0)
    assert low.value(0.0) == pytest.approx(1e-6, rel=2 * ACCURACY)
    assert (high.value(0.0) or 0.0) >= 1e4 * (1 - ACCURACY)
