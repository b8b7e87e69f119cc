"""From scores to probabilities: the map, how it is fitted, and whether it may be trusted.

Every fit over the same scores costs one pass: rows are sorted by score once, a drawing of them (Efron 1979) is how
often each comes, and other labels change the sums of the bins alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from fairlead.monitor.metrics import Answers

Array = np.ndarray[Any, Any]

LEAST = 100
"""Reference rows, for a map that is worth checking."""
_BINS = 10
_BIN, _MOST_BINS = 60, 50


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A non-decreasing map from score to probability, one for each class of more than two.

    ``score``, ``share``: knots of each map, both growing; between them it is linear, outside it is flat.
    """

    score: tuple[tuple[float, ...], ...]
    share: tuple[tuple[float, ...], ...]

    def __call__(self, score: Array) -> Array:
        """Scores [n] or [n, classes] to probabilities of the same shape; several classes add up to 1."""
        if score.ndim == 1:
            return np.asarray(np.interp(score, self.score[0], self.share[0]))
        columns = [np.interp(score[:, at], self.score[at], self.share[at]) for at in range(score.shape[1])]
        table = np.stack(columns, axis=1)
        total = table.sum(axis=1, keepdims=True)
        return np.asarray(np.divide(table, total, out=np.full_like(table, 1 / table.shape[1]), where=total > 0))


def calibrator(reference: Answers) -> Calibrator:
    """Isotonic regression of labels on scores in bins (Zadrozny and Elkan 2002), each class against the rest."""
    return Fitting(reference).fitted()


class Fitting:
    """Maps of the same reference rows, each as ``calibrator`` gives it, for other labels or a drawing of the rows.

    ``rows``: those only. Rows that score the same are kept in their order.
    """

    def __init__(self, reference: Answers, rows: Array | None = None) -> None:
        self._label, self._binary = reference.label, reference.scores.ndim == 1
        scores = reference.scores[:, None] if self._binary else reference.scores
        rows = np.arange(len(reference)) if rows is None else rows
        self._order = [rows[np.argsort(one[rows], kind="stable")] for one in scores.T]
        self._score = [one[order] for one, order in zip(scores.T, self._order, strict=True)]
        self._weight = [reference.weight[order] for order in self._order]

    def fitted(self, label: Array | None = None, times: Array | None = None) -> Calibrator:
        """``label``: of every reference row, in place of the known ones.  ``times``: how often each row counts."""
        label = self._label if label is None else label
        knots = []
        for at, order in enumerate(self._order):
            truth = label[order] if self._binary else (label[order] == at).astype(np.float64)
            columns = self._score[at], truth, self._weight[at]
            if times is not None:
                again = times[order]
                columns = tuple(np.repeat(one, again) for one in columns)  # type: ignore[assignment]
            knots.append(_isotonic(*columns))
        return Calibrator(tuple(one for one, _ in knots), tuple(one for _, one in knots))


def _isotonic(score: Array, label: Array, weight: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Rows by score, in bins of some ``_BIN``: single rows at the ends would make the map surer than it may be."""
    bins = min(max(len(score) // _BIN, 2), _MOST_BINS)
    first = np.arange(bins) * len(score) // bins
    mass = np.add.reduceat(weight, first)
    at = np.add.reduceat(weight * score, first) / mass
    at, place = np.unique(at, return_inverse=True)
    total = np.bincount(place, weights=mass)
    hits = np.bincount(place, weights=np.add.reduceat(weight * label, first))
    fitted = isotonic_regression(hits / total, weights=total).x
    return tuple(at.tolist()), tuple(np.clip(fitted, 0.0, 1.0).tolist())


@dataclass(frozen=True, slots=True)
class Calibration:
    """Are the calibrated scores to be trusted? ``error``: expected calibration error of the reference, out of fold.

    ``p``: how often perfectly calibrated scores would show such an error on so many rows (consistency resampling:
    Broecker and Smith 2007).  ``trusted``: not beyond chance, or no larger than the tolerance.  ``why``: a sentence.
    """

    error: float
    p: float
    rows: int
    tolerance: float
    trusted: bool
    why: str


def check_calibration(
    reference: Answers, *, seed: int, folds: int = 5, draws: int = 100, level: float = 0.02, tolerance: float = 0.02
) -> Calibration:
    """Fit on all of ``folds`` stretches of time but one and look at that one, and compare with what chance gives.

    Rows must be in order of time: a concept that changed within the reference shows as a stretch that the others do
    not fit. Chance draws labels from the calibrated scores, and fits to them anew.
    """
    n = len(reference)
    if n < LEAST:
        why = f"{n} reference rows; at least {LEAST} are needed"
        return Calibration(float("nan"), float("nan"), n, tolerance, False, why)
    generator = np.random.default_rng(seed)
    probability = calibrator(reference)(reference.scores)
    stretches = [_Stretch(reference, rows) for rows in np.array_split(np.arange(n), folds)]

    def of(label: Array) -> float:
        return float(np.mean([one.error(label) for one in stretches]))

    error = of(reference.label)
    chance = np.array([of(drawn(probability, generator)) for _ in range(draws)])
    p = float((1 + np.sum(chance >= error)) / (draws + 1))
    trusted = p >= level or error <= tolerance
    word = "is" if trusted else "is not"
    why = (
        f"the calibration error is {error:.4f} on {n} reference rows, {float(chance.mean()):.4f} is to be expected by "
        f"chance (p {p:.3g}); the estimate {word} to be trusted"
    )
    return Calibration(error, p, n, tolerance, trusted, why)


class _Stretch:
    """A stretch of time of the reference, and all outside of it, which the map is fitted on."""

    def __init__(self, reference: Answers, rows: Array) -> None:
        score = reference.scores
        self._rows = rows[np.argsort(score[rows], kind="stable")] if score.ndim == 1 else rows
        self._score = score[self._rows]
        self._outside = Fitting(reference, np.delete(np.arange(len(reference)), rows))

    def error(self, label: Array) -> float:
        return calibration_error(self._outside.fitted(label)(self._score), label[self._rows])


def calibration_error(probability: Array, label: Array, bins: int = _BINS) -> float:
    """Mean absolute difference between probability and share over bins of equally many rows (ECE; Naeini 2015).

    [n]: of class 1; [n, classes]: the mean over the classes (Nixon et al. 2019).
    """
    if probability.ndim == 2:
        parts = [
            calibration_error(probability[:, at], (label == at).astype(float), bins)
            for at in range(probability.shape[1])
        ]
        return float(np.mean(parts))
    apart = (probability - label)[np.argsort(probability, kind="stable")]
    bins = min(bins, len(apart))
    return float(np.abs(np.add.reduceat(apart, np.arange(bins) * len(apart) // bins)).sum()) / len(apart)


def drawn(probability: Array, generator: np.random.Generator) -> Array:
    """Class numbers by chance: of two classes from [n], of more from [n, classes]."""
    if probability.ndim == 1:
        return (generator.random(len(probability)) < probability).astype(np.float64)
    bound = np.cumsum(probability, axis=1)[:, :-1]
    return np.asarray((generator.random((len(probability), 1)) >= bound).sum(axis=1), dtype=np.float64)
