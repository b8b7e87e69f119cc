"""The four tests of a column, for many columns or windows at once: PSI, KS, rate of missing, rate of new values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fairlead.monitor.binning import CATEGORICAL, ColumnReference, coarse
from fairlead.monitor.distances import jensen_shannon, ks_of_counts, psi
from fairlead.monitor.nulls import KS_MEAN, KS_VARIANCE, halved, t_of_rates

Array = np.ndarray[Any, Any]

TESTS = ("psi", "ks", "missing", "new")


class Sample(NamedTuple):
    """Counts, float64. ``psi``: [..., PSI bins + 2].  ``fine``: [..., fine bins], zeros for a categorical column.

    ``missing``, ``new`` (values the reference does not name, of another type too), ``n`` (rows): [...].
    """

    psi: Array
    fine: Array
    missing: Array
    new: Array
    n: Array

    def without(self, other: Sample) -> Sample:
        return Sample(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))


class Measured(NamedTuple):
    """Sizes, each [...]: ``missing`` and ``new`` are differences of shares. And for the four tests, each [4, ...]:

    ``t``: the statistic, ``h``: how much it grows with a true difference, ``df``: degrees of freedom.
    """

    psi: Array
    js: Array
    ks: Array
    ks_high: Array
    missing: Array
    new: Array
    t: Array
    h: Array
    df: Array

    @property
    def null(self) -> tuple[Array, Array]:
        """Mean and variance of ``t`` when nothing happened."""
        mean, variance = self.df.copy(), 2 * self.df
        mean[1], variance[1] = KS_MEAN, KS_VARIANCE
        return mean, variance


def sample_of(column: ColumnReference, counts: Array, missing: Array, foreign: Array) -> Sample:
    """Fine counts of shape [..., fine] with missing and foreign of shape [...]."""
    categorical = column.kind == CATEGORICAL
    bins = coarse(counts, missing, foreign, column.starts)
    new = foreign + counts[..., -1] if categorical else foreign
    fine = np.zeros_like(counts) if categorical else counts
    parts = (bins, fine, missing, new, bins.sum(axis=-1))
    return Sample(*(np.asarray(part, np.float64) for part in parts))


def stacked(samples: list[Sample]) -> Sample:
    """Samples of single columns as one of shape [columns, ...], filled up with empty bins, which count for nothing."""
    widths = [max((sample[place].shape[-1] for sample in samples), default=0) for place in (0, 1)]
    matrices = [
        np.stack([np.pad(sample[place], (0, width - sample[place].shape[-1])) for sample in samples])
        for place, width in enumerate(widths)
    ]
    return Sample(*matrices, *(np.array([float(sample[place]) for sample in samples]) for place in (2, 3, 4)))


def measured(reference: Sample, current: Sample, whole: Sample | None = None) -> Measured:
    """Compare. ``whole``: against which to take KS, where ``reference`` has PSI bins only; KS is then not tested."""
    against = reference if whole is None else whole
    low, high = ks_of_counts(against.fine, current.fine)
    rows = halved(reference.n, current.n)
    numbers = halved(against.fine.sum(axis=-1), current.fine.sum(axis=-1))
    low, high = np.where(numbers > 0, low, 0.0), np.where(numbers > 0, high, 0.0)
    size = psi(reference.psi, current.psi)
    used = np.maximum(((reference.psi + current.psi) > 0).sum(axis=-1) - 1, 0).astype(np.float64)
    one = np.ones_like(rows)
    rates = [
        t_of_rates(r, reference.n, c, current.n)
        for r, c in ((reference.missing, current.missing), (reference.new, current.new))
    ]
    return Measured(
        size,
        jensen_shannon(reference.psi, current.psi),
        low,
        high,
        _share(current.missing, current.n) - _share(reference.missing, reference.n),
        _share(current.new, current.n) - _share(reference.new, reference.n),
        t=np.stack([size * rows, 4 * numbers * low**2, *rates]),
        h=np.stack([rows, numbers if whole is None else np.zeros_like(numbers), rows, rows]),
        df=np.stack([used, KS_MEAN * one, one, one]),
    )


def _share(count: Array, n: Array) -> Array:
    return np.asarray(count / np.where(n > 0, n, 1.0))
