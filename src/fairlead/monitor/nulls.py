"""How large a distance between a window and the reference is when nothing happened, and the p-values that follow.

With independent rows: ``PSI / (1/n_r + 1/n_c)`` is chi-square with bins - 1 degrees of freedom (Yurdakul and Naranjo,
Statistical properties of the population stability index, 2020); with few rows in a bin its tail is longer, so a gamma
with the mean and variance of a parametric bootstrap is asked too and the larger p counts. KS has Kolmogorov's
distribution; rates of missing and new values are tested as two binomials (hypergeometric tail).

A live stream is never that calm: hours differ, and follow one another. So the true distance of a window is taken as a
random X >= 0, learned from windows in which nothing happened, and the statistic as non-central chi-square given X
(``T | X ~ chi2(df, h X)``, h = 1 / (1/n_r + 1/n_c): the design effect of Rao and Scott 1981, with X in place of its
mean). X is ``mean * F(2a, 2a N)``: a gamma of shape a by moments, at most 1, so that its tail is exponential or longer,
and N the number of *independent* windows seen, from the autocorrelation of X at lag one. A p-value is the larger of the
two: a calm column is judged by the first, a restless one by the second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special, stats

from fairlead.monitor.distances import psi, shares

Array = np.ndarray[Any, Any]

KS_MEAN, KS_VARIANCE = np.pi**2 / 3, 16 * (7 * np.pi**4 / 720 - (np.pi**2 / 12) ** 2)
"""Of ``4 h D**2`` when nothing happened, h = 1 / (1/n_r + 1/n_c): moments of Kolmogorov's distribution."""

SUMS = 12
"""Numbers that a test has learned: see ``learn``."""

_DRAWS = 2000
_TAIL = -np.diff(np.geomspace(1.0, 1e-14, 49), append=0.0)
_LEVELS = np.geomspace(1.0, 1e-14, 49) - _TAIL
_LEVELS[-1] = 1e-15
_SHAPE = 1.0
_LEAST_SHAPE = 0.05


def halved(n_reference: Array, n_current: Array) -> Array:
    """``1 / (1/n_r + 1/n_c)``; 0 where a side is empty."""
    total = n_reference + n_current
    return np.asarray(n_reference * n_current / np.where(total > 0, total, 1.0))


def moments_of_psi(
    expected: Array, n_current: int, rng: np.random.Generator, draws: int = _DRAWS
) -> tuple[float, float, float]:
    """Mean, variance and 95% quantile of PSI between two samples of the shares in ``expected``, by bootstrap.

    The samples are as large as ``expected`` (counts, shape [bins]) and as ``n_current``.
    """
    n = int(expected.sum())
    if not n or not n_current:
        return 0.0, 0.0, 0.0
    share = shares(expected.astype(np.float64))
    sample = psi(rng.multinomial(n, share, draws), rng.multinomial(n_current, share, draws))
    return float(sample.mean()), float(sample.var()), float(np.quantile(sample, 0.95))


def p_of_psi(
    value: Array | float, h: Array | float, df: Array | float, mean: Array | float, variance: Array | float
) -> Array:
    """p of a PSI between independent rows; ``mean`` and ``variance`` from ``moments_of_psi``."""
    t = value * h
    by_theory = np.where(df > 0, special.chdtrc(np.maximum(df, 1), t), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.asarray(variance, np.float64)
        by_draws = special.gammaincc(mean**2 / spread, value * mean / spread)
    return np.asarray(np.maximum(by_theory, np.where(spread > 0, by_draws, 0.0)))


def p_of_ks(value: Array, h: Array) -> Array:
    """p of a KS statistic between independent rows (asymptotic, with Stephens' 1970 correction for few rows)."""
    root = np.sqrt(h)
    return np.asarray(np.where(h > 0, special.kolmogorov((root + 0.12 + 0.11 / np.maximum(root, 1)) * value), 1.0))


def p_of_rates(k_reference: Array, n_reference: Array, k_current: Array, n_current: Array) -> Array:
    """Two-sided p that two shares ``k / n`` are one."""
    total, hits = n_reference + n_current, k_reference + k_current
    more = stats.hypergeom.sf(k_current - 1, total, hits, n_current)
    less = stats.hypergeom.cdf(k_current, total, hits, n_current)
    return np.asarray(
        np.where((hits > 0) & (n_reference > 0) & (n_current > 0), np.minimum(1.0, 2 * np.minimum(more, less)), 1.0)
    )


def t_of_rates(k_reference: Array, n_reference: Array, k_current: Array, n_current: Array) -> Array:
    """Squared z of the difference of two shares, chi-square with one degree when nothing happened."""
    h = halved(n_reference, n_current)
    pooled = (k_reference + k_current) / np.maximum(n_reference + n_current, 1)
    apart = k_current / np.maximum(n_current, 1) - k_reference / np.maximum(n_reference, 1)
    spread = pooled * (1 - pooled)
    return np.asarray(np.where(spread > 0, apart**2 * h / np.where(spread > 0, spread, 1.0), 0.0))


def learn(sums: Array, t: Array, h: Array, mean: Array, variance: Array, clean: Array) -> Array:
    """One more window for every test. ``sums``: shape [tests, SUMS]; the rest: [tests]; not ``clean``: left out.

    ``t``: the statistic, whose mean and variance would be ``mean`` and ``variance`` if nothing ever happened.
    """
    excess = t - mean
    x = excess / np.where(h > 0, h, 1.0)
    last = sums[:, 4]
    again = (sums[:, 0] > 0).astype(np.float64)
    added = np.stack(
        [
            *(np.ones_like(x), x, x * x, again * x * last, x - last, again),
            *(excess, excess**2, excess * h, h, h * h, variance),
        ],
        axis=-1,
    )
    return np.asarray(sums + np.where((clean & (h > 0))[:, None], added, 0.0))


def unrest(sums: Array) -> tuple[Array, Array, Array]:
    """Mean and shape of X, and the number of independent windows it was learned from. Shapes [tests]."""
    count, x, xx, lagged, _, pairs, excess, square, cross, h, hh, variance = np.moveaxis(sums, -1, 0)
    seen = np.maximum(count, 1)
    mean = np.maximum(excess, 0.0) / np.where(h > 0, h, 1.0)
    spread = square - 2 * mean * cross + mean**2 * hh - variance - 4 * mean * h
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = np.where(spread > 0, mean**2 * hh / spread, _SHAPE)
        rho = (lagged / np.maximum(pairs, 1) - (x / seen) ** 2) / (xx / seen - (x / seen) ** 2)
    rho = np.clip(np.nan_to_num(rho), 0.0, 0.999)
    return (
        mean,
        np.clip(np.nan_to_num(shape, nan=_SHAPE), _LEAST_SHAPE, _SHAPE),
        np.maximum(1.0, count * (1 - rho) / (1 + rho)),
    )


def p_of_unrest(t: Array, h: Array, df: Array, sums: Array) -> Array:
    """p of statistics in a stream with the learned unrest. Shapes [tests], ``sums`` [tests, SUMS]."""
    mean, shape, seen = unrest(sums)
    restless = (mean > 0) & (h > 0)
    p = np.zeros(len(t))
    if restless.any():
        a, b = shape[restless, None], (shape * seen)[restless, None]
        with np.errstate(all="ignore"):
            below = special.betaincinv(b, a, _LEVELS)  # F(2a, 2b) from its upper tail, which 1 - level would lose
            x = mean[restless, None] * (b / a) * (1 - below) / below
            shift = h[restless, None] * np.minimum(np.nan_to_num(x, nan=np.inf), 1e100)
            tail = _sf(t[restless, None], df[restless, None], np.minimum(shift, 1e100))
        p[restless] = np.minimum((tail * _TAIL).sum(axis=-1), 1.0)
    return p


def _sf(t: Array, df: Array, shift: Array) -> Array:
    """Upper tail of the non-central chi-square, by Sankaran 1963."""
    k, m = df + shift, df + 2 * shift
    power = 1 - 2 * k * (df + 3 * shift) / (3 * m * m)
    p = m / (k * k)
    q = (power - 1) * (1 - 3 * power)
    middle = 1 + power * p * (power - 1 - 0.5 * (2 - power) * q * p)
    z = ((t / k) ** power - middle) / (power * np.sqrt(2 * p) * (1 + 0.5 * q * p))
    return np.asarray(special.ndtr(-np.nan_to_num(z)))


def adjusted(p: Array) -> Array:
    """p-values after Benjamini and Hochberg 1995: at most ``level`` exactly where ``rejected`` rejects; [tests]."""
    order = np.argsort(p)
    raised = p[order] * len(p) / np.arange(1, len(p) + 1)
    found = np.empty(len(p))
    found[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return found


def rejected(p: Array, level: float) -> Array:
    """Benjamini and Hochberg 1995: which hypotheses go, at false discovery rate ``level``; shape of ``p``, [tests]."""
    order = np.argsort(p)
    under = np.flatnonzero(p[order] <= level * np.arange(1, len(p) + 1) / max(1, len(p)))
    gone = np.zeros(len(p), bool)
    if len(under):
        gone[order[: under[-1] + 1]] = True
    return gone
