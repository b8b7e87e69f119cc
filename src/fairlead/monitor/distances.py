"""Distances between two distributions, on raw values (exact) or on counts in shared bins.

- PSI (Siddiqi, Credit Risk Scorecards, 2006): ``sum (a_i - e_i) ln(a_i / e_i)``, natural logarithm.
- Jensen-Shannon (Lin 1991; Endres and Schindelin 2003): the *distance*, root of the base-2 divergence, 0 to 1.
- Kolmogorov-Smirnov, two samples: ``sup |F - G|``; here from counts, exact in ``monitor.ordered``.

Smoothing: where every bin that is used has counts on both sides PSI is the published formula. Otherwise both sides get
half a count in every used bin and are normalised again, so that the shares still add up to 1 (the estimator of
Krichevsky and Trofimov 1981). A bin that is empty on both sides is not used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def psi(expected: Array, actual: Array) -> Array:
    """PSI of counts. Shapes ``[..., bins]``, broadcast; the result has the leading shape. 0 where a side is empty."""
    e, a = np.broadcast_arrays(np.asarray(expected, np.float64), np.asarray(actual, np.float64))
    used = (e + a) > 0
    hole = (used & ((e == 0) | (a == 0))).any(axis=-1, keepdims=True)
    e, a = shares(e + 0.5 * (hole & used)), shares(a + 0.5 * (hole & used))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (a - e) * (np.log(a) - np.log(e))
    empty = (np.sum(expected, axis=-1) == 0) | (np.sum(actual, axis=-1) == 0)
    return np.asarray(np.where(empty, 0.0, np.where(used, terms, 0.0).sum(axis=-1)))


def jensen_shannon(expected: Array, actual: Array) -> Array:
    """Jensen-Shannon distance of counts, base 2. Shapes as for ``psi``. Coarser bins can only make it smaller."""
    e, a = shares(np.asarray(expected, np.float64)), shares(np.asarray(actual, np.float64))
    middle = (e + a) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(e > 0, e * np.log2(e / middle), 0.0).sum(axis=-1)
        right = np.where(a > 0, a * np.log2(a / middle), 0.0).sum(axis=-1)
    return np.asarray(np.sqrt(np.maximum((left + right) / 2, 0.0)))


def shares(counts: Array) -> Array:
    """Counts over their sum along the last axis; zeros stay zeros."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.asarray(counts / np.where(total > 0, total, 1.0))


def ks_of_counts(expected: Array, actual: Array) -> tuple[Array, Array]:
    """The two bounds between which the KS statistic of the raw values lies, from counts in ordered bins.

    The lower bound is the largest difference at a bin's edge. Within a bin ``F - G`` can exceed the difference at the
    left edge by at most the bin's share of F, and the one at the right edge by at most its share of G (and the
    other way round for ``G - F``).
    """
    e, a = np.broadcast_arrays(shares(np.asarray(expected, np.float64)), shares(np.asarray(actual, np.float64)))
    right = np.cumsum(e - a, axis=-1)
    left = right - (e - a)
    above = np.minimum(left + e, right + a)
    below = np.minimum(a - left, e - right)
    low = np.abs(right[..., :-1]).max(axis=-1, initial=0.0)
    return low, np.maximum(np.maximum(above, below).max(axis=-1, initial=0.0), low)
