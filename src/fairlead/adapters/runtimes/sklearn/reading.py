"""What a fitted estimator takes and gives, read from its attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, TensorSpec

_Specs = tuple[TensorSpec, ...]


def inputs(estimator: Any) -> _Specs:
    """One column each when it was fitted on a table, one matrix when on an array, one list of texts when on those.

    Raises BrokenModel when the estimator does not say.
    """
    if takes_text(estimator):
        return (TensorSpec("text", DataType.BYTES, (-1,)),)
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        text = set(_text_columns(estimator, [str(name) for name in names]))
        return tuple(
            TensorSpec(name, DataType.BYTES if name in text else DataType.FP64, (-1, 1), column=True)
            for name in map(str, names)
        )
    width = getattr(estimator, "n_features_in_", None)
    if width is None:
        kind = type(estimator).__name__
        raise BrokenModel(f"the {kind} does not say what it takes; package it with a signature or an input example")
    return (TensorSpec("input", DataType.FP64, (-1, int(width))),)


def outputs(estimator: Any) -> _Specs:
    """Classifiers: ``label`` and ``probabilities``; what else predicts: ``prediction``; what transforms: ``output``.

    A classifier of several targets has ``probabilities_0``, ``probabilities_1`` ... What attributes do not tell (a
    regressor of several targets, a cluster number) is for a trial to find out. Raises BrokenModel for an estimator that
    does none of these.
    """
    if hasattr(estimator, "classes_") and hasattr(estimator, "predict"):
        classes = estimator.classes_
        if not isinstance(classes, list):
            label = TensorSpec("label", _datatype(classes), (-1,))
            return (label, _chances("probabilities", classes)) if hasattr(estimator, "predict_proba") else (label,)
        kinds = {_datatype(one) for one in classes}
        if len(kinds) > 1:
            raise BrokenModel("the classifier's targets have labels of several types; give every target one type")
        several = TensorSpec("label", kinds.pop(), (-1, len(classes)))
        chances = [_chances(f"probabilities_{index}", one) for index, one in enumerate(classes)]
        return (several, *chances) if hasattr(estimator, "predict_proba") else (several,)
    if hasattr(estimator, "predict"):
        return (TensorSpec("prediction", DataType.FP64, (-1,)),)
    if hasattr(estimator, "transform"):
        return (TensorSpec("output", DataType.FP64, (-1, -1)),)
    raise BrokenModel(f"a {type(estimator).__name__} neither predicts nor transforms; fit and save one that does")


def takes_text(estimator: Any) -> bool:
    """True when the first step splits texts into words: it wants a list of strings, not a table."""
    return hasattr(_first(estimator), "build_analyzer")


def label_is_likeliest(estimator: Any) -> bool:
    """True when ``predict`` is known to be the class of the largest ``predict_proba``, so that one pass gives both."""
    steps = getattr(estimator, "steps", None)
    if steps:
        return label_is_likeliest(steps[-1][1])
    known = isinstance(estimator, (HistGradientBoostingClassifier, RandomForestClassifier, ExtraTreesClassifier))
    return known and not isinstance(estimator.classes_, list)


def _chances(name: str, classes: Any) -> TensorSpec:
    return TensorSpec(name, DataType.FP64, (-1, len(classes)))


def _datatype(classes: Any) -> DataType:
    try:
        return DataType.of(np.asarray(classes).dtype)
    except ValueError as error:
        raise BrokenModel(f"the classifier's labels cannot be sent: {error}") from error


def _first(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return _first(steps[0][1]) if steps else estimator


def _text_columns(estimator: Any, names: list[str]) -> Iterator[str]:
    """Columns whose fitted encoder or imputer has seen strings."""
    for _, part, columns in getattr(_first(estimator), "transformers_", ()):
        chosen = _chosen(columns, names)
        steps = [step for _, step in getattr(part, "steps", [("", part)])]
        for step in steps:
            for name, seen in zip(chosen, _seen(step), strict=False):
                if np.asarray(seen).dtype.kind in "OUS":
                    yield name


def _seen(step: Any) -> Any:
    if hasattr(step, "categories_"):
        return step.categories_
    statistics = getattr(step, "statistics_", ())
    return [np.asarray([value]) for value in statistics]


def _chosen(columns: Any, names: list[str]) -> list[str]:
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice):
        return names[columns]
    chosen = np.atleast_1d(np.asarray(columns))
    if chosen.dtype.kind in "US" or chosen.dtype.kind == "O":
        return [str(name) for name in chosen]
    return [str(name) for name in np.asarray(names, object)[chosen]]
