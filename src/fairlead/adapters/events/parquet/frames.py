"""Arrow tables of several schemas to one, and to numpy."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fairlead.adapters.events.parquet.tables import BASE
from fairlead.contracts.events import Array

TEXT = pa.string()
_EXACT = 2**53


def ordered(names: Iterable[str]) -> list[str]:
    """The base columns, features, outputs, and the rest; each as first seen."""
    seen = dict.fromkeys((*BASE, *names))
    return sorted(
        seen, key=lambda name: 0 if name in BASE else 1 if name[:3] == "in." else 2 if name[:4] == "out." else 3
    )


def unified(schemas: Iterable[Any]) -> dict[str, Any]:
    """Column name to the type that holds what every schema has under that name."""
    found: dict[str, list[Any]] = {name: [kind] for name, kind in BASE.items()}
    for schema in schemas:
        for field in schema:
            kinds = found.setdefault(field.name, [])
            if field.type not in kinds:
                kinds.append(field.type)
    return {name: functools.reduce(wider, found[name]) for name in ordered(found)}


def wider(one: Any, other: Any) -> Any:
    """Numbers by numpy's rules, text with bytes to bytes, lists by their elements; everything else becomes text."""
    if one == other:
        return one
    if _number(one) and _number(other):
        return pa.from_numpy_dtype(np.result_type(one.to_pandas_dtype(), other.to_pandas_dtype()))
    if _textual(one) and _textual(other):
        return pa.binary()
    if pa.types.is_list(one) and pa.types.is_list(other):
        inner = wider(one.value_type, other.value_type)
        mixed = inner == TEXT and TEXT not in (one.value_type, other.value_type)
        return TEXT if mixed or _textual(one.value_type) != _textual(other.value_type) else pa.list_(inner)
    return TEXT


def cast(table: Any, kinds: Mapping[str, Any]) -> Any:
    """The table with exactly these columns; null where it had none."""
    found = []
    for name, kind in kinds.items():
        if name in table.column_names:
            found.append(_cast(table[name], kind))
        else:
            found.append(pa.nulls(table.num_rows, kind))
    return pa.table(found, names=list(kinds))


def _cast(values: Any, kind: Any) -> Any:
    if values.type == kind:
        return values
    if pa.types.is_binary(kind) and not _textual(values.type):
        return _cast(_cast(values, TEXT), kind)
    if kind != TEXT:
        return pc.cast(values, kind, safe=False)
    if _number(values.type):
        return pc.cast(values, kind)
    return pa.chunked_array([pa.array([_text(value) for value in values.to_pylist()], TEXT)])


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return json.dumps(value, default=_text)


def arrays(table: Any) -> dict[str, Array]:
    """Column name to numpy array. Two columns of one name: the second is called ``NAME_2``."""
    found: dict[str, Array] = {}
    for name, values in zip(table.column_names, table.columns, strict=True):
        free, count = name, 1
        while free in found:
            count += 1
            free = f"{name}_{count}"
        found[free] = to_numpy(values)
    return found


def to_numpy(values: Any) -> Array:
    """Null is NaN in a column of numbers and None elsewhere; bytes that are UTF-8 are str."""
    kind = values.type
    if pa.types.is_decimal(kind):  # what DuckDB's sums of integers are
        whole = kind.scale == 0 and not values.null_count
        try:
            return to_numpy(pc.cast(values, pa.int64() if whole else pa.float64()))
        except pa.ArrowInvalid:
            return np.array([None if value is None else float(value) for value in values.to_pylist()], np.float64)
    if pa.types.is_int64(kind) or pa.types.is_uint64(kind):
        if values.null_count and (pc.max(pc.abs(values)).as_py() or 0) > _EXACT:
            return _objects(values.to_pylist())
        return np.asarray(values.to_numpy(zero_copy_only=False))
    if pa.types.is_boolean(kind) and values.null_count:
        return _objects(values.to_pylist())
    if pa.types.is_binary(kind):
        return _objects([_readable(value) for value in values.to_pylist()])
    if pa.types.is_nested(kind):
        return _objects([_readable(value) for value in values.to_pylist()])
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _readable(value: Any) -> Any:
    if isinstance(value, list):
        return [_readable(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def _objects(values: Sequence[Any]) -> Array:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _textual(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))
