"""Distances of counts against scipy and the closed formula."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from fairlead.monitor.distances import jensen_shannon, ks_of_counts, psi


def test_psi_is_the_published_sum(rng: np.random.Generator) -> None:
    e, a = rng.integers(1, 100, 10), rng.integers(1, 100, 10)
    es, as_ = e / e.sum(), a / a.sum()
    assert psi(e, a) == pytest.approx(sum((x - y) * np.log(x / y) for x, y in zip(as_, es, strict=True)), abs=1e-12)
    assert psi(e, a) == pytest.approx(float(psi(a, e)), abs=1e-12)


def test_psi_smooths_both_sides_by_half_a_count_and_normalises_again() -> None:
    e, a = np.array([6, 4, 0, 0]), np.array([5, 0, 5, 0])
    es, as_ = np.array([6.5, 4.5, 0.5]) / 11.5, np.array([5.5, 0.5, 5.5]) / 11.5
    assert psi(e, a) == pytest.approx(float(((as_ - es) * np.log(as_ / es)).sum()), abs=1e-12)


def test_a_bin_that_both_leave_empty_changes_nothing() -> None:
    e, a = np.array([6, 4]), np.array([5, 7])
    assert psi(np.append(e, 0), np.append(a, 0)) == psi(e, a)


def test_an_empty_side_has_no_distance() -> None:
    assert psi(np.array([1, 2]), np.array([0, 0])) == 0.0


def test_many_windows_at_once(rng: np.random.Generator) -> None:
    e, a = rng.integers(0, 5, 8), rng.integers(0, 5, (6, 8))
    assert psi(e, a) == pytest.approx([float(psi(e, row)) for row in a])
    assert jensen_shannon(e, a) == pytest.approx([float(jensen_shannon(e, row)) for row in a])


def test_jensen_shannon_is_scipys_distance(rng: np.random.Generator) -> None:
    for _ in range(20):
        e, a = (np.append(rng.integers(0, 9, 12), ends) for ends in ([0, 3], [2, 0]))
        assert jensen_shannon(e, a) == pytest.approx(jensenshannon(e, a, base=2), abs=1e-9)
    assert jensen_shannon(np.array([1, 0]), np.array([0, 1])) == pytest.approx(1.0)


@pytest.mark.parametrize("shift", [0.0, 0.05, 1.0])
def test_the_raw_ks_lies_between_the_bounds(rng: np.random.Generator, shift: float) -> None:
    for bins in (2, 10, 100):
        x, y = rng.normal(size=500), rng.normal(shift, size=300)
        edges = np.quantile(x, np.arange(1, bins) / bins)
        counts = [np.diff(np.searchsorted(np.sort(v), edges, "right"), prepend=0, append=len(v)) for v in (x, y)]
        low, high = ks_of_counts(*counts)
        assert low - 1e-12 <= ks_2samp(x, y).statistic <= high + 1e-12
        assert high - low <= 2.5 / bins
