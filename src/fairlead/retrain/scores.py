"""Metrics by name, on arrays: what a gate can compare two models by. All are finite or raise nothing: NaN says no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest

Array = np.ndarray[Any, Any]

_BINS = 10
_TINY = 1e-12


def roc_auc(truth: Array, score: Array) -> float:
    """Area under the ROC curve, ties half; ``truth`` 0 or 1. NaN when one class is missing."""
    positive = truth == 1
    ones = int(positive.sum())
    zeros = len(truth) - ones
    if not ones or not zeros:
        return float("nan")
    return float((rankdata(score)[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def accuracy(truth: Array, label: Array) -> float:
    return float(np.mean(truth == label))


def balanced_accuracy(truth: Array, label: Array) -> float:
    """Mean recall over the classes of ``truth``."""
    return float(np.mean([np.mean(label[truth == one] == one) for one in np.unique(truth)]))


def f1_macro(truth: Array, label: Array) -> float:
    """Mean F1 over the classes that ``truth`` or ``label`` has."""
    each = []
    for one in np.union1d(truth, label):
        hits = np.sum((truth == one) & (label == one))
        each.append(2 * hits / (np.sum(truth == one) + np.sum(label == one)))
    return float(np.mean(each))


def log_loss(truth: Array, score: Array) -> float:
    """Of P(1), clipped to [1e-12, 1 - 1e-12]."""
    kept = np.clip(score, _TINY, 1 - _TINY)
    return float(-np.mean(np.where(truth == 1, np.log(kept), np.log1p(-kept))))


def brier(truth: Array, score: Array) -> float:
    return float(np.mean((score - truth) ** 2))


def ece(truth: Array, score: Array) -> float:
    """Expected calibration error over 10 bins of equal width (Guo et al. 2017, for P(1))."""
    place = np.minimum((score * _BINS).astype(int), _BINS - 1)
    gap = np.bincount(place, weights=score - truth, minlength=_BINS)
    return float(np.abs(gap).sum() / len(truth))


def mae(truth: Array, value: Array) -> float:
    return float(np.mean(np.abs(value - truth)))


def rmse(truth: Array, value: Array) -> float:
    return float(np.sqrt(np.mean((value - truth) ** 2)))


def r2(truth: Array, value: Array) -> float:
    """NaN when ``truth`` is constant."""
    spread = float(np.sum((truth - truth.mean()) ** 2))
    return 1 - float(np.sum((value - truth) ** 2)) / spread if spread > 0 else float("nan")


@dataclass(frozen=True, slots=True)
class Metric:
    """``uses``: ``score`` (P(1), or the value of a regression) or ``label`` (the class).  ``sign``: -1 for a loss.

    ``classes``: how many different values ``truth`` must have at least.
    """

    name: str
    function: Callable[[Array, Array], float]
    uses: str
    sign: int
    classes: int = 1


METRICS = {
    one.name: one
    for one in (
        Metric("roc_auc", roc_auc, "score", 1, 2),
        Metric("accuracy", accuracy, "label", 1),
        Metric("balanced_accuracy", balanced_accuracy, "label", 1, 2),
        Metric("f1_macro", f1_macro, "label", 1, 2),
        Metric("log_loss", log_loss, "score", -1),
        Metric("brier", brier, "score", -1),
        Metric("ece", ece, "score", -1),
        Metric("mae", mae, "score", -1),
        Metric("rmse", rmse, "score", -1),
        Metric("r2", r2, "score", 1, 2),
    )
}
REGRESSION = ("mae", "rmse", "r2")
BINARY = ("roc_auc", "log_loss", "brier", "ece")
"""Metrics that need P(1) of two classes."""


def metric(name: str) -> Metric:
    """Raises UsageError that names the nearest metric."""
    if name not in METRICS:
        raise UsageError(f"metric {name!r} is not known{nearest(name, list(METRICS))}; one of {', '.join(METRICS)}")
    return METRICS[name]
