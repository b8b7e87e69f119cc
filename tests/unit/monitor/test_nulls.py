"""p-values against simulation and scipy."""

import numpy as np
import pytest
from scipy import stats

from fairlead.monitor.distances import psi
from fairlead.monitor.nulls import (
    KS_MEAN,
    KS_VARIANCE,
    SUMS,
    _sf,
    halved,
    learn,
    moments_of_psi,
    p_of_ks,
    p_of_psi,
    p_of_rates,
    p_of_unrest,
    rejected,
    t_of_rates,
    unrest,
)


@pytest.mark.parametrize(
    ("n_reference", "n_current", "shares"),
    [
        (100_000, 200, [0.1] * 10),
        (1000, 1000, [0.1] * 10),
        (300, 200, [0.1] * 10),
        (100_000, 100, [0.9, 0.05, 0.03, 0.01, 0.01]),
        (5000, 60, [0.5, 0.3, 0.1, 0.05, 0.02, 0.02, 0.01]),
    ],
)
def test_psi_alarms_no_more_often_than_its_p_says(
    rng: np.random.Generator, n_reference: int, n_current: int, shares: list[float]
) -> None:
    draws = 50_000
    e, a = rng.multinomial(n_reference, shares, draws), rng.multinomial(n_current, shares, draws)
    value = psi(e, a)
    mean, variance, band = moments_of_psi(np.asarray(shares) * n_reference, n_current, np.random.default_rng(1))
    df = ((e + a) > 0).sum(axis=1) - 1
    p = p_of_psi(value, float(halved(np.float64(n_reference), np.float64(n_current))), df, mean, variance)
    for level in (0.05, 0.01, 1e-3, 1e-4):
        assert (p <= level).mean() <= level * 1.15 + 4 * np.sqrt(level / draws)
    assert (p <= 0.05).mean() > 0.01  # and is not deaf
    assert (value > band).mean() == pytest.approx(0.05, abs=0.015)


def test_ks_is_kolmogorovs_distribution(rng: np.random.Generator) -> None:
    assert p_of_ks(np.array([0.05]), np.array([1e6]))[0] == pytest.approx(
        stats.kstwobign.sf(0.05 * (1e3 + 0.12 + 0.11 / 1e3))
    )
    for n, m, d in ((60, 5000, 0.2), (400, 400, 0.1)):
        exact = stats.kstwo.sf(d, round(n * m / (n + m)))
        assert p_of_ks(np.array([d]), np.array([n * m / (n + m)]))[0] == pytest.approx(exact, rel=0.15)
    k = stats.kstwobign
    assert pytest.approx(4 * (k.var() + k.mean() ** 2)) == KS_MEAN
    assert pytest.approx(16 * (k.moment(4) - k.moment(2) ** 2), rel=1e-3) == KS_VARIANCE


def test_rates_are_fishers_tails() -> None:
    for table in ((3, 1000, 4, 50), (0, 100_000, 5, 1000), (50, 100, 0, 30)):
        k, n, j, m = map(np.float64, table)
        sides = [stats.fisher_exact([[j, m - j], [k, n - k]], side).pvalue for side in ("greater", "less")]
        assert p_of_rates(k, n, j, m) == pytest.approx(min(1.0, 2 * min(sides)), rel=1e-9)
        chi = stats.chi2_contingency([[j, m - j], [k, n - k]], correction=False).statistic
        assert t_of_rates(k, n, j, m) == pytest.approx(chi)
    assert p_of_rates(*map(np.float64, (0, 10, 0, 10))) == 1.0
    assert t_of_rates(*map(np.float64, (0, 10, 0, 10))) == 0.0


@pytest.mark.parametrize("shift", [0.0, 3.0, 40.0, 1e4])
def test_the_tail_of_the_non_central_chi_square(shift: float) -> None:
    for df in (1.0, 9.0):
        t = stats.ncx2.ppf([0.5, 0.95, 0.999], df, shift) if shift else stats.chi2.ppf([0.5, 0.95, 0.999], df)
        found = _sf(np.asarray(t), np.full(3, df), np.full(3, shift))
        assert found == pytest.approx([0.5, 0.05, 0.001], rel=0.25)


@pytest.mark.parametrize("swing", [0.002, 0.02, 0.2])
def test_a_restless_stream_alarms_no_more_often_than_its_p_says(rng: np.random.Generator, swing: float) -> None:
    """X is chi-square with one degree: the square of a normal shift."""
    h, df, windows = 150.0, 9.0, 15_000
    one = np.ones(1)
    sums = np.zeros((1, SUMS))
    t = stats.ncx2.rvs(df, h * swing * rng.normal(size=windows) ** 2 + 1e-9, random_state=rng)
    for value in t[:1000]:
        sums = learn(sums, one * value, one * h, one * df, one * 2 * df, one > 0)
    mean, shape, seen = unrest(sums)
    assert mean[0] == pytest.approx(swing, rel=0.35)
    assert seen[0] > 500
    p = p_of_unrest(t, np.full(windows, h), np.full(windows, df), np.repeat(sums, windows, axis=0))
    for level in (0.01, 1e-3):
        assert (p <= level).mean() <= level * 1.6 + 3 * np.sqrt(level / windows)
    assert (p <= 0.05).mean() > 0.005
    assert shape[0] <= 1.0


def test_nothing_learned_leaves_p_to_the_other_test() -> None:
    assert p_of_unrest(np.array([50.0]), np.array([100.0]), np.array([9.0]), np.zeros((1, SUMS))).tolist() == [0.0]


def test_few_windows_are_trusted_less() -> None:
    def p(windows: int) -> float:
        rng, one, sums = np.random.default_rng(2), np.ones(1), np.zeros((1, SUMS))
        for _ in range(windows):
            sums = learn(sums, one * (9 + 20 * rng.exponential()), one * 100, one * 9, one * 18, one > 0)
        return float(p_of_unrest(one * 300, one * 100, one * 9, sums)[0])

    assert p(5) > 10 * p(2000)


def test_benjamini_hochberg_is_scipys(rng: np.random.Generator) -> None:
    for _ in range(50):
        p = rng.random(20) ** 4
        assert rejected(p, 0.05).tolist() == (stats.false_discovery_control(p) <= 0.05).tolist()
    assert rejected(np.array([]), 0.05).tolist() == []
