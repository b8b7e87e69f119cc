"""Always-valid tests: evidence that may be looked at after every window, as often as one likes, and acted on at once.

Each ``log_evidence_*`` is the logarithm of an e-process against a composite null hypothesis: whatever the look at
which one stops, the chance that it ever reaches ``log(1 / alpha)`` under the null is at most ``alpha`` (Ville). They
are mixtures (Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic
confidence sequences"), minimised over all parameters that the null allows, so nuisance parameters need no estimate.

They take cumulative counts only, so a window that comes late or twice-written is no matter. What they assume: the
calls of an arm are independent draws of one rate (or one distribution) within a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import betainc, betaincc, betaln, gammaln, xlogy

Array = np.ndarray[Any, Any]

_RATE_PRIORS = ((0.5, 50.0), (0.5, 0.5))
"""Half the mixture is near 1 %, where error rates are; half (Jeffreys) is everywhere."""
_PRIOR_CALLS = 100.0
"""Weight of the prior around a known limit, in calls."""
_RATIO_PRIOR_CALLS = 200.0
_BEST_AT = 1000.0
"""Number of calls at which the confidence sequence of a mean is tightest."""
_STEPS = 60
_TINY = 1e-280


def log_evidence_rates(
    control: tuple[int, int], candidate: tuple[int, int], margin: float, *, worse: bool, paired: bool = False
) -> float:
    """Is the candidate's rate above the control's by more than ``margin`` (``worse``), or is it not?

    ``control``, ``candidate``: hits and calls.  Null: ``rate <= control + margin`` when ``worse``, else ``>=``.
    Beta-binomial mixtures of both arms over the largest likelihood under the null.  ``paired``: both arms saw the
    same calls and depend on each other; their evidence is then averaged, not multiplied.
    """
    (hits, calls), (found, seen) = control, candidate
    over = _share(found, seen) - _share(hits, calls) > margin
    mixture = _log_mixture(hits, calls), _log_mixture(found, seen)

    def evidence(rate: float, other: float) -> float:
        one = mixture[0] - _log_likelihood(hits, calls, rate)
        two = mixture[1] - _log_likelihood(found, seen, other)
        return float(np.logaddexp(one, two) - math.log(2.0)) if paired else one + two

    if over != worse:
        return evidence(_share(hits, calls), _share(found, seen))

    def on_border(rate: float) -> float:
        return evidence(rate, min(rate + margin, 1.0))

    return _smallest(on_border, max(0.0, -margin), min(1.0, 1.0 - margin))


def log_evidence_rate(hits: Array | int, calls: int, limit: float, *, above: bool) -> Array:
    """Is a rate above (or below) a known ``limit``? ``hits``: one number or an array of them.

    One-sided beta-binomial mixture: a Beta prior with mean ``limit``, cut off at ``limit`` (Howard & Ramdas 2022,
    "Sequential estimation of quantiles with applications to A/B testing and best-arm identification").
    """
    a, b = _PRIOR_CALLS * limit, _PRIOR_CALLS * (1.0 - limit)
    k = np.asarray(hits, float)
    mixed = _log_integral(k + a, calls - k + b, limit, above) - _log_integral(
        np.asarray(a), np.asarray(b), limit, above
    )
    return np.asarray(mixed - xlogy(k, limit) - xlogy(calls - k, 1.0 - limit))


def log_evidence_quantile(
    control: Array, candidate: Array, edges: Array, level: float, ratio: float, *, worse: bool, paired: bool = False
) -> float:
    """Is the candidate's ``level`` quantile above ``ratio`` times the control's (``worse``), or is it not?

    ``control``, ``candidate``: counts ``[bins]`` over ``edges`` ``[bins + 1]``; the outer bins are open. Ratios are
    rounded up to the grid: a FAIL is a quantile above the ratio; a pass may be above by the width of two bins.

    For each bin in which the control's quantile might lie, calls over that bin and over ``ratio`` times it are
    counted; the counts are binomial with the known rate ``1 - level`` at the quantile (Howard & Ramdas 2022).
    """
    limit = 1.0 - level
    over_control = np.append(np.cumsum(np.asarray(control)[::-1])[::-1], 0)  # calls at or above each edge
    over_candidate = np.append(np.cumsum(np.asarray(candidate)[::-1])[::-1], 0)
    bins = len(edges) - 1
    reached = np.searchsorted(edges, np.asarray(edges)[1:] * ratio * (1.0 - 1e-9))  # first edge at or over the ratio
    n, m = int(over_control[0]), int(over_candidate[0])
    if worse:
        far = over_candidate[np.minimum(reached, bins)]
        own = over_control[:-1]
    else:
        far = over_candidate[np.minimum(reached, bins - 1)]  # the last bin is open: its calls may lie anywhere above
        own = over_control[1:]
    new = np.r_[True, (np.diff(own) != 0) | (np.diff(far) != 0)]  # bins with the same counts have the same evidence
    one = log_evidence_rate(own[new], n, limit, above=not worse)
    two = log_evidence_rate(far[new], m, limit, above=worse)
    both = np.logaddexp(one, two) - math.log(2.0) if paired else one + two
    return float(np.min(both))


def log_evidence_ratio(calls: Array, weights: Array) -> float:
    """Do the calls of the arms follow the asked shares? Null: each call takes an arm with the asked ``weights``.

    Dirichlet-multinomial mixture around the weights (Lindon & Malek 2022, "Anytime-valid inference for multinomial
    count data"): sample-ratio mismatch.
    """
    asked = np.asarray(weights, float) / np.sum(weights)
    counts = np.asarray(calls, float)
    prior = _RATIO_PRIOR_CALLS * asked
    mixed = gammaln(prior.sum()) - gammaln(prior.sum() + counts.sum()) + np.sum(gammaln(prior + counts))
    return float(mixed - np.sum(gammaln(prior)) - np.sum(xlogy(counts, asked)))


def distribution_distance(one: Array, other: Array) -> float:
    """Largest difference of two empirical distribution functions (Kolmogorov-Smirnov), from counts on one grid."""
    a, b = np.asarray(one, float), np.asarray(other, float)
    return float(np.max(np.abs(np.cumsum(a) / a.sum() - np.cumsum(b) / b.sum())))


def distribution_radius(calls: int, alpha: float) -> float:
    """How far an empirical distribution function ever is from the true one, over all values and all looks.

    The law-of-the-iterated-logarithm bound of Howard & Ramdas 2022, corollary 2.
    """
    return 0.85 * math.sqrt((math.log(math.log(math.e * calls)) + 0.8 * math.log(1612.0 / alpha)) / calls)


def mean_radius(count: int, variance: float, alpha: float) -> float:
    """One-sided radius around a mean of ``count`` values with ``variance``, over all looks; valid for large counts.

    Asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, "Time-uniform central limit
    theory and asymptotic confidence sequences"), tightest at 1,000 values.
    """
    level = -2.0 * math.log(2.0 * alpha)
    rho = (level + math.log(level + 1.0)) / _BEST_AT
    scaled = count * rho + 1.0
    return math.sqrt(variance * 2.0 * scaled / (count**2 * rho) * math.log1p(math.sqrt(scaled) / (2.0 * alpha)))


def _share(hits: int, calls: int) -> float:
    return hits / calls if calls else 0.0


def _log_mixture(hits: int, calls: int) -> float:
    parts = [betaln(hits + a, calls - hits + b) - betaln(a, b) for a, b in _RATE_PRIORS]
    return float(np.logaddexp(*parts)) - math.log(len(parts))


def _log_likelihood(hits: int, calls: int, rate: float) -> float:
    found = hits * math.log(rate) if hits and rate > 0.0 else (-math.inf if hits else 0.0)
    missed = calls - hits
    return found + (missed * math.log1p(-rate) if missed and rate < 1.0 else (-math.inf if missed else 0.0))


def _log_integral(a: Array, b: Array, limit: float, above: bool) -> Array:
    """Logarithm of the integral of ``x^(a-1) (1-x)^(b-1)`` over the values above or below ``limit``.

    Where the tail is too small for a float, its first-order asymptote (Mills' ratio) stands in.
    """
    share = (betaincc if above else betainc)(a, b, limit)
    slope = (a - 1.0) / limit - (b - 1.0) / (1.0 - limit)
    bend = np.abs(a - 1.0) / limit**2 + np.abs(b - 1.0) / (1.0 - limit) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):  # each formula is taken where it holds
        far = (a - 1.0) * math.log(limit) + (b - 1.0) * math.log1p(-limit)
        far = far - np.log(np.abs(slope)) - np.log1p(bend / slope**2)
        return np.asarray(np.where(share > _TINY, betaln(a, b) + np.log(share), far))


def _smallest(of: Callable[[float], float], low: float, high: float) -> float:
    """Minimum of a convex function by golden section."""
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = of(left), of(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = of(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = of(right)
    return float(min(at_left, at_right, of(low), of(high)))
