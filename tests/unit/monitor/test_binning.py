"""Bins: nested, with ties and constants on their own."""

import numpy as np
import pytest

from fairlead.monitor.binning import CATEGORICAL, NUMERIC, coarse, column_reference
from fairlead.monitor.columns import values_of


def of(values: object, dtype: object = None):
    column = np.asarray(values, dtype)
    return column_reference("x", values_of(column), numeric=column.dtype.kind in "iufb")


def test_psi_bins_are_unions_of_fine_ones(rng: np.random.Generator) -> None:
    column = of(rng.normal(size=5000))
    assert len(column.counts) == 100
    assert column.counts == [50] * 100
    assert column.psi_counts().tolist() == [500] * 10 + [0, 0]
    assert column.edges == sorted(column.edges)


@pytest.mark.parametrize("size", [3000, 50_000])
def test_counts_are_those_of_the_values_at_the_edges(rng: np.random.Generator, size: int) -> None:
    values = np.round(rng.gamma(2.0, size=size), 1)
    column = of(values)
    below = [int((values <= edge).sum()) for edge in column.edges]
    assert np.cumsum(column.counts).tolist() == [*below, size]
    assert column.starts == sorted(set(column.starts))


def test_a_float_and_its_float32_share_a_bin() -> None:
    values = np.array([0.1, 0.2, 0.3] * 100)
    wide, narrow = of(values), of(values.astype(np.float32))
    assert wide.counts == narrow.counts
    edges = np.asarray(wide.edges)
    assert np.searchsorted(edges, values[:3]).tolist() == np.searchsorted(edges, values[:3].astype("f4")).tolist()


def test_a_constant_has_a_bin_of_its_own() -> None:
    column = of([3.0] * 50)
    assert column.constant
    assert column.counts == [0, 50, 0]
    assert np.searchsorted(column.edges, [2.999, 3.0, 3.001]).tolist() == [0, 1, 2]


def test_a_frequent_value_is_alone_in_psi_too(rng: np.random.Generator) -> None:
    values = np.where(rng.random(10_000) < 0.6, 0.0, rng.exponential(size=10_000))
    bins = of(values).psi_counts()
    assert (values == 0).sum() in bins.tolist()
    assert bins[0] == 0  # below zero there is nothing, and it would be seen


def test_few_values_have_a_bin_each() -> None:
    column = of([0, 1, 1, 2, 2, 2, 5])
    assert [count for count in column.counts if count] == [1, 2, 3, 1]
    assert [count for count in column.psi_counts().tolist() if count] == [1, 2, 3, 1]
    assert not column.constant


@pytest.mark.parametrize(
    "values", [[np.nan] * 4, [], [np.inf] * 4, [np.inf, -np.inf, 1.0], [1e308, -1e308, 5e-324, 0.0]]
)
def test_strange_numbers_have_bins(values: list[float]) -> None:
    column = of(values, np.float64)
    assert column.kind == NUMERIC
    assert sum(column.counts) + column.missing == len(values) == column.n
    assert np.isfinite(column.edges).all()


def test_categories() -> None:
    column = of(["b"] * 60 + ["a"] * 30 + ["c"] * 9 + [None] + ["b"], object)
    assert column.kind == CATEGORICAL
    assert column.values == ["b", "a", "c"]
    assert column.counts == [61, 30, 9, 0]
    assert column.missing == 1
    assert column.psi_counts().tolist() == [61, 30, 9, 0, 1, 0]


def test_many_categories_are_kept_by_count_and_the_rare_share_a_psi_bin() -> None:
    texts = [f"v{i}" for i in range(300) for _ in range(300 - i)]
    column = of(texts, object)
    assert len(column.values) == 100
    assert column.values[0] == "v0"
    assert sum(column.counts) == len(texts)
    assert column.counts[-1] == sum(300 - i for i in range(100, 300))
    assert column.psi_counts()[:-3].sum() == sum(300 - i for i in range(100))


def test_text_among_numbers_is_foreign() -> None:
    column = of([1, 2, 3, "x"], object)
    assert (column.kind, column.foreign) == (NUMERIC, 1)


def test_coarse_keeps_every_row() -> None:
    found = coarse(np.arange(12).reshape(2, 6), np.array([1, 2]), 0, [0, 2, 5])
    assert found.tolist() == [[1, 9, 5, 1, 0], [13, 27, 11, 2, 0]]
