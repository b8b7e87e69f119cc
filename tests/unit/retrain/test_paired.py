"""Paired comparisons against published examples, scipy, statsmodels, brute force and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm
from scipy.stats import bootstrap as scipy_bootstrap
from statsmodels.stats.contingency_tables import mcnemar

from fairlead.retrain import scores
from fairlead.retrain.paired import (
    bca,
    bootstrap,
    compare,
    delong,
    mcnemar_chi2,
    mcnemar_exact,
    proportions,
    ratio,
    tango,
)

# Ovarian cancer patients of DeLong et al. 1988, as the SAS/STAT manual prints them ("Comparing Receiver Operating
# Characteristic Curves"): albumin, total protein, K-G score, outcome.
PATIENTS = """3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1
3.8 5.7 5 1 3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0
2.3 4.4 6 1 4.2 7.6 4 0 4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1
3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1 4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0
3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1 2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1
3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1"""


def brute_delong(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The definition: every pair of a positive and a negative, O(ones x zeros)."""
    v10, v01 = [], []
    for score in (first, second):
        a, b = score[truth == 1][:, None], score[truth == 0][None, :]
        wins = (a > b) + 0.5 * (a == b)
        v10.append(wins.mean(axis=1))
        v01.append(wins.mean(axis=0))
    areas = np.array([v.mean() for v in v10])
    return areas, np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])


def sample(rows: int, seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = (rng.random(rows) < 0.3).astype(int)
    shared = rng.normal(size=rows)
    first, second = truth + shared + rng.normal(size=rows), truth + shared + 1.5 * rng.normal(size=rows)
    return (truth, first.round(), second.round()) if ties else (truth, first, second)


class TestDeLong:
    def test_published_patients(self) -> None:
        table = np.array(PATIENTS.split(), float).reshape(-1, 4)
        albumin, protein, score, truth = table[:, 0], table[:, 1], 10 - table[:, 2], table[:, 3]
        for test in (albumin, protein):
            areas, covariance = brute_delong(truth, test, score)
            found, gap = delong(truth, test, score), areas[0] - areas[1]
            error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
            assert found.areas == pytest.approx(tuple(areas), abs=1e-12)
            assert (found.error, found.z) == pytest.approx((error, gap / error), abs=1e-9)
            assert found.p == pytest.approx(2 * norm.sf(abs(gap / error)), abs=1e-9)

    @pytest.mark.parametrize("ties", [False, True])
    @pytest.mark.parametrize("seed", range(4))
    def test_equals_the_definition(self, seed: int, ties: bool) -> None:
        truth, first, second = sample(60 + 70 * seed, seed, ties)
        areas, covariance = brute_delong(truth, first, second)
        found = delong(truth, first, second)
        np.testing.assert_allclose(found.areas, areas, atol=1e-12)
        np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)

    def test_one_positive_row(self) -> None:
        truth = np.array([0, 0, 0, 1])
        found = delong(truth, np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 4, 3]))
        assert found.areas == (1.0, 2 / 3)
        assert found.error > 0

    def test_without_variance(self) -> None:
        truth, score = np.array([0, 0, 1, 1]), np.array([1.0, 2, 3, 4])
        assert (delong(truth, score, score).z, delong(truth, score, score).p) == (0.0, 1.0)
        assert delong(truth, score, -score).z == math.inf
        assert delong(truth, score, -score).p == 0.0


class TestMcNemar:
    @pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (3, 9), (12, 5), (40, 22), (0, 17)])
    def test_equals_statsmodels(self, b: int, c: int) -> None:
        table = [[30, b], [c, 20]]
        assert mcnemar_exact(b, c) == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-9)
        if b + c:
            for corrected in (True, False):
                expected = mcnemar(table, exact=False, correction=corrected)
                statistic, p = mcnemar_chi2(b, c, corrected)
                assert statistic == pytest.approx(expected.statistic, abs=1e-9)
                assert p == pytest.approx(expected.pvalue, abs=1e-9)

    def test_published_example(self) -> None:
        """Approval ratings of a prime minister in two surveys (Agresti, Categorical Data Analysis): 17.36."""
        assert mcnemar_chi2(86, 150, corrected=False)[0] == pytest.approx(17.36, abs=5e-3)

    def test_nothing_differs(self) -> None:
        assert mcnemar_chi2(0, 0) == (0.0, 1.0)
        assert mcnemar_chi2(3, 3)[0] == 0.0


class TestTango:
    @pytest.mark.parametrize(("b", "c", "n"), [(9, 3, 80), (0, 5, 50), (12, 12, 60), (1, 0, 20)])
    @pytest.mark.parametrize("null", [-0.2, -0.05, 0.03, 0.15])
    def test_is_the_score_test(self, b: int, c: int, n: int, null: float) -> None:
        """The nuisance parameter is where the likelihood under the null is greatest, found by search."""

        def unlikely(q: float) -> float:
            p = q + null
            parts = [(b, p), (c, q), (n - b - c, 1 - p - q)]
            return -sum(count * math.log(max(share, 1e-300)) for count, share in parts if count)

        low, high = max(0.0, -null), (1 - null) / 2
        q = minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        variance = n * (2 * q + null * (1 - null))
        assert tango(b, c, n, null) == pytest.approx((b - c - n * null) / math.sqrt(variance), abs=2e-4)

    @pytest.mark.parametrize(("b", "c", "n"), [(9, 3, 80), (30, 41, 300), (0, 1, 5)])
    def test_is_mcnemar_at_zero(self, b: int, c: int, n: int) -> None:
        assert tango(b, c, n, 0.0) ** 2 == pytest.approx(mcnemar_chi2(b, c, corrected=False)[0], abs=1e-9)

    @pytest.mark.parametrize(("b", "c", "n"), [(9, 3, 80), (0, 0, 40), (0, 5, 50), (50, 0, 50), (0, 50, 50)])
    def test_bounds_invert_it(self, b: int, c: int, n: int) -> None:
        low, high = proportions(b, c, n, 0.05)
        z = norm.isf(0.05)
        assert -1 <= low <= (b - c) / n <= high <= 1
        if low > -1:
            assert tango(b, c, n, low) == pytest.approx(z, abs=1e-4)
        if high < 1:
            assert tango(b, c, n, high) == pytest.approx(-z, abs=1e-4)

    def test_no_variance_is_no_evidence_or_all(self) -> None:
        assert tango(0, 0, 40, 0.0) == 0.0
        assert tango(40, 0, 40, 1.0) == 0.0
        assert tango(0, 40, 40, 1.0) == -math.inf


class TestBootstrap:
    def test_bca_is_scipys(self) -> None:
        rng = np.random.default_rng(4)
        truth, value = rng.gamma(2, size=150), rng.gamma(2, size=150)
        other = truth + rng.normal(size=150)
        lift, drawn, acceleration = bootstrap(lambda t, v: -scores.mae(t, v), truth, value, other, rng, replicates=9999)
        low, high, _ = bca(lift, drawn, acceleration, 0.0, 0.05)

        def both(t: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
            return scores.mae(t, b) - scores.mae(t, a)

        expected = scipy_bootstrap(
            (truth, value, other),
            both,
            paired=True,
            vectorized=False,
            n_resamples=9999,
            confidence_level=0.9,
            method="BCa",
            rng=np.random.default_rng(5),
        ).confidence_interval
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.02 * abs(lift))

    def test_p_is_the_level_of_the_bound(self) -> None:
        truth, first, second = sample(200, 1)
        rng = np.random.default_rng(0)
        lift, drawn, acceleration = bootstrap(scores.roc_auc, truth, first, second, rng)
        low, _, _ = bca(lift, drawn, acceleration, 0.0, 0.05)
        _, _, p = bca(lift, drawn, acceleration, low, 0.05)
        assert p == pytest.approx(0.05, abs=0.003)

    def test_replicates_without_a_value_are_left_out(self) -> None:
        truth, score = np.array([1] + [0] * 5), np.arange(6.0)
        _, drawn, _ = bootstrap(scores.roc_auc, truth, score, -score, np.random.default_rng(0), replicates=300)
        assert 0 < len(drawn) < 300
        assert bca(0.0, np.zeros(0), 0.0, 0.0, 0.05) == (-math.inf, math.inf, 1.0)

    def test_equal_models_have_no_lift(self) -> None:
        truth, first, _ = sample(100, 2)
        found = compare(
            scores.METRICS["log_loss"],
            truth,
            1 / (1 + np.exp(-first)),
            1 / (1 + np.exp(-first)),
            null=0.0,
            alpha=0.05,
            rng=np.random.default_rng(0),
        )
        assert (found.estimate, found.lower, found.upper, found.p) == (0.0, 0.0, 0.0, 1.0)

    def test_one_row(self) -> None:
        one = np.array([1.0])
        _, drawn, acceleration = bootstrap(scores.mae, one, one, one * 2, np.random.default_rng(0), replicates=10)
        assert set(drawn) == {-1.0}
        assert acceleration == 0.0

    def test_blocks_see_dependence(self) -> None:
        """Rows that repeat their neighbours tell less: blocks of them give wider bounds."""
        rng = np.random.default_rng(3)
        truth = np.repeat(rng.normal(size=60), 10)
        first, second = truth + np.repeat(rng.normal(size=60), 10), truth + np.repeat(1.2 * rng.normal(size=60), 10)
        metric = scores.METRICS["mae"]

        def width(block: int) -> float:
            found = compare(
                metric, truth, first, second, null=0.0, alpha=0.05, rng=np.random.default_rng(0), block=block
            )
            return found.upper - found.lower

        assert width(20) > 2 * width(1)


@pytest.mark.parametrize("name", ["roc_auc", "accuracy", "brier"])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_lower_bounds_hold_as_often_as_they_say(name: str, alpha: float) -> None:
    """Simulated equal models: the bound lies above the true lift, 0, with probability alpha."""
    rng = np.random.default_rng(11)
    metric, above = scores.METRICS[name], 0
    trials = 150 if name == "brier" else 400
    for _ in range(trials):
        truth = (rng.random(150) < 0.4).astype(int)
        shared = truth + rng.normal(size=150)
        answers = [1 / (1 + np.exp(-(shared + rng.normal(size=150) - 0.5))) for _ in range(2)]
        if metric.uses == "label":
            answers = [(one > 0.5).astype(int) for one in answers]
        if name == "brier":
            lift, drawn, a = bootstrap(lambda t, s: -scores.brier(t, s), truth, *answers, rng, replicates=200)
            above += bca(lift, drawn, a, 0.0, alpha)[0] > 0
        else:
            above += compare(metric, truth, *answers, null=0.0, alpha=alpha, rng=rng).lower > 0
    spread = 3 * math.sqrt(alpha * (1 - alpha) / trials)
    assert above / trials == pytest.approx(alpha, abs=spread)


def test_a_loss_counts_the_other_way() -> None:
    truth, first, second = sample(300, 5)
    rng = np.random.default_rng(0)
    found = compare(scores.METRICS["rmse"], truth, first, second, null=0.0, alpha=0.05, rng=rng)
    assert found.first < found.second
    assert found.estimate == pytest.approx(found.second - found.first)
    assert found.method == "bootstrap (BCa)"
    blocks = compare(scores.METRICS["roc_auc"], truth, first, second, null=0.0, alpha=0.05, rng=rng, block=7)
    assert blocks.method == "block bootstrap (BCa, 7 rows)"


def test_delong_without_variance_decides_by_the_estimate() -> None:
    truth, score = np.array([0, 0, 1, 1]), np.array([1.0, 2, 3, 4])
    rng = np.random.default_rng(0)
    same = compare(scores.METRICS["roc_auc"], truth, score, score, null=0.0, alpha=0.05, rng=rng)
    assert (same.p, same.lower) == (1.0, 0.0)
    better = compare(scores.METRICS["roc_auc"], truth, score, -score, null=0.5, alpha=0.05, rng=rng)
    assert (better.p, better.lower) == (0.0, 1.0)


@pytest.mark.parametrize(("rounds", "alpha"), [(11, 0.05), (101, 0.05), (30, 0.01), (4, 0.05)])
def test_the_bounds_of_a_median_ratio_are_those_of_the_sign_test(rounds: int, alpha: float) -> None:
    """Oracle: scipy's binomial test. A bound is where the test of "the median ratio is this" stops to reject."""
    rng = np.random.default_rng(rounds)
    first, second = rng.lognormal(0.2, 0.5, rounds), rng.lognormal(0, 0.5, rounds)
    found, ratios = ratio(first, second, alpha), first / second
    assert found.estimate == np.median(ratios)

    def kept(counts: list[int]) -> list[float]:
        pairs = zip(sorted(ratios), counts, strict=True)
        return [r for r, count in pairs if binomtest(count, rounds, alternative="greater").pvalue <= alpha]

    above = kept([int((ratios >= r).sum()) for r in sorted(ratios)])
    below = kept([int((ratios <= r).sum()) for r in sorted(ratios)])
    assert found.lower == (above[-1] if above else 0.0)
    assert found.upper == (below[0] if below else np.inf)
