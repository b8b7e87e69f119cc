"""Performance before labels: what calibrated probabilities expect of themselves (confidence-based estimation).

When P(y given x) has not changed and the scores are calibrated, a row that scores 0.8 is right 8 times in 10, whatever
rows come. So accuracy, the area under the curve and the others can be expected from the scores alone (Guillory et al.
2021; Garg et al. 2022; the name CBPE is NannyML's). It cannot see a changed concept: that needs labels, and the
realised value beside it. Whether the scores are calibrated is checked on reference rows, out of fold.

The interval is one of draws, for every metric alike: a sum of independent labels would have a normal one, but what the
reference does not know of the calibration is common to all rows, and an area is no sum. Nothing is left out of a draw
to make it cheap: rows are sorted once, and each draw is some passes over them (``Fitting``, ``Ranked``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.contracts.errors import UsageError
from fairlead.monitor.calibration import LEAST, Calibration, Fitting, check_calibration, drawn
from fairlead.monitor.metrics import CLASSIFICATION, Answers, Measure, measure

Array = np.ndarray[Any, Any]


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
    if not len(score) or len(reference) < LEAST:
        why = "no predictions" if not len(score) else told.why
        return Estimate(Measure(metric, None, None, None, len(score), level, why), told, beside)
    if score.ndim == 1:  # in order, which maps and areas are quicker on
        order = np.argsort(score, kind="stable")
        score, decision, weight = score[order], decision[order], weight[order]
    generator, n = np.random.default_rng(seed), len(reference)
    fitting, value_of = Fitting(reference), _valued(metric, score, decision, weight, reference.classes)
    values = []
    for _ in range(draws):
        times = np.bincount(generator.integers(0, n, n), minlength=n)
        values.append(value_of(drawn(fitting.fitted(times=times)(score), generator)))
    known = np.array([one for one in values if np.isfinite(one)])
    if known.size < draws / 2:
        why = "the rows are so few, or so one-sided, that the metric is mostly undefined"
        return Estimate(Measure(metric, None, None, None, len(score), level, why), told, beside)
    middle = expected(metric, fitting.fitted()(score), score, decision, weight)
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


class Ranked:
    """Rows sorted by score once: the area under the ROC curve for any labels of them, in one pass.

    The share of pairs in order, ties half (Mann and Whitney 1947), from running sums of weight.
    """

    def __init__(self, score: Array, weight: Array) -> None:
        self._order = np.argsort(score, kind="stable")
        sorted_ = score[self._order]
        self._weight = weight[self._order]
        self._left, self._right = (np.searchsorted(sorted_, sorted_, side) for side in ("left", "right"))

    def area(self, positive: Array) -> float:
        """``positive`` [n]: 1 or True where the label is. NaN where a class is empty."""
        above = self._weight * positive[self._order]
        mass = np.concatenate([[0.0], np.cumsum(self._weight - above)])
        pairs = float(above.sum() * mass[-1])
        below = mass[self._left] + mass[self._right]  # twice, for ties
        return float(np.sum(above * below)) / (2 * pairs) if pairs > 0 else float("nan")


def _valued(metric: str, score: Array, decision: Array, weight: Array, classes: int) -> Callable[[Array], float]:
    """The metric of these rows as a function of their labels, NaN where they do not define it."""
    if metric == "accuracy":
        total = float(weight.sum())
        return lambda label: float(np.sum(weight[decision == label])) / total
    if metric == "roc_auc" and classes == 2:
        return Ranked(score, weight).area
    if metric == "roc_auc":
        ranked = [Ranked(score[:, at], weight) for at in range(classes)]

        def area(label: Array) -> float:
            known = [found for at, one in enumerate(ranked) if np.isfinite(found := one.area(label == at))]
            return float(np.mean(known)) if known else float("nan")

        return area

    def value(label: Array) -> float:
        found = measure(metric, Answers(label, decision, score, weight, classes), draws=0).value
        return float("nan") if found is None else found

    return value
