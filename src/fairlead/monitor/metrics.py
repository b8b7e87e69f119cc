"""Metrics of labelled predictions, each with an interval. Sampling weights everywhere. Pure numpy and scipy.

Intervals: Wilson (1927) for shares, DeLong (1988) on the logit scale for the area under the ROC curve, the bootstrap's
percentiles (Efron 1979) for the others. A metric that the rows do not define has no value, and says why: never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest

Array = np.ndarray[Any, Any]
_Finish = Callable[[Array], Array]

HIGHER = ("accuracy", "roc_auc", "f1", "precision", "recall", "r2")
"""Metrics of which more is better."""
LOWER = ("log_loss", "brier", "mae", "rmse")
"""Metrics of which less is better."""
CLASSIFICATION = ("accuracy", "roc_auc", "log_loss", "brier", "f1", "precision", "recall")
REGRESSION = ("mae", "rmse", "r2")
_SHARES = ("accuracy", "precision", "recall")
_SCORED = ("roc_auc", "log_loss", "brier")
_CHUNK = 2_000_000


@dataclass(frozen=True, slots=True)
class Answers:
    """Labelled predictions. ``classes``: 2 or more, 0 for regression. All arrays have n rows.

    ``label``: class numbers from 0, or values.  ``decision``: the same, as predicted.
    ``score``: two classes: the probability of class 1, shape [n]; more: of every class, shape [n, classes].
    ``weight``: rows that each one stands for.
    """

    label: Array
    decision: Array | None
    score: Array | None
    weight: Array
    classes: int = 2

    def __len__(self) -> int:
        return len(self.label)

    @property
    def scores(self) -> Array:
        """The probabilities. Raises UsageError where the model gives none."""
        if self.score is None:
            raise UsageError("this metric needs the output that holds the probabilities; name it with monitor.score")
        return self.score

    @property
    def decisions(self) -> Array:
        """The predictions. Raises UsageError where none is named."""
        if self.decision is None:
            raise UsageError("this metric needs the output that holds the prediction; name it with monitor.prediction")
        return self.decision

    def take(self, rows: Array) -> Answers:
        """Those rows (numbers or a mask)."""
        decision = None if self.decision is None else self.decision[rows]
        score = None if self.score is None else self.score[rows]
        return Answers(self.label[rows], decision, score, self.weight[rows], self.classes)


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric's value with its interval at ``level``. ``value`` is None where there is none, and ``why`` says so."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    rows: int
    level: float = 0.95
    why: str = ""

    @property
    def better(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.metric in HIGHER else -1


def measure(metric: str, answers: Answers, *, level: float = 0.95, draws: int = 500, seed: int = 0) -> Measure:
    """One metric over these rows. Raises UsageError for a metric that these predictions cannot have."""
    _check(metric, answers)
    if not len(answers):
        return Measure(metric, None, None, None, 0, level, "no labelled rows")
    if metric == "roc_auc":
        value, low, high = _auc(answers, level, draws, seed)
    else:
        columns, finish = _sums(metric, answers)
        value = float(finish(columns.sum(axis=0)[None, :])[0])
        if metric in _SHARES and answers.classes == 2:
            whole = columns[:, 1]
            low, high = (np.nan, np.nan) if np.isnan(value) else wilson(value, _effective(whole), level)
        else:
            low, high = _bootstrap(columns, finish, level, draws, seed)
    if not np.isfinite(value):
        return Measure(metric, None, None, None, len(answers), level, _undefined(metric))
    if not (np.isfinite(low) and np.isfinite(high)):
        return Measure(metric, value, None, None, len(answers), level, "too few rows for an interval")
    return Measure(metric, value, float(low), float(high), len(answers), level)


def wilson(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a share of ``n`` rows (Wilson 1927)."""
    z = float(norm.ppf(0.5 + level / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return max(0.0, middle - half), min(1.0, middle + half)


def auc_parts(label: Array, score: Array, weight: Array) -> tuple[float, Array, Array]:
    """Area under the ROC curve, and the placement values of the positive and of the negative rows.

    DeLong, DeLong and Clarke-Pearson (1988), with weights: the placement of a positive row is the share of negative
    rows that score lower, ties count half. NaN when a class is empty.
    """
    positive = label == 1
    above, below = score[positive], score[~positive]
    w_above, w_below = weight[positive], weight[~positive]
    if not above.size or not below.size:
        return float("nan"), np.empty(0), np.empty(0)
    place_above = _placement(above, below, w_below)
    place_below = 1.0 - _placement(below, above, w_above)
    return float(np.average(place_above, weights=w_above)), place_above, place_below


def _placement(of: Array, among: Array, weight: Array) -> Array:
    order = np.argsort(among, kind="stable")
    mass = np.concatenate([[0.0], np.cumsum(weight[order])])
    left = np.searchsorted(among[order], of, "left")
    right = np.searchsorted(among[order], of, "right")
    return np.asarray((mass[left] + mass[right]) / (2.0 * mass[-1]))


def _auc(answers: Answers, level: float, draws: int, seed: int) -> tuple[float, float, float]:
    label, weight = answers.label, answers.weight
    if answers.classes == 2:
        value, above, below = auc_parts(label, answers.scores, weight)
        if not above.size:
            return value, np.nan, np.nan
        w_above, w_below = weight[label == 1], weight[label != 1]
        spread = _spread(above, value, w_above) + _spread(below, value, w_below)
        if not 0 < value < 1 or not spread > 0:
            return value, *_newcombe(value, _effective(w_above), _effective(w_below), level)
        half = float(norm.ppf(0.5 + level / 2)) * float(np.sqrt(spread)) / (value * (1 - value))
        odds = float(np.log(value / (1 - value)))
        return value, 1 / (1 + float(np.exp(half - odds))), 1 / (1 + float(np.exp(-half - odds)))
    value = _one_against_rest(answers)
    generator = np.random.default_rng(seed)
    n = len(answers)
    if draws < 1:
        return value, np.nan, np.nan
    values = [_one_against_rest(answers.take(generator.integers(0, n, n))) for _ in range(draws)]
    return value, *_percentiles(np.array(values), level)


def _one_against_rest(answers: Answers) -> float:
    """The mean area over the classes that these rows have, each against the rest."""
    areas = [
        auc_parts((answers.label == place).astype(float), answers.scores[:, place], answers.weight)[0]
        for place in range(answers.classes)
    ]
    known = [area for area in areas if not np.isnan(area)]
    return float(np.mean(known)) if known else float("nan")


def _spread(place: Array, mean: float, weight: Array) -> float:
    """Variance of a weighted mean of placements: DeLong's S / n when the weights are equal."""
    if len(place) < 2:
        return float("nan")
    total = float(weight.sum())
    return float(np.sum(weight**2 * (place - mean) ** 2)) / total**2 * len(place) / (len(place) - 1)


def _newcombe(value: float, positives: float, negatives: float, level: float) -> tuple[float, float]:
    """A score interval for an area at its border (Newcombe 2006, method 5): solves |theta - area| = z sd(theta)."""
    z = float(norm.ppf(0.5 + level / 2))
    size = (positives + negatives) / 2 - 1

    def apart(theta: float) -> float:
        spread = theta * (1 - theta) * (1 + size * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return abs(theta - value) - z * float(np.sqrt(max(spread, 0.0) / (positives * negatives)))

    edge = 1e-9
    low = 0.0 if value <= edge or apart(edge) < 0 else float(brentq(apart, edge, value - edge))
    high = 1.0 if value >= 1 - edge or apart(1 - edge) < 0 else float(brentq(apart, value + edge, 1 - edge))
    return low, high


def _sums(metric: str, answers: Answers) -> tuple[Array, _Finish]:
    """Columns whose sums over rows give the metric, and the function from sums [draws, columns] to values."""
    weight, label = answers.weight, answers.label
    if metric in REGRESSION:
        error = answers.decisions - label
        if metric == "mae":
            return np.stack([weight * np.abs(error), weight], axis=1), _share
        if metric == "rmse":
            return np.stack([weight * error**2, weight], axis=1), lambda sums: np.asarray(np.sqrt(_share(sums)))
        centred = label - np.average(label, weights=weight)
        return np.stack([weight * error**2, weight * centred**2, weight * centred, weight], axis=1), _r2
    if metric in ("log_loss", "brier"):
        loss = log_losses(answers) if metric == "log_loss" else brier_losses(answers)
        return np.stack([weight * loss, weight], axis=1), _share
    decision = answers.decisions
    if metric == "accuracy":
        return np.stack([weight * (decision == label), weight], axis=1), _share
    places = [1] if answers.classes == 2 else range(answers.classes)
    hit, said, true = (
        np.stack([weight * one for one in each], axis=1)
        for each in (
            [(decision == place) & (label == place) for place in places],
            [decision == place for place in places],
            [label == place for place in places],
        )
    )
    if answers.classes == 2:
        whole = {"precision": said, "recall": true, "f1": (said + true) / 2}[metric]
        return np.concatenate([hit, whole], axis=1), _share
    return np.concatenate([hit, said, true], axis=1), lambda sums: _macro(metric, sums)


def log_losses(answers: Answers) -> Array:
    """Minus the logarithm of the probability of what was true, row by row."""
    return np.asarray(-np.log(np.clip(_of_truth(answers), np.finfo(np.float64).eps, 1.0)))


def brier_losses(answers: Answers) -> Array:
    """Squared error of the probabilities, row by row: of class 1 for two classes, summed over the classes for more."""
    if answers.classes == 2:
        return np.asarray((answers.scores - answers.label) ** 2)
    truth = answers.label[:, None] == np.arange(answers.classes)[None, :]
    return np.asarray(((answers.scores - truth) ** 2).sum(axis=1))


def _of_truth(answers: Answers) -> Array:
    if answers.classes == 2:
        return np.where(answers.label == 1, answers.scores, 1.0 - answers.scores)
    return np.asarray(answers.scores[np.arange(len(answers)), answers.label.astype(int)])


def _share(sums: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums[:, 0] / sums[:, 1])


def _r2(sums: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        around = sums[:, 1] - sums[:, 2] ** 2 / sums[:, 3]
        return np.where(around > 0, 1.0 - sums[:, 0] / around, np.nan)


def _macro(metric: str, sums: Array) -> Array:
    """The mean over the classes that occur; a class that is there and never predicted has precision 0."""
    hit, said, true = np.split(sums, 3, axis=1)
    part = {"precision": said, "recall": true, "f1": (said + true) / 2}[metric]
    there = (said + true) > 0
    each = np.divide(hit, part, out=np.zeros_like(hit), where=part > 0)
    return np.asarray((each * there).sum(axis=1) / there.sum(axis=1))


def _bootstrap(columns: Array, finish: _Finish, level: float, draws: int, seed: int) -> tuple[float, float]:
    n = len(columns)
    if n < 2 or draws < 1:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    sums = []
    for start in range(0, draws, step := max(1, _CHUNK // n)):
        some = min(step, draws - start)
        rows = generator.integers(0, n, (some, n)) + np.arange(some)[:, None] * n
        times = np.bincount(rows.ravel(), minlength=some * n).reshape(some, n)  # how often each row was drawn
        sums.append(times @ columns)
    return _percentiles(finish(np.concatenate(sums)), level)


def _percentiles(values: Array, level: float) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def _effective(weight: Array) -> float:
    """Kish's effective number of rows."""
    squares = float(np.sum(weight**2))
    return float(weight.sum()) ** 2 / squares if squares else 0.0


def _undefined(metric: str) -> str:
    return {
        "roc_auc": "it needs rows of both classes",
        "precision": "no row was predicted positive",
        "recall": "no row is positive",
        "f1": "no row is positive and none was predicted so",
        "r2": "the labels are all the same",
    }.get(metric, "the rows hold values that are not finite")


def _check(metric: str, answers: Answers) -> None:
    known: Sequence[str] = CLASSIFICATION if answers.classes else REGRESSION
    if metric not in known:
        kind = "a classifier" if answers.classes else "a regression"
        raise UsageError(f"{kind} has no metric {metric!r}{nearest(metric, list(known))}; known: {', '.join(known)}")
    if len(answers.scores if metric in _SCORED else answers.decisions) != len(answers):
        raise UsageError("labels and predictions differ in their number of rows")
