"""Rows and columns of JSON or CSV -> tensors by the signature, and outputs -> predictions.

For the protocols that send tables without datatypes (KServe V1, MLflow). Coercions are those that MLflow's own
server makes and that lose nothing: integers and booleans to floats, whole floats to integers, 0 and 1 to booleans,
numbers and booleans to strings. A number sent as a string is refused; in CSV, where all is text, it is parsed.

Missing is: null, a key that a row lacks, a blank string for a number, and an empty string where the signature maps
missing strings. What it becomes says ``fairlead.serve.validate``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import InvalidTensor, MalformedBody
from fairlead.contracts.types import DataType, Reply, Signature, Tensors
from fairlead.kit.codec import tensors
from fairlead.kit.codec.tensors import Null, json_kind, missing
from fairlead.serve.validate import Plan, Slot, listed, plan_of

Array = np.ndarray[Any, Any]

_PANDAS: Final = ("NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>", "#N/A", "#NA")
BLANKS: Final = frozenset(("", *_PANDAS, "#N/A N/A", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN"))
"""Cells of a CSV file that pandas, and with it MLflow's server, reads as missing."""

_ABSENT: Final = None


def from_rows(rows: Any, signature: Signature, field: str) -> Tensors:
    """A list of rows: each an object by name, a list by position, or one value where the model has one input.

    ``field`` is the name of the request's field, for messages. Raises InvalidTensor.
    """
    if not isinstance(rows, list):
        raise MalformedBody(f"{field} is a list of rows, found {json_kind(rows)}")
    if not rows:
        return no_rows(signature)
    if isinstance(rows[0], dict):
        return from_columns(_transpose(rows, field), signature)
    plan = plan_of(signature)
    if not signature.tabular:
        return _bare(rows, plan, field)
    if plan.only is not None and not isinstance(rows[0], list):
        return _tensors({plan.only.name: rows}, plan)
    return _tensors(by_position(rows, list(plan.slots), field), plan)


def from_columns(columns: Mapping[str, Any], signature: Signature) -> Tensors:
    """Name -> values of all rows. A table may also give one plain value a column: that is one row."""
    plan = plan_of(signature)
    if signature.tabular and columns and not any(isinstance(values, list) for values in columns.values()):
        columns = {name: [value] for name, value in columns.items()}
    return _tensors(columns, plan)


def from_matrix(rows: Any, names: Any, signature: Signature, field: str) -> Tensors:
    """A data frame as rows of cells and its column names; without names the columns are the inputs in order."""
    plan = plan_of(signature)
    if not (isinstance(rows, list) and all(isinstance(row, list) for row in rows)):
        raise MalformedBody(f"{field} is a list of rows, each a list of cells")
    if names is not None and not isinstance(names, list):
        raise MalformedBody(f"{field}: columns is a list of names, found {json_kind(names)}")
    if not rows and names is None:
        return no_rows(signature)
    if not signature.tabular and plan.only is not None and (names is None or names != [plan.only.name]):
        return _bare(rows, plan, field)
    return _tensors(by_position(rows, list(plan.slots) if names is None else names, field), plan)


def from_csv(text: str, signature: Signature) -> Tensors:
    """CSV with a header line. Cells of number columns are parsed; what pandas reads as missing is missing."""
    try:
        lines = [line for line in csv.reader(io.StringIO(text), strict=True) if line]
    except csv.Error as error:
        raise MalformedBody(f"CSV is malformed: {error}") from None
    if not lines:
        raise InvalidTensor("the CSV is empty; send a header line and rows")
    header, rows = lines[0], lines[1:]
    plan = plan_of(signature)
    if not signature.tabular and plan.only is not None:
        slot = plan.only
        cells = [[_parse(cell, slot, number) for cell in row] for number, row in enumerate(rows)]
        return _bare(cells, plan, "the CSV")
    columns = by_position(rows, header, "the CSV")
    return _tensors({name: _parsed(cells, plan, name) for name, cells in columns.items()}, plan)


def predictions(reply: Reply, signature: Signature) -> Any:
    """What pyfunc would have returned, as JSON values: one output a list, several a record for each row."""
    names = [name for name in signature.prediction if name in reply.outputs] or list(reply.outputs)
    if len(names) == 1:
        return _plain(names[0], reply.outputs[names[0]])
    return _records(reply, names, signature)


def records(reply: Reply, signature: Signature) -> Any:
    """All outputs, a record for each row; one record of the whole answer where the model knows no rows."""
    return _records(reply, list(reply.outputs), signature)


def _records(reply: Reply, names: list[str], signature: Signature) -> Any:
    columns = [_plain(name, reply.outputs[name]) for name in names]
    if not signature.batched:
        return dict(zip(names, columns, strict=True))
    rows = [_scalars(reply.outputs[name], column) for name, column in zip(names, columns, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*rows, strict=True)]


def by_position(rows: Sequence[Sequence[Any]], names: Any, field: str) -> dict[str, list[Any]]:
    """Rows of cells -> columns. Raises InvalidTensor for a row of another length, or a name that comes twice."""
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise MalformedBody(f"{field}: columns is a list of names")
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise InvalidTensor(f"{field}: column {twice!r} comes twice")
    width = len(names)
    for index, row in enumerate(rows):
        found = len(row) if isinstance(row, list) else 1
        if found != width:
            raise InvalidTensor(
                f"{field}: row {index} has {found} values, expected {width} ({listed(dict.fromkeys(names))})"
            )
    if not rows:
        return {name: [] for name in names}
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def no_rows(signature: Signature) -> Tensors:
    """A call of zero rows."""
    plan = plan_of(signature)
    return {name: np.empty((0, *(max(size, 0) for size in slot.tail)), slot.dtype) for name, slot in plan.slots.items()}


def _transpose(rows: list[Any], field: str) -> dict[str, list[Any]]:
    """Records -> columns, in one pass where every row has the keys of the first."""
    names = rows[0].keys()
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise MalformedBody(f"{field}: row {index} is {json_kind(row)}, the rows before it are objects")
        if row.keys() != names:
            names = dict.fromkeys([*names, *row])
    return {name: [row.get(name, _ABSENT) for row in rows] for name in names}


def _bare(values: list[Any], plan: Plan, field: str) -> Tensors:
    """Rows without names, for the one tensor that the model takes."""
    if not values:
        return no_rows(plan.signature)
    if plan.only is None:
        raise InvalidTensor(f"{field}: the model takes several inputs ({listed(plan.slots)}); send each by its name")
    return _tensors({plan.only.name: values}, plan)


def _tensors(columns: Mapping[str, Any], plan: Plan) -> Tensors:
    given: Tensors = {}
    for name, values in columns.items():
        slot = plan.slots.get(name)
        if slot is None:
            raise plan.unknown(name)
        if slot.spec.column:
            array = _column(values, slot)
        else:
            array = tensors.from_values(values, slot.datatype, name, slot.null)
        given[name] = slot.admit(array)
    return plan.finish(given)


def _column(values: Any, slot: Slot) -> Array:
    """The cells of one column, [n, 1]."""
    if not isinstance(values, list):
        raise InvalidTensor(f"tensor {slot.name!r}: expected a list of values, found {json_kind(values)}")
    kinds = set(map(type, values))
    if kinds == {list} and all(len(cell) == 1 for cell in values):
        values = [cell[0] for cell in values]
        kinds = set(map(type, values))
    if not kinds <= _AS_THEY_ARE[slot.datatype] or not tensors.in_range(values, slot.datatype):
        values = [_cell(value, slot, row) for row, value in enumerate(values)]
    return tensors.build(values, slot.datatype, (len(values), 1), slot.name)


_AS_THEY_ARE: Final[dict[DataType, set[type]]] = {
    **{name: {float, int, bool} if name.is_float else {int, bool} for name in DataType},
    DataType.BOOL: {bool},
    DataType.BYTES: {str},
}


def _cell(value: Any, slot: Slot, row: int) -> Any:
    """One cell as the column's datatype wants it."""
    kind = slot.datatype
    if missing(value) or (kind is not DataType.BYTES and isinstance(value, str) and not value.strip()):
        if slot.null is Null.REFUSE:
            raise InvalidTensor(
                f"tensor {slot.name!r}: row {row} has no value, and the model takes no missing value there"
            )
        return slot.null
    if kind is DataType.BYTES and isinstance(value, str | bool | int | float):
        return str(value)
    if kind is DataType.BOOL and (isinstance(value, bool) or value in (0, 1)):
        return bool(value)
    if isinstance(value, bool | int | float) and kind not in (DataType.BYTES, DataType.BOOL):
        if kind.is_float:
            if tensors.in_range([value], kind):
                return value
            raise InvalidTensor(f"tensor {slot.name!r}: {value!r} in row {row} is out of range for {kind.value}")
        if not isinstance(value, float) or value.is_integer():
            return int(value)
    raise InvalidTensor(f"tensor {slot.name!r}: expected {kind.value}, found {json_kind(value)} in row {row}")


def _parsed(cells: list[str], plan: Plan, name: str) -> list[Any]:
    slot = plan.slots.get(name)
    if slot is None:
        raise plan.unknown(name)
    return [_parse(cell, slot, row) for row, cell in enumerate(cells)]


def _parse(cell: str, slot: Slot, row: int) -> Any:
    """One CSV cell."""
    kind = slot.datatype
    text = cell.strip()
    if kind is DataType.BYTES:
        if cell == "" or (cell in BLANKS and slot.null is not Null.REFUSE):
            return None
        return cell
    if text in BLANKS:
        return None
    try:
        if kind is DataType.BOOL:
            return _BOOLEANS[text.lower()]
        return _number(text, kind)
    except (KeyError, ValueError):
        raise InvalidTensor(
            f"tensor {slot.name!r}: expected {kind.value}, found {json_kind(cell)} in row {row}"
        ) from None


def _number(text: str, kind: DataType) -> float | int:
    """Raises ValueError. Python alone would read 1_000 and the digits of every script."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return float(text) if kind.is_float or not _INTEGER.fullmatch(text) else int(text)


_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?(inf(inity)?|nan|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)", re.IGNORECASE)
_BOOLEANS: Final = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def _plain(name: str, array: Array) -> Any:
    if array.dtype.kind not in "OS":
        return array.tolist()
    flat = np.empty(array.size, object)
    flat[:] = tensors.to_json(array, name)
    return flat.reshape(array.shape).tolist()


def _scalars(array: Array, column: Any) -> Any:
    """A [n, 1] output is a plain column of a data frame."""
    return [cell[0] for cell in column] if array.ndim == 2 and array.shape[1] == 1 else column
