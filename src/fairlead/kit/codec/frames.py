"""What a Python user has in hand -> tensors: data frames, dicts of columns, lists of rows, plain arrays.

Data frames are recognised by what they can do; pandas and polars are never imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import InvalidTensor
from fairlead.contracts.types import DataType, Tensors
from fairlead.kit.codec.tensors import missing

Array = np.ndarray[Any, Any]
Inputs = Sequence[Mapping[str, Any]]
"""``inputs`` of V2 model metadata: name, datatype, shape."""

_NOT_AVAILABLE: Final = ("NAType", "NaTType")


@dataclass(frozen=True, slots=True)
class Table:
    """``as_json``: tensors with missing strings, which raw bytes cannot hold.  ``datatypes``: where a dtype does not
    name it (BF16)."""

    arrays: Tensors
    as_json: frozenset[str] = frozenset()
    datatypes: dict[str, DataType] = field(default_factory=dict)


def to_tensors(data: Any, inputs: Inputs) -> Table:
    """``data`` as the tensors that a model with these ``inputs`` takes.

    The server judges names, shapes and values; here only what cannot be sent at all is refused, with InvalidTensor.
    """
    wanted = {item["name"]: item for item in inputs}
    arrays: Tensors = {}
    as_json = set()
    datatypes: dict[str, DataType] = {}
    for name, values in _named(data, inputs).items():
        array = _array(values, name)
        item = wanted.get(name)
        if item is not None:
            array = _as_wanted(array, item)
            if item["datatype"] == DataType.BF16 and array.dtype == np.float32:
                datatypes[name] = DataType.BF16
        if array.dtype == object and any(map(missing, array.ravel().tolist())):
            as_json.add(name)
        arrays[name] = array
    return Table(arrays, frozenset(as_json), datatypes)


def _named(data: Any, inputs: Inputs) -> Mapping[str, Any]:
    if _is_frame(data):
        if len(inputs) == 1 and not _is_column(inputs[0]) and list(data.columns) != [inputs[0]["name"]]:
            return {inputs[0]["name"]: data.to_numpy()}
        return {str(name): data[name].to_numpy() for name in data.columns}
    if isinstance(data, Mapping):
        if data and not any(_is_sequence(values) for values in data.values()):
            return {name: [value] for name, value in data.items()}
        return data
    if isinstance(data, list) and data and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        return {name: [row.get(name) for row in data] for name in names}
    if len(inputs) != 1:
        names_text = ", ".join(item["name"] for item in inputs)
        raise InvalidTensor(f"the model takes several inputs ({names_text}); send a DataFrame or a dict by name")
    return {inputs[0]["name"]: data}


def _is_frame(data: Any) -> bool:
    return hasattr(data, "columns") and hasattr(data, "to_numpy")


def _is_column(item: Mapping[str, Any]) -> bool:
    return list(item["shape"]) == [-1, 1]


def _is_sequence(values: Any) -> bool:
    return isinstance(values, list | tuple | np.ndarray) or hasattr(values, "to_numpy")


def _array(values: Any, name: str) -> Array:
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    try:
        array = np.asarray(values)
    except ValueError:
        raise InvalidTensor(f"tensor {name!r}: rows have different lengths (ragged)") from None
    if array.dtype.kind == "M":
        return _times(array)
    if array.dtype.kind == "U" and not isinstance(values, np.ndarray):
        array = np.array(values, object)  # numpy made strings of what was mixed: look at the values themselves
    return _objects(array, name) if array.dtype == object else array


def _times(array: Array) -> Array:
    """ISO 8601 strings; a time that is none is a missing string."""
    result: Array = np.datetime_as_string(array).astype(object)
    result[np.isnat(array)] = None
    return result


def _objects(array: Array, name: str) -> Array:
    """Objects are strings, or numbers with gaps; numbers become floats with NaN, or what they are without gaps."""
    flat = [None if type(value).__name__ in _NOT_AVAILABLE else value for value in array.ravel().tolist()]
    there = [value for value in flat if not missing(value)]
    gaps = len(there) < len(flat)
    if not there or all(isinstance(value, str | bytes) for value in there):
        result = np.empty(len(flat), object)
        result[:] = flat
    elif all(isinstance(value, bool | np.bool_) for value in there) and not gaps:
        result = np.array(flat, bool)
    elif all(isinstance(value, int | float | np.number) for value in there):
        result = np.array([np.nan if missing(value) else value for value in flat], float) if gaps else np.array(flat)
    else:
        kinds = sorted({type(value).__name__ for value in there})
        raise InvalidTensor(f"tensor {name!r}: expected strings or numbers, found {' and '.join(kinds)} mixed")
    return result.reshape(array.shape)


def _as_wanted(array: Array, item: Mapping[str, Any]) -> Array:
    """In the model's own float type where that loses no range, and [n] as the column that it is."""
    kind = DataType(item["datatype"])
    if array.dtype.kind == "f" and kind.is_float and array.dtype != kind.numpy:
        with np.errstate(over="ignore"):
            narrow = array.astype(kind.numpy)
        if np.array_equal(np.isfinite(narrow), np.isfinite(array)):
            array = narrow
    if array.dtype == object and kind.is_float and all(map(missing, array.ravel().tolist())):
        array = np.full(array.shape, np.nan, kind.numpy)
    if array.ndim == 1 and _is_column(item):
        array = array.reshape(-1, 1)
    return array
