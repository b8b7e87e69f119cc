"""Tables as numpy columns, whoever made them: a mapping of arrays, or a data frame (known by its shape)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fairlead.contracts.errors import InvalidTensor

Array = np.ndarray[Any, Any]
Columns = dict[str, Array]
"""Column name to values, rows on axis 0."""

_SECONDS_END = 1e10
_CLOCK = (1e12, 1e13)
NUMBER, TEXT, TIME = "number", "text", "time"


def columns(table: Any) -> Columns:
    """The columns of ``table``, arrays of shape [rows] ([rows, width] for a matrix).

    ``table``: a mapping of names to arrays, or a data frame. Raises InvalidTensor for anything else and for columns of
    different lengths.
    """
    if isinstance(table, Mapping):
        found = {str(name): _timed(_flat(np.asarray(values))) for name, values in table.items()}
    elif hasattr(table, "columns") and hasattr(table, "to_numpy"):
        found = {str(name): _plain(table[name]) for name in table.columns}
    else:
        raise InvalidTensor(f"a table is a data frame or a mapping of names to arrays, not a {type(table).__name__}")
    lengths = {name: len(array) for name, array in found.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidTensor(f"the columns of a table are equally long; here they have {lengths}")
    return found


def rows_of(table: Columns) -> int:
    return len(next(iter(table.values()))) if table else 0


def joined(first: Columns, second: Columns) -> Columns:
    """The rows of both, for columns that both have."""
    return {name: np.concatenate([array, second[name]]) for name, array in first.items() if name in second}


def kind_of(array: Array) -> str:
    """``number`` (booleans too), ``text`` or ``time``. Objects that are all numbers or missing are numbers."""
    if array.dtype.kind in "biuf":
        return NUMBER
    if array.dtype.kind in "mM":
        return TIME
    values = array.reshape(-1)[~missing(array).reshape(-1)]
    return NUMBER if len(values) and all(isinstance(one, int | float | np.number) for one in values) else TEXT


def missing(array: Array) -> Array:
    """Which values are NaN, None or no time."""
    if array.dtype.kind in "biu":
        return np.zeros(array.shape, bool)
    found: Array = array != array  # noqa: PLR0124 - NaN differs from itself, in object arrays too
    if array.dtype.kind == "O":
        found = np.asarray(found | (array == None), bool)  # noqa: E711 - element by element
    return found


def numbers(array: Array) -> Array:
    """As floats; what is missing is NaN. Times become seconds."""
    if array.dtype.kind == "O":
        return np.where(missing(array), np.nan, array).astype(float)
    if array.dtype.kind in "mM":
        seconds = array.astype("datetime64[us]" if array.dtype.kind == "M" else "timedelta64[us]").astype(np.int64)
        return np.where(missing(array), np.nan, seconds / 1e6)
    return array.astype(float)


def clock_ms(array: Array) -> Array | None:
    """Unix milliseconds [rows] of times, or of numbers that are Unix seconds or milliseconds of 2001 to 2286.

    None for anything else, and where a time is missing: what orders the rows need not be a clock.
    """
    if array.dtype.kind != "M" and kind_of(array) != NUMBER:
        return None
    values = numbers(array).reshape(-1)
    values = values * 1000 if array.dtype.kind == "M" or (values < _SECONDS_END).all() else values
    known = (
        len(values) > 0 and bool(np.isfinite(values).all()) and _CLOCK[0] <= values.min() and values.max() < _CLOCK[1]
    )
    return values.astype(np.int64) if known else None


def digest(*tables: Columns) -> str:
    """SHA-256 (hex) over names, types and values, in order."""
    whole = hashlib.sha256()
    for table in tables:
        for name, array in table.items():
            whole.update(f"{name}\n{array.dtype.kind}\n{array.shape}\n".encode())
            if array.dtype.kind == "O":
                whole.update("\0".join(map(repr, array.reshape(-1).tolist())).encode("utf-8", "surrogatepass"))
            else:
                whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def _flat(array: Array) -> Array:
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _plain(series: Any) -> Array:
    """A frame's own kinds of text and category become objects, its times those of UTC."""
    if getattr(series.dtype, "tz", None) is not None:
        series = series.dt.tz_convert(None)
    array = np.asarray(series)
    if array.dtype.kind in "OUS":
        holes = np.asarray(series.isna(), bool)
        array = array.astype(object)
        array[holes] = None
    return _timed(array)


def _timed(array: Array) -> Array:
    """Times as objects become ``datetime64`` in UTC; one without a zone is taken for UTC."""
    if array.dtype.kind != "O" or array.ndim != 1:
        return array
    holes = missing(array)
    values = array[~holes].tolist()
    if not values or not all(isinstance(one, datetime) for one in values):
        return array
    found = np.full(len(array), "NaT", "datetime64[us]")
    found[~holes] = [one.astimezone(UTC).replace(tzinfo=None) if one.tzinfo else one for one in values]
    return found
