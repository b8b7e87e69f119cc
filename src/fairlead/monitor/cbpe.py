"""Performance before labels: what calibrated probabilities expect of themselves (confidence-based estimation).

When P(y given x) has not changed and the scores are calibrated, a row that scores 0.8 is right 8 times in 10, whatever
rows come. So accuracy, the area under the curve and the others can be expected from the scores alone (Guillory et al.
2021; Garg et al. 2022; the name CBPE is NannyML's). It cannot see a changed concept: that needs labels, and the
realised value beside it. Whether the scores are calibrated is checked on reference rows, out of fold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from fairlead.contracts.errors import UsageError
from fairlead.monitor.metrics import CLASSIFICATION, Answers, Measure, measure

Array = np.ndarray[Any, Any]

_LEAST = 100
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
    score = reference.scores
    if score.ndim == 1:
        knots = [_isotonic(score, reference.label, reference.weight)]
    else:
        knots = [
            _isotonic(score[:, at], (reference.label == at).astype(np.float64), reference.weight)
            for at in range(score.shape[1])
        ]
    return Calibrator(tuple(one for one, _ in knots), tuple(one for _, one in knots))


def _isotonic(score: Array, label: Array, weight: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Over bins of some ``_BIN`` rows: single rows at the ends would make the map surer than it may be."""
    order = np.argsort(score, kind="stable")
    score, weight = score[order], weight[order]
    bins = min(max(len(score) // _BIN, 2), _MOST_BINS)
    first = np.arange(bins) * len(score) // bins
    mass = np.add.reduceat(weight, first)
    at = np.add.reduceat(weight * score, first) / mass
    share = np.add.reduceat(weight * label[order], first) / mass
    at, place = np.unique(at, return_inverse=True)
    total = np.bincount(place, weights=mass)
    fitted = isotonic_regression(np.bincount(place, weights=mass * share) / total, weights=total).x
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
    if n < _LEAST:
        why = f"{n} reference rows; at least {_LEAST} are needed"
        return Calibration(float("nan"), float("nan"), n, tolerance, False, why)
    generator = np.random.default_rng(seed)
    probability = calibrator(reference)(reference.scores)
    error = _out_of_fold(reference, folds)
    chance = np.array(
        [_out_of_fold(replace(reference, label=_draw(probability, generator)), folds) for _ in range(draws)]
    )
    p = float((1 + np.sum(chance >= error)) / (draws + 1))
    trusted = p >= level or error <= tolerance
    word = "is" if trusted else "is not"
    why = (
        f"the calibration error is {error:.4f} on {n} reference rows, {float(chance.mean()):.4f} is to be expected by "
        f"chance (p {p:.3g}); the estimate {word} to be trusted"
    )
    return Calibration(error, p, n, tolerance, trusted, why)


def _out_of_fold(reference: Answers, folds: int) -> float:
    """The mean calibration error of the stretches."""
    errors = []
    for rows in np.array_split(np.arange(len(reference)), folds):
        outside = np.ones(len(reference), dtype=bool)
        outside[rows] = False
        fitted = calibrator(reference.take(outside))
        errors.append(calibration_error(fitted(reference.scores[rows]), reference.label[rows]))
    return float(np.mean(errors))


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


@dataclass(frozen=True, slots=True)
class Estimate:
    """An expected metric with the interval in which the realised value will be, if only the rows have changed.

    ``realised``: the metric on labels, where there are some by now.  ``agrees``: it lies within; None without it.
    ``calibration``: trust the estimate or not.
    """

    expected: Measure
    calibration: Calibration
    realised: Measure | None = None

    @property
    def agrees(self) -> bool | None:
        low, high = self.expected.low, self.expected.high
        if self.realised is None or self.realised.value is None or low is None or high is None:
            return None
        return low <= self.realised.value <= high


def estimate(
    metric: str,
    reference: Answers,
    score: Array,
    decision: Array,
    *,
    seed: int,
    weight: Array | None = None,
    realised: Answers | None = None,
    draws: int = 200,
    level: float = 0.95,
    calibration: Calibration | None = None,
) -> Estimate:
    """The metric that rows without labels will have. ``score`` and ``decision`` as in ``Answers``.

    The interval holds what labels by chance do on so many rows, and what the reference does not know of the
    calibration (its rows are drawn again). ``realised``: labelled rows to compare with. Raises UsageError for a
    metric of no classifier.
    """
    if metric not in CLASSIFICATION or not reference.classes:
        raise UsageError(f"{metric} cannot be estimated from probabilities; known: {', '.join(CLASSIFICATION)}")
    told = calibration or check_calibration(reference, seed=seed)
    beside = None if realised is None else measure(metric, realised, level=level, seed=seed)
    weight = np.ones(len(score)) if weight is None else weight
    if not len(score) or len(reference) < _LEAST:
        why = "no predictions" if not len(score) else told.why
        return Estimate(Measure(metric, None, None, None, len(score), level, why), told, beside)
    generator = np.random.default_rng(seed)
    probability = calibrator(reference)(score)
    values = []
    for _ in range(draws):
        again = calibrator(reference.take(generator.integers(0, len(reference), len(reference))))(score)
        label = _draw(again, generator)
        values.append(_value(metric, Answers(label, decision, score, weight, reference.classes)))
    known = np.array([one for one in values if one is not None])
    if known.size < draws / 2:
        why = "the rows are so few, or so one-sided, that the metric is mostly undefined"
        return Estimate(Measure(metric, None, None, None, len(score), level, why), told, beside)
    middle = expected(metric, probability, score, decision, weight)
    value = float(known.mean()) if middle is None else middle
    low, high = np.quantile(known, [0.5 - level / 2, 0.5 + level / 2], method="weibull")
    return Estimate(Measure(metric, value, float(low), float(high), len(score), level), told, beside)


def expected(metric: str, probability: Array, score: Array, decision: Array, weight: Array) -> float | None:
    """The expectation in closed form: of accuracy, and of the area under the curve of two classes as the ratio of
    expected pairs in order to expected pairs; None for others."""
    if metric == "accuracy":
        if probability.ndim == 1:
            right = np.where(decision == 1, probability, 1 - probability)
        else:
            right = probability[np.arange(len(score)), decision.astype(int)]
        return float(np.average(right, weights=weight))
    if metric != "roc_auc" or probability.ndim == 2:
        return None
    order = np.argsort(score, kind="stable")
    mass = np.concatenate([[0.0], np.cumsum((weight * (1 - probability))[order])])
    left = np.searchsorted(score[order], score, "left")
    right_end = np.searchsorted(score[order], score, "right")
    with_itself = weight**2 * probability * (1 - probability)
    in_order = np.sum(weight * probability * (mass[left] + mass[right_end]) / 2) - np.sum(with_itself) / 2
    pairs = np.sum(weight * probability) * mass[-1] - np.sum(with_itself)
    return float(in_order / pairs) if pairs > 0 else None


def _draw(probability: Array, generator: np.random.Generator) -> Array:
    """Class numbers by chance: of two classes from [n], of more from [n, classes]."""
    if probability.ndim == 1:
        return (generator.random(len(probability)) < probability).astype(np.float64)
    bound = np.cumsum(probability, axis=1)[:, :-1]
    return np.asarray((generator.random((len(probability), 1)) >= bound).sum(axis=1), dtype=np.float64)


def _value(metric: str, answers: Answers) -> float | None:
    return measure(metric, answers, draws=0).value
