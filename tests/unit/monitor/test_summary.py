"""What a window holds of a column."""

import math

import numpy as np
import pytest

from fairlead.contracts.errors import StateError
from fairlead.monitor.binning import column_reference
from fairlead.monitor.columns import values_of
from fairlead.monitor.summary import ERROR, KEPT, KEPT_ALONE, Bins, Summary


def counted(values: np.ndarray, bins: Bins | None = None) -> Summary:
    return (bins or Bins(None)).count(values_of(values))


@pytest.mark.parametrize("q", [0.001, 0.2, 0.5, 0.77, 1.0])
def test_quantiles_without_a_reference(rng: np.random.Generator, q: float) -> None:
    values = np.concatenate([rng.standard_cauchy(5000), np.zeros(500), -np.exp(rng.normal(0, 4, 3000))])
    exact = float(np.quantile(values, q, method="inverted_cdf"))
    assert counted(values).quantile(q) == pytest.approx(exact, rel=ERROR * (1 + 1e-6))


def test_the_ends_of_the_histogram() -> None:
    assert counted(np.array([np.inf])).quantile(0.5) == pytest.approx(1e12, rel=0.02)
    assert counted(np.array([-np.inf])).quantile(0.5) == pytest.approx(-1e12, rel=0.02)
    assert counted(np.array([1e-13])).quantile(0.5) == 0.0
    assert math.isnan(counted(np.array([np.nan])).quantile(0.5))


def test_numbers_beside_the_counts() -> None:
    found = counted(np.array([1.0, 2.0, np.nan, np.inf, 6.0]))
    assert (found.n, found.missing, found.finite, found.infinite) == (5, 1, 3, 1)
    assert (found.mean, found.low, found.high) == (3.0, 1.0, 6.0)


def test_bytes_and_back(rng: np.random.Generator) -> None:
    for values in (rng.normal(size=100), np.array(["a", "é\ud800", None, "b"], object), np.array([np.inf, np.nan])):
        one = counted(values)
        other = Summary.from_bytes(one.to_bytes())
        assert other.counts.tolist() == one.counts.tolist()
        assert (other.n, other.missing, other.foreign, other.total) == (one.n, one.missing, one.foreign, one.total)
        assert sum(other.texts.values()) == sum(one.texts.values())


@pytest.mark.parametrize("data", [b"", b"\0" * 71, b"\1" * 90])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(StateError):
        Summary.from_bytes(data)


def test_texts_kept_are_exact_however_they_were_spread(rng: np.random.Generator) -> None:
    texts = np.array([f"t{i}" for i in rng.zipf(1.3, 8000)], object)
    whole = counted(texts)
    assert len(whole.texts) == KEPT_ALONE
    assert all(count == (texts == text).sum() for text, count in whole.texts.items())
    for seed in range(3):
        parts = np.array_split(np.random.default_rng(seed).permutation(texts), 5)
        merged = counted(parts[0])
        for part in parts[1:]:
            merged.add(counted(part))
        assert merged.texts == whole.texts
        assert merged.foreign == whole.foreign == len(texts)


def test_values_the_reference_does_not_name() -> None:
    column = column_reference("x", values_of(np.array(["a"] * 5 + ["b"], object)), numeric=False)
    found = counted(np.array(["a", "c", "c", "d", None, 3], object), Bins(column))
    assert found.counts.tolist() == [1, 0, 3]
    assert found.texts == {"c": 2, "d": 1}
    assert (found.missing, found.foreign, found.n) == (1, 1, 6)
    many = counted(np.array([f"n{i}" for i in range(500)], object), Bins(column))
    assert (len(many.texts), int(many.counts[-1])) == (KEPT, 500)


def test_other_bins_are_not_added() -> None:
    column = column_reference("x", values_of(np.arange(9.0)), numeric=True)
    with pytest.raises(StateError):
        counted(np.arange(3.0)).add(counted(np.arange(3.0), Bins(column)))
