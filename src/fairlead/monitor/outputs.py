"""Which output is the prediction and which the score, and labelled rows as ``Answers``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest
from fairlead.monitor.labels import Frame, Joined
from fairlead.monitor.metrics import Answers

Array = np.ndarray[Any, Any]
Value = float | str


@dataclass(frozen=True, slots=True)
class Task:
    """What the model does. ``classes``: names in the order of the probabilities; empty: a regression.

    ``prediction``: the output with the class or value; empty: decided from the score at ``threshold`` (two classes)
    or by the largest probability.  ``score``: the output with the probability of the last of two classes, or with one
    for each class; empty where there is none.
    """

    classes: tuple[Value, ...] = ()
    prediction: str = ""
    score: str = ""
    threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class Read:
    """``answers`` of the rows ``kept`` (mask over what was read), and why others could not be used."""

    answers: Answers
    kept: Array
    strange: int = 0
    """labels that are no class of the model, or no number for a regression"""
    broken: int = 0
    """predictions that are missing or not finite"""


def read_answers(joined: Joined, task: Task) -> Read:
    """Labelled rows for the metrics. Raises UsageError when an output is not there."""
    label, strange = _coded(joined.label, task)
    decision, score = predictions(joined.frame, task, joined.rows)
    good = np.ones(len(joined), dtype=bool)
    if decision is not None:
        good &= np.isfinite(decision)
    if score is not None:
        good &= np.isfinite(score) if score.ndim == 1 else np.isfinite(score).all(axis=1)
    kept = good & ~strange
    answers = Answers(label, decision, score, joined.weight, len(task.classes)).take(kept)
    return Read(answers, kept, int(strange.sum()), int((~good & ~strange).sum()))


def predictions(frame: Frame, task: Task, rows: Array | None = None) -> tuple[Array | None, Array | None]:
    """Decisions (class numbers or values, NaN where there is none) and scores of these rows of a frame."""
    place = slice(None) if rows is None else rows
    score = _scores(_output(frame, task.score)[place], task) if task.score else None
    if task.prediction:
        values = _output(frame, task.prediction)[place]
        decision, strange = _coded(values, task)
        decision = np.where(strange, np.nan, decision)
    elif score is None or not task.classes:
        raise UsageError("no output is named as the prediction; set monitor.prediction, or monitor.score for a share")
    elif score.ndim == 1:
        decision = np.where(np.isfinite(score), score >= task.threshold, np.nan)
    else:
        decision = score.argmax(axis=1).astype(np.float64)
    return decision, score


def guess(frame: Frame, labels: Array | None = None) -> Task:
    """What the outputs look like: lists of probabilities, one share, classes, or values.

    A column of lists is the probabilities; one float column within [0, 1] is a score when the labels are two values.
    Class names come from the predictions and labels. Raises UsageError when several readings are possible.
    """
    outputs = {name[4:]: frame[name] for name in frame if name.startswith("out.")}
    lists = [name for name, values in outputs.items() if values.dtype == object and _is_list(values)]
    single = {name: values for name, values in outputs.items() if name not in lists}
    names = [name for name, values in single.items() if values.dtype.kind != "f"]
    known = () if labels is None else _names(labels)
    if len(lists) <= 1 and len(names) == 1 and len(single) == 1:
        classes = _ordered({*_names(single[names[0]]), *known})
        return Task(classes, names[0], lists[0] if lists and _width(outputs[lists[0]]) == len(classes) else "")
    if len(lists) == 1 and not single:
        width = _width(outputs[lists[0]])
        classes = _ordered(set(known)) if len(known) == width else tuple(float(one) for one in range(width))
        return Task(classes, "", lists[0])
    if len(single) == 1 and not lists:
        (name, values), *_ = single.items()
        finite = values[np.isfinite(values)]
        if len(known) == 2 and finite.size and finite.min() >= 0 and finite.max() <= 1:
            return Task(known, "", name)
        return Task((), name)
    raise UsageError(
        f"the model has the outputs {', '.join(sorted(outputs)) or 'none'}: name the one that is the prediction with "
        "monitor.prediction and the one with the probabilities with monitor.score"
    )


def _output(frame: Frame, name: str) -> Array:
    try:
        return frame[f"out.{name}"]
    except KeyError:
        known = [one[4:] for one in frame if one.startswith("out.")]
        raise UsageError(
            f"there is no output {name!r}{nearest(name, known)}; outputs: {', '.join(known) or 'none'}"
        ) from None


def _scores(values: Array, task: Task) -> Array:
    if values.dtype != object or not _is_list(values):
        return values.astype(np.float64)
    width = len(task.classes)
    rows = [one if one is not None and len(one) == width else [np.nan] * width for one in values.tolist()]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), width)
    return table[:, 1] if width == 2 else table


def _coded(values: Array, task: Task) -> tuple[Array, Array]:
    """Class numbers or plain values as floats, and a mask of those that are neither."""
    if not task.classes:
        numbers = _each(values, _number)
        return numbers, ~np.isfinite(numbers)
    places = {canonical(name): float(place) for place, name in enumerate(task.classes)}
    coded = _each(values, lambda one: places.get(canonical(one), np.nan))
    return coded, np.isnan(coded)


def _each(values: Array, number: Callable[[Any], float]) -> Array:
    """The number of each value, worked out once for those that are the same."""
    if values.dtype.kind == "f":  # of these few are
        return np.array([number(one) for one in values.tolist()], dtype=np.float64)
    known: dict[Any, float] = {}
    told = values.tolist()
    try:
        for one in told:
            if one not in known:
                known[one] = number(one)
    except TypeError:  # a list, which nothing can look up
        return np.array([number(one) for one in told], dtype=np.float64)
    return np.fromiter(map(known.__getitem__, told), np.float64, len(told))


def canonical(value: Any) -> Value:
    """One form for a class however it was written: 1, 1.0, True and "1" are the same."""
    if isinstance(value, str):
        number = _number(value)
        return number if np.isfinite(number) else value.strip()
    number = _number(value)
    return number if np.isfinite(number) else str(value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _names(values: Array) -> tuple[Value, ...]:
    told = values.tolist()
    with contextlib.suppress(TypeError):  # a list, which nothing can look up
        told = list(set(told))
    return _ordered({canonical(one) for one in told if one is not None and str(one) != "nan"})


def _ordered(names: set[Value]) -> tuple[Value, ...]:
    return tuple(sorted(names, key=lambda one: (isinstance(one, str), one)))


def _is_list(values: Array) -> bool:
    first = next((one for one in values if one is not None), None)
    return isinstance(first, list | tuple | np.ndarray)


def _width(values: Array) -> int:
    return len(next(one for one in values if one is not None))
