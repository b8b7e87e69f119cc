"""Outputs of a model as columns of a file: nested in Parquet and JSON, flat in CSV."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fairlead.adapters.tables.columns import is_list
from fairlead.contracts.tables import ROW, Array, Layout, Output
from fairlead.contracts.types import DataType, Tensors

RAW: Final = {b"fairlead": b"json"}
"""Marks a kept column whose texts are JSON values."""


def kept_schema(layout: Layout) -> Any:
    return pa.ipc.read_schema(pa.py_buffer(layout.kept)) if layout.kept else pa.schema([])


def nested(layout: Layout, rows: Array, outputs: Tensors, kept: Any) -> Any:
    """The table with lists for what has more than one value a row; kept columns as they are, JSON as text."""
    arrays = [pa.array(rows, pa.int64())]
    names = [ROW]
    for output in layout.outputs:
        arrays.append(_tensor(outputs[output.name], output))
        names.append(output.column)
    for name, field in zip(layout.names, kept_schema(layout), strict=True):
        column = _column(kept, field.name)
        arrays.append(_unquoted(column) if field.metadata == RAW else column)
        names.append(name)
    return pa.table(arrays, names=names)


def flat(layout: Layout, rows: Array, outputs: Tensors, kept: Any) -> Any:
    """The same for CSV: ``NAME_0``, ``NAME_1``, ... for a vector of known length, JSON for everything longer."""
    whole = nested(layout, rows, outputs, kept)
    arrays, names = [], []
    shapes = {output.column: (output, outputs[output.name]) for output in layout.outputs}
    for name, column in zip(whole.column_names, whole.columns, strict=True):
        output, array = shapes.get(name, (None, None))
        if output is not None and array is not None and len(output.tail) == 1 and output.tail[0] >= 0:
            for at in range(output.tail[0]):
                cells = array[:, at] if output.tail[0] > 1 else array.reshape(-1)
                arrays.append(_values(cells, output.datatype))
                names.append(f"{name}_{at}" if output.tail[0] > 1 else name)
        else:
            arrays.append(_text(column) if _opaque(column.type) else column)
            names.append(name)
    return pa.table(arrays, names=names)


def listed(layout: Layout, rows: Array, outputs: Tensors, kept: Any) -> dict[str, list[Any]]:
    """The same for JSON Lines, as Python values."""
    columns: dict[str, list[Any]] = {ROW: rows.tolist()}
    for output in layout.outputs:
        array = outputs[output.name]
        if output.datatype is DataType.BYTES:
            columns[output.column] = _tensor(array, output).to_pylist()
        else:
            columns[output.column] = (array.reshape(-1) if _single(output) else array).tolist()
    for name, field in zip(layout.names, kept_schema(layout), strict=True):
        values = _column(kept, field.name).to_pylist()
        if field.metadata == RAW:
            values = [None if value is None else msgspec.Raw(value.encode()) for value in values]
        columns[name] = values
    return columns


def no_outputs(layout: Layout) -> Tensors:
    """What the model gives for no rows."""
    return {
        output.name: np.empty((0, *(max(0, size) for size in output.tail)), output.datatype.numpy)
        for output in layout.outputs
    }


def no_kept(layout: Layout) -> Any:
    return kept_schema(layout).empty_table() if layout.kept else None


def _single(output: Output) -> bool:
    return output.tail == (1,)


def _tensor(array: Array, output: Output) -> Any:
    """Rows as cells: one value, or lists within lists."""
    if array.ndim <= 1 or _single(output):
        return _values(array.reshape(-1), output.datatype)
    column = _values(array.reshape(-1), output.datatype)
    for axis in range(array.ndim - 1, 0, -1):
        count, width = int(np.prod(array.shape[:axis])), array.shape[axis]
        offsets = np.arange(count + 1, dtype=np.int64) * width
        small = offsets[-1] < 2**31
        kind = pa.ListArray if small else pa.LargeListArray
        column = kind.from_arrays(pa.array(offsets, pa.int32() if small else pa.int64()), column)
    return column


def _values(array: Array, datatype: DataType) -> Any:
    if datatype is DataType.BYTES or array.dtype.kind in "OUS":
        return pa.array([_shown(value) for value in array.tolist()], pa.string())
    wanted = np.dtype(np.float32) if datatype is DataType.FP16 else datatype.numpy
    return pa.array(np.ascontiguousarray(array, wanted))


def _shown(value: Any) -> str | None:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return None
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _column(kept: Any, name: str) -> Any:
    column = kept[name]
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _unquoted(column: Any) -> Any:
    """Texts without their quotes, null as null; every other JSON value as it is written."""
    return pa.array([_plain(text) for text in column.to_pylist()], pa.string())


def _plain(text: str | None) -> str | None:
    if text is None or text == "null":
        return None
    return str(json.loads(text)) if text[:1] == '"' else text


def _opaque(kind: Any) -> bool:
    """What a cell of CSV cannot hold as it is."""
    nests = is_list(kind) or pa.types.is_nested(kind)
    return bool(nests or pa.types.is_binary(kind) or pa.types.is_dictionary(kind))


def _text(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        return pc.cast(column, column.type.value_type)
    return pa.array(
        [None if value is None else msgspec.json.encode(value).decode() for value in column.to_pylist()], pa.string()
    )
