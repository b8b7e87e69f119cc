"""What a shadow said beside what the champion said to the same calls, as sums that can be added up.

A decision is a label where the model gives one (an integer, boolean or text output), else the class with the greatest
score, else whether a probability is at least one half; a quantity has none. A score is the last column of the first
float output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from fairlead.contracts.events import Columns
from fairlead.contracts.types import Tensors

Array = np.ndarray[Any, Any]

NAMES: Final = ("calls", "failed", "rows", "decided", "flips", "scored", "shift", "shift_squared", "seconds", "slower")
"""``calls`` answered by both, ``failed`` only by the champion, ``rows`` of the former; ``decided`` rows that have a
decision and ``flips`` among them; ``scored`` rows with the sum and the sum of squares of shadow minus champion; the sum
of the shadow's ``seconds`` minus the champion's and the calls in which it was ``slower``."""


def pairs(columns: Columns) -> dict[str, float]:
    """The sums of one piece of a shadow's record."""
    sums = dict.fromkeys(NAMES, 0.0)
    answered = np.array([not code for code in columns.code], bool)
    sums["calls"] = float(answered.sum())
    sums["failed"] = float(len(columns) - answered.sum())
    sums["rows"] = float(columns.rows[answered].sum())
    ours, theirs = decisions(columns.outputs), decisions(columns.paired)
    if ours is not None and theirs is not None and ours.shape == theirs.shape:
        sums["decided"] = float(len(ours))
        sums["flips"] = float(np.sum(ours != theirs))
    score, other = scores(columns.outputs), scores(columns.paired)
    if score is not None and other is not None and score.shape == other.shape:
        shift = score - other
        shift = shift[np.isfinite(shift)]
        sums["scored"] = float(len(shift))
        sums["shift"] = float(shift.sum())
        sums["shift_squared"] = float(np.square(shift).sum())
    if columns.paired_seconds is not None and len(columns.paired_seconds) == answered.sum():
        delta = columns.seconds[answered] - columns.paired_seconds
        sums["seconds"] = float(delta.sum())
        sums["slower"] = float(np.sum(delta > 0))
    return sums


def added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Two such sums together."""
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


def decisions(outputs: Tensors) -> Array | None:
    """One decision a row, or None where the model decides nothing."""
    arrays = [_rows(array) for array in outputs.values()]
    for array in arrays:
        if array.dtype.kind in "iubO" and array.shape[1] == 1:
            return array[:, 0]
    for array in arrays:
        if array.dtype.kind == "f" and array.shape[1] > 1:
            return np.asarray(array.argmax(axis=1))
        if array.dtype.kind == "f" and array.size and bool(np.all((array >= 0) & (array <= 1))):
            return np.asarray(array[:, 0] >= 0.5)
    return None


def scores(outputs: Tensors) -> Array | None:
    """One number a row, or None where no output is a float."""
    for array in outputs.values():
        if array.dtype.kind == "f":
            return _rows(array)[:, -1].astype(np.float64)
    return None


def _rows(array: Array) -> Array:
    return array.reshape(len(array), -1) if len(array) else np.empty((0, 1), array.dtype)
