"""Latency quantiles within their error; merging by addition."""

import math

import numpy as np
import pytest

from fairlead.contracts.errors import StateError
from fairlead.monitor.latency import ERROR, HIGHEST, LOWEST, Latency
from fairlead.monitor.packing import packed, unpacked


@pytest.mark.parametrize("q", [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_quantiles(rng: np.random.Generator, q: float) -> None:
    seconds = np.exp(rng.normal(-5, 2, 20_000)).clip(2e-5, 500)
    exact = float(np.quantile(seconds, q, method="inverted_cdf"))
    assert Latency.of(seconds).quantile(q) == pytest.approx(exact, rel=ERROR * (1 + 1e-9))


def test_outside_the_range_the_end_answers() -> None:
    assert Latency.of(np.array([-1.0, 0.0, 1e-7, math.nan])).quantile(1.0) == LOWEST
    assert Latency.of(np.array([1e4, math.inf])).quantile(0.5) == HIGHEST
    assert math.isnan(Latency.none().quantile(0.5))


def test_merged_is_the_whole(rng: np.random.Generator) -> None:
    seconds = rng.exponential(0.01, 1000)
    parts = Latency.of(seconds[:300]) + Latency.of(seconds[300:])
    assert parts.counts.tolist() == Latency.of(seconds).counts.tolist()
    assert Latency.from_bytes(parts.to_bytes()).counts.tolist() == parts.counts.tolist()
    assert parts.total == 1000


@pytest.mark.parametrize("largest", [1, 300, 70_000, 2**40])
@pytest.mark.parametrize("filled", [0, 3, 350])
def test_packing(largest: int, filled: int) -> None:
    counts = np.zeros(359, np.int64)
    counts[:filled] = largest
    data = packed(counts)
    assert unpacked(data, 359).tolist() == counts.tolist()
    assert len(data) < 50 or filled == 350


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\x01\x09" + b"\x00" * 30, packed(np.ones(3, np.int64)), packed(np.ones(5, np.int64))[:-1]]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(StateError):
        unpacked(data, 5)


def test_quantiles_of_rows_are_those_of_each() -> None:
    rng = np.random.default_rng(5)
    samples = [rng.lognormal(-6, 3, size) for size in (0, 1, 2, 7, 1000)] + [np.full(9, 1e-9), np.full(9, 1e4)]
    counts = np.stack([Latency.of(one).counts for one in samples])
    for q in (0.0, 0.5, 0.99, 1.0):
        expected = [Latency(one).quantile(q) for one in counts]
        assert np.array_equal(Latency.quantiles(counts, q), expected, equal_nan=True)
