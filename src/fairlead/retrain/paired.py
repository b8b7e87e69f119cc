"""Two models on the same rows: how much better is the first, and how sure is that? Pure.

Every method answers with a ``Lift``, positive when the first model is better, and with bounds that hold one at a time
(``lower``: with confidence ``1 - alpha`` the true lift is above it).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, chi2, norm, rankdata

from fairlead.retrain.scores import Metric

Array = np.ndarray[Any, Any]
Score = Callable[[Array, Array], float]

_REPLICATES = 2000
_GROUPS = 200  # groups of rows that the jackknife of BCa leaves out
_EDGE = 1 - 1e-12


@dataclass(frozen=True, slots=True)
class Lift:
    """``first``, ``second``: the metric of each model, as it is.  ``estimate``: how much better the first is.

    ``lower``, ``upper``: one-sided bounds at ``alpha``.  ``p``: of the hypothesis that the lift is ``null`` or less.
    ``equal_p``: two-sided, of no difference at all (McNemar's exact test, or DeLong's); None where none is defined.
    """

    method: str
    rows: int
    first: float
    second: float
    estimate: float
    lower: float
    upper: float
    p: float
    null: float
    alpha: float
    equal_p: float | None = None


@dataclass(frozen=True, slots=True)
class Curves:
    """DeLong: the areas under two ROC curves and their covariance matrix ``[[var1, cov], [cov, var2]]``."""

    areas: tuple[float, float]
    covariance: tuple[tuple[float, float], tuple[float, float]]

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        (one, both), (_, two) = self.covariance
        return math.sqrt(max(one + two - 2 * both, 0.0))

    @property
    def z(self) -> float:
        """Infinite when the curves differ and their difference has no variance; 0 when they do not differ."""
        gap = self.areas[0] - self.areas[1]
        return gap / self.error if self.error > 0 else math.copysign(math.inf, gap) if gap else 0.0

    @property
    def p(self) -> float:
        """Two-sided."""
        return float(2 * norm.sf(abs(self.z)))


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as much the first takes: the median over ``rounds``, with one-sided bounds at ``alpha``."""

    estimate: float
    lower: float
    upper: float
    rounds: int
    alpha: float


def ratio(first: Array, second: Array, alpha: float) -> Ratio:
    """The ratio of two positive measurements taken in turns; what slows both in a round cancels.

    Bounds are order statistics, exact for rounds that do not depend on each other, whatever their noise (Conover 1999,
    section 3.2).  0 and infinity where there are too few rounds for a bound.
    """
    ratios, rounds = np.sort(first / second), len(first)
    rank = int((binom.cdf(np.arange(rounds), rounds, 0.5) <= alpha).sum())
    lower, upper = (ratios[rank - 1], ratios[-rank]) if rank else (0.0, math.inf)
    return Ratio(float(np.median(ratios)), float(lower), float(upper), rounds, alpha)


def delong(truth: Array, first: Array, second: Array) -> Curves:
    """Correlated ROC curves in O(n log n) by midranks.

    ``truth``: 0 or 1, both present.  Sources: DeLong, DeLong & Clarke-Pearson 1988; Sun & Xu 2014.
    """
    positive = truth == 1
    ones, zeros = int(positive.sum()), int((~positive).sum())
    areas, v10, v01 = [], [], []
    for score in (first, second):
        ranks = rankdata(score)
        inner_ones, inner_zeros = rankdata(score[positive]), rankdata(score[~positive])
        v10.append((ranks[positive] - inner_ones) / zeros)
        v01.append(1 - (ranks[~positive] - inner_zeros) / ones)
        areas.append(float(v10[-1].mean()))
    cov = _covariance(v10) / ones + _covariance(v01) / zeros
    return Curves((areas[0], areas[1]), ((cov[0, 0], cov[0, 1]), (cov[1, 0], cov[1, 1])))


def _covariance(parts: list[Array]) -> Array:
    return np.cov(np.stack(parts)) if len(parts[0]) > 1 else np.zeros((2, 2))


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test. Counts: rows that only the first (second) model gets right."""
    discordant = only_first + only_second
    if not discordant:
        return 1.0
    return float(min(1.0, 2 * binom.cdf(min(only_first, only_second), discordant, 0.5)))


def mcnemar_chi2(only_first: int, only_second: int, corrected: bool = True) -> tuple[float, float]:
    """Statistic and p of McNemar's test; ``corrected``: for continuity (Edwards 1948)."""
    discordant = only_first + only_second
    if not discordant:
        return 0.0, 1.0
    gap = abs(only_first - only_second) - (1 if corrected else 0)
    statistic = max(gap, 0) ** 2 / discordant
    return statistic, float(chi2.sf(statistic, 1))


def tango(only_first: int, only_second: int, rows: int, null: float) -> float:
    """Score statistic z of the hypothesis that the paired difference of two proportions is ``null`` (Tango 1998).

    At 0 its square is McNemar's statistic without correction.
    """
    gap = only_first - only_second - rows * null
    linear = -only_first - only_second + (2 * rows - only_first + only_second) * null
    constant = -only_second * null * (1 - null)
    q = (math.sqrt(max(linear**2 - 8 * rows * constant, 0.0)) - linear) / (4 * rows)
    variance = rows * (2 * q + null * (1 - null))
    if variance <= 0:
        return math.copysign(math.inf, gap) if gap else 0.0
    return gap / math.sqrt(variance)


def proportions(only_first: int, only_second: int, rows: int, alpha: float) -> tuple[float, float]:
    """One-sided lower and upper bound of the paired difference of proportions: Tango's test, inverted."""
    z, estimate = float(norm.isf(alpha)), (only_first - only_second) / rows
    if abs(estimate) < _EDGE:
        low = brentq(lambda null: tango(only_first, only_second, rows, null) - z, -_EDGE, estimate, xtol=1e-10)
        high = brentq(lambda null: tango(only_first, only_second, rows, null) + z, estimate, _EDGE, xtol=1e-10)
        return float(low), float(high)
    apart = z * z / (rows + z * z)  # all rows differ: the score interval at its end
    return (estimate - 2 * apart, 1.0) if estimate > 0 else (-1.0, estimate + 2 * apart)


def bootstrap(
    score: Score,
    truth: Array,
    first: Array,
    second: Array,
    rng: np.random.Generator,
    *,
    block: int = 1,
    replicates: int = _REPLICATES,
) -> tuple[float, Array, float]:
    """Lift, its paired replicates and the acceleration of BCa (Efron 1987).

    ``block``: rows drawn together, for rows that depend on their neighbours in time (circular block bootstrap,
    Politis & Romano 1992). Replicates without a value (one class only) are left out.
    """

    def lift(rows: Array) -> float:
        return score(truth[rows], first[rows]) - score(truth[rows], second[rows])

    count = len(truth)
    blocks, inside = math.ceil(count / block), np.arange(block)
    drawn = np.empty(replicates)
    for index in range(replicates):
        starts = rng.integers(0, count, blocks)
        drawn[index] = lift(((starts[:, None] + inside).reshape(-1)[:count]) % count)
    everything = np.arange(count)
    groups = np.array_split(everything, min(count, _GROUPS))
    left_out = np.array([lift(np.delete(everything, group)) for group in groups]) if count > 1 else np.zeros(1)
    away = np.nanmean(left_out) - left_out[np.isfinite(left_out)]
    spread = float(np.sum(away**2)) ** 1.5
    acceleration = float(np.sum(away**3)) / (6 * spread) if spread > 0 else 0.0
    return lift(everything), drawn[np.isfinite(drawn)], acceleration


def bca(estimate: float, drawn: Array, acceleration: float, null: float, alpha: float) -> tuple[float, float, float]:
    """One-sided lower and upper bound, and p of ``lift <= null``: the level at which the lower bound is ``null``."""
    if not len(drawn):
        return -math.inf, math.inf, 1.0
    if np.ptp(drawn) == 0 and drawn[0] == estimate:
        return estimate, estimate, 0.0 if estimate > null else 1.0
    count = len(drawn)
    share = np.mean(drawn < estimate) + np.mean(drawn == estimate) / 2
    bias = float(norm.ppf(np.clip(share, 1 / (count + 1), count / (count + 1))))

    def place(z: float) -> float:
        return float(norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))))

    low, high = (float(np.quantile(drawn, place(z))) for z in (norm.ppf(alpha), norm.isf(alpha)))
    under = (np.sum(drawn <= null) + 1) / (count + 2)
    tilted = float(norm.ppf(under)) - bias
    p = float(norm.cdf(tilted / (1 + acceleration * tilted) - bias))
    return low, high, p


def compare(
    metric: Metric,
    truth: Array,
    first: Array,
    second: Array,
    *,
    null: float,
    alpha: float,
    rng: np.random.Generator,
    block: int = 1,
) -> Lift:
    """DeLong for ROC AUC, Tango and McNemar for accuracy, BCa bootstrap for every other metric or ``block > 1``.

    ``null``: the lift to be above.  The bootstrap's bounds are as fine as its 2,000 replicates allow.
    """
    values = metric.function(truth, first), metric.function(truth, second)
    if block == 1 and metric.name == "roc_auc":
        curves = delong(truth, first, second)
        gap, error = curves.areas[0] - curves.areas[1], curves.error
        reach = float(norm.isf(alpha)) * error
        p = float(norm.sf((gap - null) / error)) if error > 0 else float(gap <= null)
        bounds = gap - reach, gap + reach
        return Lift("DeLong", len(truth), *values, gap, *bounds, p, null, alpha, curves.p)
    if block == 1 and metric.name == "accuracy":
        right = first == truth, second == truth
        only = int(np.sum(right[0] & ~right[1])), int(np.sum(right[1] & ~right[0]))
        p = float(norm.sf(tango(*only, len(truth), null)))
        bounds = proportions(*only, len(truth), alpha)
        gap = (only[0] - only[1]) / len(truth)
        return Lift("McNemar/Tango", len(truth), *values, gap, *bounds, p, null, alpha, mcnemar_exact(*only))

    def signed(rows: Array, answer: Array) -> float:
        return metric.sign * metric.function(rows, answer)

    gap, drawn, acceleration = bootstrap(signed, truth, first, second, rng, block=block)
    name = "bootstrap (BCa)" if block == 1 else f"block bootstrap (BCa, {block} rows)"
    return Lift(name, len(truth), *values, gap, *bca(gap, drawn, acceleration, null, alpha), null, alpha)
