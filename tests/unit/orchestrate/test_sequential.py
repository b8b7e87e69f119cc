"""Evidence against closed formulas, brute force over the null, and Ville's inequality by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import betaln

from fairlead.orchestrate import sequential
from fairlead.orchestrate.sequential import (
    distribution_distance,
    distribution_radius,
    log_evidence_quantile,
    log_evidence_rate,
    log_evidence_rates,
    log_evidence_ratio,
    mean_radius,
)

EDGES = np.geomspace(1e-3, 1.0, 41)


def mixture(hits: int, calls: int) -> float:
    parts = [betaln(hits + a, calls - hits + b) - betaln(a, b) for a, b in ((0.5, 50.0), (0.5, 0.5))]
    return float(np.logaddexp(*parts)) - math.log(2)


def likelihood(hits: int, calls: int, rate: np.ndarray) -> np.ndarray:
    return stats.binom.logpmf(hits, calls, rate) - (
        math.lgamma(calls + 1) - math.lgamma(hits + 1) - math.lgamma(calls - hits + 1)
    )


@pytest.mark.parametrize("worse", [True, False])
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(
    ("control", "candidate"),
    [((3, 400), (20, 300)), ((0, 500), (0, 700)), ((10, 1000), (10, 1000)), ((0, 50), (50, 50)), ((400, 400), (1, 90))],
)
def test_rates_are_the_smallest_evidence_over_the_null(
    control: tuple[int, int], candidate: tuple[int, int], worse: bool, paired: bool
) -> None:
    margin = 0.02
    grid = np.concatenate(([0.0], np.geomspace(1e-5, 0.02, 200), np.linspace(0.0201, 1.0, 400)))
    p, q = np.meshgrid(grid, np.concatenate((grid, np.minimum(grid + margin, 1.0))))
    one, two = mixture(*control) - likelihood(*control, p), mixture(*candidate) - likelihood(*candidate, q)
    both = np.logaddexp(one, two) - math.log(2) if paired else one + two
    brute = np.min(both[q <= p + margin + 1e-12] if worse else both[q >= p + margin - 1e-12])
    found = log_evidence_rates(control, candidate, margin, worse=worse, paired=paired)
    assert found == pytest.approx(brute, abs=0.1)
    assert found <= brute + 1e-9, "a grid cannot find less than the minimum"


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize(("hits", "calls", "limit"), [(0, 10, 0.01), (7, 300, 0.01), (60, 100, 0.5), (2, 900, 0.05)])
def test_one_rate_is_the_integral_over_the_cut_prior(hits: int, calls: int, limit: float, above: bool) -> None:
    a, b = 100 * limit, 100 * (1 - limit)
    ends = (limit, 1.0) if above else (0.0, limit)
    prior = stats.beta(a, b)

    def ratio(rate: float) -> float:
        return float(np.exp(hits * np.log(rate / limit) + (calls - hits) * np.log((1 - rate) / (1 - limit)))) * float(
            prior.pdf(rate)
        )

    peak = min(max((hits + a - 1) / (calls + 98), ends[0]), ends[1])
    area = integrate.quad(ratio, *ends, points=[peak], epsabs=0, epsrel=1e-10, limit=200)[0]
    mass = prior.sf(limit) if above else prior.cdf(limit)
    assert float(log_evidence_rate(hits, calls, limit, above=above)) == pytest.approx(math.log(area / mass), abs=1e-6)


def test_one_rate_stays_finite_where_the_tail_underflows() -> None:
    """The asymptote continues the exact value: no jump where it takes over, and no infinity after a million calls."""
    calls = np.arange(50_000, 90_000, 500)
    found = np.array([float(log_evidence_rate(0, int(n), 0.01, above=True)) for n in calls])
    assert np.all(np.isfinite(found))
    assert np.max(np.abs(np.diff(found, 2))) < 1e-3
    assert math.isfinite(float(log_evidence_rate(0, 10_000_000, 0.01, above=True)))
    assert math.isfinite(float(log_evidence_rate(10**7, 10**7, 0.01, above=False)))


def test_quantile_is_the_smallest_evidence_over_the_bins() -> None:
    rng = np.random.default_rng(3)
    control, candidate = rng.multinomial(900, np.full(40, 1 / 40)), rng.multinomial(700, np.linspace(1, 3, 40) / 80)
    ratio, bins = 1.3, 40
    for worse in (True, False):
        brute = []
        for j in range(bins):
            reach = next((i for i, edge in enumerate(EDGES) if edge >= EDGES[j + 1] * ratio * (1 - 1e-9)), None)
            if worse:
                own, far = control[j:].sum(), 0 if reach is None else candidate[reach:].sum()
            else:
                own, far = control[j + 1 :].sum(), candidate[min(reach or bins - 1, bins - 1) :].sum()
            one = log_evidence_rate(own, 900, 0.1, above=not worse)
            brute.append(float(one + log_evidence_rate(far, 700, 0.1, above=worse)))
        found = log_evidence_quantile(control, candidate, EDGES, 0.9, ratio, worse=worse)
        assert found == pytest.approx(min(brute), abs=1e-9)


def test_quantile_says_what_is_so() -> None:
    same, slow = np.zeros(40, int), np.zeros(40, int)
    same[10:14], slow[16:20] = 500, 500
    assert log_evidence_quantile(same, slow, EDGES, 0.99, 1.25, worse=True) > 10
    assert log_evidence_quantile(same, same, EDGES, 0.99, 1.25, worse=False) > 4
    assert log_evidence_quantile(same, slow, EDGES, 0.99, 1.25, worse=False) < 0
    assert log_evidence_quantile(same, same, EDGES, 0.99, 1.25, worse=True) < 0
    assert log_evidence_quantile(same, slow, EDGES, 0.99, 1.25, worse=True, paired=True) > 5


def test_quantile_in_the_open_last_bin_never_passes() -> None:
    beyond = np.zeros(40, int)
    beyond[-1] = 5000
    assert log_evidence_quantile(beyond, beyond, EDGES, 0.5, 1.25, worse=False) < 0


def test_ratio_is_the_dirichlet_multinomial_over_the_asked_shares() -> None:
    calls, weights = np.array([950, 90]), np.array([95.0, 5.0])
    prior = 200 * weights / 100
    exact = stats.dirichlet_multinomial(prior, 1040).logpmf(calls) - stats.multinomial(1040, weights / 100).logpmf(
        calls
    )
    assert log_evidence_ratio(calls, weights) == pytest.approx(exact, abs=1e-8)
    assert log_evidence_ratio(np.array([95_000, 5_000]), weights) < 0


def test_distance_is_kolmogorov_smirnov() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 20, 300), rng.integers(3, 20, 200)
    counts = [np.bincount(values, minlength=20) for values in (a, b)]
    assert distribution_distance(*counts) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)


def test_radius_as_printed() -> None:
    """Corollary 2 of Howard & Ramdas: 0.85 sqrt((log log(e t) + 0.8 log(1612 / alpha)) / t)."""
    assert distribution_radius(1000, 0.05) == pytest.approx(0.08657, abs=1e-5)
    exact = 0.08204769  # confseq's own figure for 1,000 values counted from the 100th, alpha 0.05, factor 0.85
    constant = 1000 * (exact / 0.85) ** 2 - math.log(math.log(10 * math.e))
    assert constant < 0.8 * math.log(1612 / 0.05) < constant + 0.2, "the corollary rounds the theorem's constant up"
    rho = (-2 * math.log(0.1) + math.log(1 - 2 * math.log(0.1))) / 1000
    inner = 2 * (500 * rho + 1) / (500**2 * rho) * math.log(1 + math.sqrt(500 * rho + 1) / 0.1)
    assert mean_radius(500, 4.0, 0.05) == pytest.approx(2 * math.sqrt(inner), rel=1e-12)
    wider = [mean_radius(1000, 1.0, alpha) for alpha in (0.4, 0.05, 0.001)]
    assert wider == sorted(wider), "less alpha, wider"


@pytest.mark.parametrize("kind", ["rates", "rate", "quantile", "ratio", "distribution", "mean"])
def test_evidence_under_the_null_rarely_reaches_its_limit(kind: str) -> None:
    """Ville: at most alpha over 30 looks. On the border of the null, where false alarms are most likely."""
    rng = np.random.default_rng(11)
    alpha, runs, crossed = 0.1, 100, 0
    shape = np.diff(stats.norm.cdf(np.log(EDGES / 0.03) / 0.5))
    shape /= shape.sum()
    for _ in range(runs):
        hit = np.zeros(2, int)
        calls = 0
        counts, others = np.zeros(40, int), np.zeros(40, int)
        values: list[np.ndarray] = []
        for _ in range(30):
            calls += 100
            hit += rng.binomial(100, [0.03, 0.05])
            counts, others = counts + rng.multinomial(100, shape), others + rng.multinomial(100, shape)
            values.append(rng.exponential(size=100))
            if kind == "rates":
                found = log_evidence_rates((hit[0], calls), (hit[1], calls), 0.02, worse=True) >= -math.log(alpha)
            elif kind == "rate":
                found = float(log_evidence_rate(hit[1], calls, 0.05, above=True)) >= -math.log(alpha)
            elif kind == "quantile":
                found = log_evidence_quantile(counts, others, EDGES, 0.9, 1.0001, worse=True) >= -math.log(alpha)
            elif kind == "ratio":
                found = log_evidence_ratio(np.array([calls - hit[1], hit[1]]), np.array([95, 5])) >= -math.log(alpha)
            elif kind == "distribution":
                found = distribution_distance(counts, shape) > distribution_radius(calls, alpha)
            else:
                all_of = np.concatenate(values)
                found = all_of.mean() - mean_radius(calls, float(all_of.var()), alpha) > 1.0 and calls >= 100
            if found:
                crossed += 1
                break
    assert crossed / runs <= alpha + 0.05, f"{kind}: {crossed} of {runs}"


def test_smallest_of_a_convex_function() -> None:
    assert sequential._smallest(lambda x: (x - 0.3) ** 2, 0.0, 1.0) == pytest.approx(0.0, abs=1e-12)
    assert sequential._smallest(lambda x: x, 0.0, 1.0) == 0.0
