"""Values that hold for some rows of a call, and what is made of several. Pure.

``at``: the rows for which a value holds, increasing; None for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fairlead.contracts.errors import ModelFailed
from fairlead.contracts.graph import FIRST, MEAN, VOTE

Array = np.ndarray[Any, Any]
Rows = np.ndarray[Any, np.dtype[np.intp]]


class Value(NamedTuple):
    """``array``: a row for each of ``at``."""

    array: Array
    at: Rows | None = None


def common(rows: Sequence[Rows | None]) -> Rows | None:
    """The rows that are in all of them."""
    found: Rows | None = None
    for at in rows:
        if at is not None:
            found = at if found is None else np.intersect1d(found, at, assume_unique=True)
    return found


def others(at: Rows | None, total: int) -> Rows:
    """The rows that are not in it."""
    if at is None:
        return np.empty(0, np.intp)
    return np.setdiff1d(np.arange(total), at, assume_unique=True)


def pick(value: Value, at: Rows | None) -> Array:
    """The rows ``at``, all of which it has."""
    if at is value.at:
        return value.array
    if at is None or (value.at is not None and len(at) == len(value.at)):
        return value.array
    return value.array[at if value.at is None else np.searchsorted(value.at, at)]


def combined(how: str, values: Sequence[Value], weights: Sequence[float], total: int) -> Value:
    """One value of several. Raises ModelFailed where their shapes do not fit together."""
    if how == FIRST:
        return first(values, total)
    arrays = [value.array for value in values]
    if how == MEAN:
        return Value(mean(arrays, weights))
    if how == VOTE:
        return Value(vote(arrays, weights))
    return Value(stack(arrays))


def mean(arrays: Sequence[Array], weights: Sequence[float] = ()) -> Array:
    """Element by element, weighed, in the datatype of the first."""
    _alike(arrays)
    total = sum(
        array.astype(np.float64) * weight for array, weight in zip(arrays, _weights(arrays, weights), strict=True)
    )
    return np.asarray(total / sum(_weights(arrays, weights))).astype(arrays[0].dtype)


def vote(arrays: Sequence[Array], weights: Sequence[float] = ()) -> Array:
    """Element by element the label with the most weight behind it; of equals the one that an earlier array says."""
    _alike(arrays)
    behind = np.stack(
        [
            sum(
                np.asarray(mine == other, np.float64) * weight
                for other, weight in zip(arrays, _weights(arrays, weights), strict=True)
            )
            for mine in arrays
        ]
    )
    winner = (behind >= behind.max(axis=0) - 1e-9).argmax(axis=0)  # sums of weights differ in their last bits
    result: Array = arrays[0].copy()
    for index, array in enumerate(arrays[1:], start=1):
        result[winner == index] = array[winner == index]
    return result


def stack(arrays: Sequence[Array]) -> Array:
    """Side by side: a value without columns is one column."""
    columns = [array[:, None] if array.ndim == 1 else array for array in arrays]
    if len({array.shape[0] for array in columns}) > 1:
        raise ModelFailed(f"values of {sorted({array.shape[0] for array in columns})} rows cannot stand side by side")
    return np.concatenate(columns, axis=1)


def first(values: Sequence[Value], total: int) -> Value:
    """Row by row the first that is there."""
    _alike([value.array[:0] for value in values])
    if values[0].at is None:
        return values[0]
    known = np.zeros(total, bool)
    result = np.empty((total, *values[0].array.shape[1:]), values[0].array.dtype)
    for value in values:
        at = np.arange(total) if value.at is None else value.at
        fresh = ~known[at]
        result[at[fresh]] = value.array[fresh]
        known[at] = True
    if known.all():
        return Value(result)
    at = np.flatnonzero(known)
    return Value(result[at], at)


def _weights(arrays: Sequence[Array], weights: Sequence[float]) -> Sequence[float]:
    return weights or [1.0] * len(arrays)


def _alike(arrays: Sequence[Array]) -> None:
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ModelFailed(f"values of the shapes {sorted(map(list, shapes))} cannot be combined: make them alike")
