"""Order without sorting: bit for bit what a sort gives, for every kind of distribution."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from fairlead.monitor.ordered import Grid, Ordered, ks

N = 30_000


def samples() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        "normal": rng.normal(size=N),
        "float32": rng.normal(size=N).astype(np.float32),
        "cauchy": rng.standard_cauchy(N),
        "lognormal": np.exp(5 * rng.normal(size=N)),
        "integers": rng.poisson(3, N).astype(np.float64),
        "constant": np.full(N, 2.5),
        "mostly zero": np.where(rng.random(N) < 0.8, 0.0, rng.normal(size=N)),
        "far from zero": 1e9 + rng.normal(size=N),
        "infinite": np.where(rng.random(N) < 0.1, rng.choice([-np.inf, np.inf], N), rng.normal(size=N)),
        "all infinite": np.full(N, np.inf),
        "huge": rng.uniform(-1, 1, N) * 1.7e308,
        "tiny": rng.normal(size=N) * 1e-310,
    }


@pytest.mark.parametrize("name", samples())
def test_a_grid_keeps_the_order(name: str) -> None:
    values = np.sort(samples()[name])
    cells = Grid(values).cells(values)
    assert (np.diff(cells) >= 0).all()
    assert cells.min() >= 0
    assert cells.max() < Grid(values).size


@pytest.mark.parametrize("name", samples())
def test_ranks_and_counts_are_those_of_a_sort(name: str) -> None:
    values = samples()[name]
    ordered, ranks = Ordered(values), np.array([0, 1, 300, N // 2, N // 2, N - 1])
    assert ordered.large
    assert ordered.order_statistics(ranks).tolist() == np.sort(values)[ranks].tolist()
    edges = np.unique(np.asarray([-1.0, 0.0, 0.5, *np.sort(values)[ranks]], np.float64))
    assert ordered.below(edges).tolist() == [int((values <= edge).sum()) for edge in edges]


@pytest.mark.parametrize("name", samples())
def test_ks_is_scipys(name: str) -> None:
    values = samples()[name]
    rng = np.random.default_rng(4)
    other = rng.choice(values, 25_000)
    with np.errstate(over="ignore"):
        other = np.where(rng.random(25_000) < 0.02, other * 1.1, other)
    assert ks(values, other) == pytest.approx(ks_2samp(values, other, method="asymp").statistic, abs=1e-9)


def test_ks_of_few_and_of_uneven_samples() -> None:
    rng = np.random.default_rng(5)
    few, many = rng.normal(size=40), rng.normal(0.5, size=N)
    for x, y in ((few, many), (many, few), (few, few + 1)):
        assert ks(x, y) == pytest.approx(ks_2samp(x, y, method="asymp").statistic, abs=1e-9)
    assert np.isnan(ks(few, few[:0]))


def test_ks_of_a_sample_and_itself_moved_far() -> None:
    values = np.random.default_rng(6).normal(size=N)
    assert ks(values, values + 100) == 1.0
    assert ks(values, values) == 0.0
