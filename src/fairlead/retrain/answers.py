"""What two models answer on the same rows, in the form that the gate compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairlead.contracts.errors import InvalidTensor
from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.types import DataType, Missing, Signature, Tensors, TensorSpec
from fairlead.kit.sentences import cause
from fairlead.retrain.columns import TEXT, Columns, kind_of, missing, numbers, rows_of
from fairlead.retrain.gate import Answers

Array = np.ndarray[Any, Any]

_ROWS = 4096  # in one call of a model that sets no limit
_TIMED = 64  # rows
_LEAST_ROUNDS, _MOST_ROUNDS, _TIMING_SECONDS = 11, 101, 1.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A loaded model and the bytes it takes on disk, None when nobody knows."""

    model: LoadedModel
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What the target is. ``classes``: as texts, in the order of their codes; empty for a quantity."""

    classes: tuple[str, ...] = ()

    def truth(self, target: Array) -> Array:
        """Class codes (-1 for a class that is not known), or values."""
        return self._codes(texts(target)) if self.classes else numbers(target).reshape(-1)

    def baseline(self, train: Array, rows: int) -> Answers:
        """What answers without looking: the shares and the most frequent class of ``train``, or its mean."""
        truth = self.truth(train)
        if not self.classes:
            return Answers(score=np.full(rows, truth.mean()))
        counts = np.bincount(truth, minlength=len(self.classes))
        share = counts[1] / counts.sum() if len(self.classes) == 2 else np.nan
        return Answers(score=np.full(rows, share), label=np.full(rows, counts.argmax()))

    def read(self, outputs: Tensors) -> Answers:
        """Score and label out of a model's outputs, whatever their names; None for what they do not hold."""
        wide = [
            array for array in outputs.values() if array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] > 1
        ]
        flat = {name: _flat(array) for name, array in outputs.items() if array.ndim == 1 or array.shape[1:] == (1,)}
        floats = [array for array in flat.values() if array.dtype.kind == "f"]
        if not self.classes:
            values = floats or [array for array in flat.values() if array.dtype.kind in "iu"]
            return Answers(score=values[0].astype(float) if values else None)
        labels = flat.get("label", next((array for array in flat.values() if array.dtype.kind != "f"), None))
        share = wide[0] if wide and wide[0].shape[1] == len(self.classes) else None
        score = None
        if len(self.classes) == 2:
            score = share[:, 1] if share is not None else floats[0] if floats else None
        label = self._codes(texts(labels)) if labels is not None else None
        if label is None and share is not None:
            label = share.argmax(axis=1)
        elif label is None and score is not None:
            label = (score > 0.5).astype(int)
        return Answers(score=None if score is None else score.astype(float), label=label)

    def _codes(self, values: Array) -> Array:
        known = {name: code for code, name in enumerate(self.classes)}
        return np.array([known.get(value, -1) for value in values.tolist()], int)


def task(*targets: Array, quantity: bool) -> Task:
    """The task of a target, from all its values. ``quantity``: it is a number and no class."""
    if quantity:
        return Task()
    kinds = {kind_of(target) for target in targets}
    names = {name for target in targets for name in texts(target[~missing(target)]).tolist()}
    return Task(tuple(sorted(names) if TEXT in kinds else sorted(names, key=float)))


def texts(array: Array) -> Array:
    """One text for each value, the same for 1, 1.0 and True."""
    flat = array.reshape(-1)
    return flat.astype(str) if kind_of(flat) == TEXT else numbers(flat).astype(str)


def tensors(table: Columns, signature: Signature, features: tuple[str, ...]) -> Tensors:
    """The rows of ``table`` as a model takes them. A model of one matrix gets the features side by side.

    Raises InvalidTensor for a column that the table lacks.
    """
    names = [spec.name for spec in signature.inputs]
    only = signature.inputs[0]
    if len(names) == 1 and not only.column and names[0] not in table:
        stacked = np.concatenate([numbers(table[name]).reshape(rows_of(table), -1) for name in features], axis=1)
        return {only.name: stacked.astype(only.datatype.numpy)}
    absent = [name for name in names if name not in table]
    if absent:
        raise InvalidTensor(f"the model takes the column {absent[0]!r}, which the data lack")
    return {spec.name: _shaped(table[spec.name], spec) for spec in signature.inputs}


def answer(opened: Opened, table: Columns, features: tuple[str, ...], what: Task) -> Answers:
    """The model's answers on every row. A model that raises answers with ``problem``."""
    try:
        return replace(what.read(answered(opened.model, table, features)[1]), size=opened.size)
    except Exception as error:  # noqa: BLE001 - a model may raise anything; that it does is the finding
        return Answers(size=opened.size, problem=cause(error))


def answered(model: LoadedModel, table: Columns, features: tuple[str, ...]) -> tuple[Tensors, Tensors]:
    """What the model takes of every row, and what it answers. Raises whatever the model raises."""
    rows = tensors(table, model.signature, features)
    return rows, asked(model, rows)


def asked(model: LoadedModel, rows: Tensors) -> Tensors:
    """What the model answers to one row or more, in calls as large as it takes. Raises whatever the model raises."""
    step, count = model.traits.max_rows or _ROWS, len(next(iter(rows.values())))
    parts = [_part(model, rows, start, step) for start in range(0, count, step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def timed(
    pair: tuple[LoadedModel, LoadedModel], table: Columns, features: tuple[str, ...], now: Callable[[], float]
) -> Array:
    """Seconds that each model needs for the first 64 rows (fewer where it takes fewer), [rounds, 2].

    A round has a turn of each, and who comes first changes. As many as a second has, from 11 to 101, after one that
    does not count.
    """
    rows = [tensors(table, model.signature, features) for model in pair]
    rounds = np.zeros((_MOST_ROUNDS + 1, 2))
    began = now()
    for number in range(len(rounds)):
        for place in (0, 1) if number % 2 else (1, 0):
            model = pair[place]
            step = min(model.traits.max_rows or _TIMED, _TIMED)
            started = now()
            for start in range(0, min(_TIMED, rows_of(table)), step):
                _part(model, rows[place], start, step)
            rounds[number, place] = now() - started
        if number >= _LEAST_ROUNDS and now() - began > _TIMING_SECONDS:
            return rounds[1 : number + 1]
    return rounds[1:]


def _part(model: LoadedModel, rows: Tensors, start: int, step: int) -> Tensors:
    return model.predict({name: array[start : start + step] for name, array in rows.items()}, {})


def _shaped(array: Array, spec: TensorSpec) -> Array:
    wide = array.reshape(len(array), *(size for size in spec.shape[1:] if size > 0)) if len(spec.shape) > 1 else array
    if spec.datatype is DataType.BYTES:
        hole = {Missing.NONE: None, Missing.VALUE: spec.missing_value}.get(spec.missing, np.nan)
        made = np.empty(wide.shape, object)
        made[...] = wide
        made[missing(wide)] = hole
        return made
    typed = numbers(wide) if spec.datatype.is_float or wide.dtype.kind == "O" else wide
    return np.asarray(typed, spec.datatype.numpy)


def _flat(array: Array) -> Array:
    return array.reshape(len(array))
