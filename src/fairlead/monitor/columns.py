"""Tensors as named one-dimensional columns, and what their values are: numbers, texts, or missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

MOST_POSITIONS = 64
"""Positions of a tensor of several elements a row that are watched, in row-major order."""

INPUT, OUTPUT = "in.", "out."
"""What the names of features and outputs start with, as in ``EventStore.frame``."""


class Values(NamedTuple):
    """A column taken apart. ``numbers``: without NaN, infinities kept.  ``texts``: text to count.  Rows: all of it."""

    numbers: Array
    texts: Mapping[str, int]
    missing: int

    @property
    def rows(self) -> int:
        return len(self.numbers) + sum(self.texts.values()) + self.missing


_NOTHING = np.empty(0)


def columns_of(tensors: Mapping[str, Array], prefix: str = "") -> Iterator[tuple[str, Array]]:
    """``(name, values)``: shapes [n] and [n, 1] as ``NAME``; [n, ...] position by position as ``NAME[i]``."""
    for name, tensor in tensors.items():
        array = np.asarray(tensor)
        if array.ndim == 0:
            continue
        flat = array.reshape(len(array), -1) if array.size else array.reshape(0, 1)
        if flat.shape[1] == 1:
            yield f"{prefix}{name}", flat[:, 0]
            continue
        side_by_side = np.ascontiguousarray(flat[:, :MOST_POSITIONS].T)  # a column is read many times
        for place, column in enumerate(side_by_side):
            yield f"{prefix}{name}[{place}]", column


def values_of(column: Array) -> Values:
    """Take a column apart. None, NaN and NaT are missing; booleans are 0 and 1; anything strange is text."""
    kind = column.dtype.kind
    if kind == "f":
        nan = np.isnan(column)
        missing = int(np.count_nonzero(nan))
        return Values(_wide(column[~nan] if missing else column), {}, missing)
    if kind in "iub":
        return Values(column.astype(np.float64), {}, 0)
    return _of_objects(column.tolist())


def _wide(column: Array) -> Array:
    return column.astype(np.float32) if column.dtype.itemsize < 4 else column


def _of_objects(items: list[Any]) -> Values:
    try:
        found: Mapping[Any, int] = Counter(items)
    except TypeError:  # lists and such
        found = Counter(item if isinstance(item, str) else repr(item) for item in items)
    # Counter takes 1, True and 1.0 for one value, which they are.
    numbers: list[float] = []
    times: list[int] = []
    texts: dict[str, int] = {}
    missing = 0
    for item, count in found.items():
        if item is None or item != item:  # noqa: PLR0124 - NaN and NaT
            missing += count
        elif isinstance(item, int | float | np.integer | np.floating | np.bool_):
            numbers.append(_number(item))
            times.append(count)
        else:
            text = item if isinstance(item, str) else _text(item)
            texts[text] = texts.get(text, 0) + count
    return Values(np.repeat(numbers, times) if numbers else _NOTHING, texts, missing)


def _number(item: Any) -> float:
    try:
        return float(item)
    except OverflowError:
        return float("inf") if item > 0 else float("-inf")


def _text(item: Any) -> str:
    return item.decode(errors="replace") if isinstance(item, bytes) else str(item)
