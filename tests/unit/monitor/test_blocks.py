"""What a reference learns from its own windows."""

import numpy as np
import pytest

from fairlead.monitor.distances import psi
from fairlead.monitor.nulls import unrest
from fairlead.monitor.reference import HOUR_MS, reference


def usual(values: np.ndarray, block: int, test: str = "psi") -> tuple[float, float, float]:
    times = np.arange(len(values)) // block * HOUR_MS
    column = reference({"x": values}, {}, times_ms=times).columns["in.x"]
    mean, shape, seen = unrest(np.array([column.usual[test]]))
    return float(mean[0]), float(shape[0]), float(seen[0])


def test_independent_rows_have_next_to_no_unrest(rng: np.random.Generator) -> None:
    mean, _, seen = usual(rng.normal(size=40_000), 200)
    assert mean < 9 / 200 * 0.15  # well below what chance alone gives PSI at 200 rows
    assert seen > 100


def test_unrest_is_the_mean_psi_of_the_true_shifts(rng: np.random.Generator) -> None:
    """Windows whose mean swings by s: PSI of two normals is near s**2, a little less in ten bins."""
    shifts = rng.normal(0, 0.3, 300)
    mean, shape, _ = usual((rng.normal(size=(300, 500)) + shifts[:, None]).ravel(), 500)
    assert mean == pytest.approx(0.09, rel=0.3)
    assert 0.25 < shape < 1.0  # a chi-square of one degree has 0.5


def test_windows_that_follow_one_another_count_for_fewer(rng: np.random.Generator) -> None:
    level, levels = 0.0, []
    for _ in range(400):
        level = 0.9 * level + rng.normal(0, 0.2)
        levels.append(level)
    _, _, seen = usual((rng.normal(size=(400, 200)) + np.array(levels)[:, None]).ravel(), 200)
    assert seen < 150


def test_a_block_is_held_against_the_others(rng: np.random.Generator) -> None:
    """Two blocks: each against the other, so both have the same PSI; the sums hold it."""
    values = np.concatenate([rng.normal(size=300), rng.normal(1, size=300)])
    column = reference({"x": values}, {}, times_ms=np.repeat([0, HOUR_MS], 300)).columns["in.x"]
    edges = np.asarray(column.edges)[np.asarray(column.starts[1:]) - 1]
    counts = [
        np.bincount(np.searchsorted(edges, part), minlength=len(edges) + 1) for part in (values[:300], values[300:])
    ]
    expected = 2 * (float(psi(*counts)) * 150 - 9)
    assert column.usual["psi"][6] == pytest.approx(expected)


def test_objects_are_counted_as_they_are_in_windows() -> None:
    mixed = np.array([1, 2.5, None, "x", 1] * 40, object)
    texts = np.array(["a", b"b", None, 3, "a"] * 40, object)
    times = np.arange(200) // 50 * HOUR_MS
    found = reference({"n": mixed, "t": texts}, {}, times_ms=times, season_ms=2 * HOUR_MS)
    for name in ("in.n", "in.t"):
        column = found.columns[name]
        assert np.sum(column.seasons, axis=0).tolist() == column.psi_counts().tolist()
        assert (column.missing, column.foreign) == (40, 40)
