"""Arrow columns to what a model takes, without a Python object for a number; cells that are no such thing are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fairlead.contracts.tables import Array, Cells, Need, Spoiled
from fairlead.contracts.types import DataType

_ODD = ("#N/A N/A", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN")
BLANKS = pa.array(
    ["", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>", "#N/A", "#NA", *_ODD]
)
"""Cells that pandas, and with it every protocol here that takes CSV, reads as missing."""

_NUMBERS = frozenset(
    kind.id
    for kind in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64()),
    )
)
"""Types whose values numpy reads where they lie."""
_WHOLE = r"^[+-]?[0-9]+$"
_NUMBER = r"(?i)^[+-]?(inf(inity)?|nan|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)$"
_TRUE, _FALSE = pa.array(["true", "1", "1.0"]), pa.array(["false", "0", "0.0"])

Bad = dict[int, str]
"""Index of a row to what is wrong with it."""


@dataclass
class Rows:
    """A block: see ``fairlead.contracts.tables.Block``. ``table``: what was read, for ``shown``."""

    rows: Array
    columns: Mapping[str, Cells]
    kept: Any
    spoiled: list[Spoiled] = field(default_factory=list)
    table: Any = None

    def shown(self, index: int) -> Any:
        return {
            name: column[index].as_py()
            for name, column in zip(self.table.column_names, self.table.columns, strict=True)
        }


def block(table: Any, rows: Array, columns: dict[str, Cells], kept: Any, bad: Bad, before: list[Spoiled]) -> Rows:
    """``table``, ``rows``, ``columns`` and ``kept`` without the rows that are bad. ``before``: spoiled already."""
    whole = Rows(rows, columns, kept, before, table)
    if not bad:
        return whole
    spoiled = [Spoiled(int(rows[index]), whole.shown(index), reason) for index, reason in bad.items()]
    good = np.ones(len(rows), bool)
    good[list(bad)] = False
    picked = {
        name: Cells(cells.values[good], None if cells.missing is None else cells.missing[good])
        for name, cells in columns.items()
    }
    mask = pa.array(good)
    kept = None if kept is None else kept.filter(mask)
    return Rows(rows[good], picked, kept, sorted(before + spoiled), table.filter(mask))


def datatype_of(kind: Any) -> DataType | None:
    """What a tensor of such values would be; None where there is none, or any."""
    if pa.types.is_dictionary(kind):
        return datatype_of(kind.value_type)
    if is_text(kind):
        return DataType.BYTES
    if pa.types.is_boolean(kind):
        return DataType.BOOL
    if pa.types.is_decimal(kind):
        return DataType.FP64
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return DataType.of(np.dtype(kind.to_pandas_dtype()))
    return None


def is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_text(kind: Any) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        or types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )  # fmt: skip


def typed(column: Any, need: Need, bad: Bad) -> Cells:
    """A column that has a type. ``column``: an Arrow array."""
    if column.type.id in _NUMBERS and not column.null_count:
        return Cells(column.to_numpy())
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_list(column.type):
        return _lists(column, need, bad)
    return _plain(column, need.datatype)


def parsed(column: Any, name: str, need: Need, bad: Bad) -> Cells:
    """A column of texts, as CSV has them."""
    if need.datatype is DataType.BYTES:
        missing = pc.is_in(column, value_set=BLANKS) if need.blanks else pc.equal(column, "")
        return Cells(_texts(pc.if_else(missing, None, column)))
    if need.datatype is DataType.BOOL:
        return _truths(column, name, need, bad)
    if need.datatype.is_float:
        try:
            return Cells(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False))
        except pa.ArrowInvalid:
            return _numbers(column, name, need, bad)
    if pc.all(pc.match_substring_regex(column, "^-?[0-9]{1,18}$")).as_py() is not False:
        return Cells(pc.cast(column, pa.int64()).to_numpy(zero_copy_only=False))
    return _numbers(column, name, need, bad)


def _plain(column: Any, datatype: DataType) -> Cells:
    kind = column.type
    if is_text(kind) or (pa.types.is_null(kind) and datatype is DataType.BYTES):
        return Cells(_texts(column))
    if pa.types.is_null(kind):
        column = pc.cast(column, pa.bool_() if datatype is DataType.BOOL else pa.float64())
    elif pa.types.is_decimal(kind):
        column = pc.cast(column, pa.float64())
    if not column.null_count:
        return Cells(column.to_numpy(zero_copy_only=False))
    if pa.types.is_floating(column.type):
        return Cells(column.to_numpy(zero_copy_only=False))
    if datatype.is_float:
        return Cells(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    missing = column.is_null().to_numpy(zero_copy_only=False)
    filled = column.fill_null(pa.scalar(0, column.type) if not pa.types.is_boolean(column.type) else False)
    return Cells(filled.to_numpy(zero_copy_only=False), missing)


def _texts(column: Any) -> Array:
    """Text as str; bytes that are not UTF-8 stay bytes."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        try:
            column = pc.cast(column, pa.large_string())
        except pa.ArrowInvalid:
            found = np.empty(len(column), object)
            found[:] = [_readable(value) for value in column.to_pylist()]
            return found
    return np.asarray(column.to_numpy(zero_copy_only=False), object)


def _readable(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _lists(column: Any, need: Need, bad: Bad) -> Cells:
    """Cells that are lists of one length, [rows, width]; the others are bad."""
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    present = lengths[lengths >= 0]
    width = need.width if need.width > 0 else int(present[0]) if len(present) else 0
    wrong = np.flatnonzero(lengths != width)
    for index in wrong.tolist():
        found = "nothing" if lengths[index] < 0 else f"{lengths[index]}"
        bad.setdefault(index, f"expected a list of {width} values, found {found}")
    flat = _plain(column.take(pa.array(np.flatnonzero(lengths == width))).flatten(), need.datatype)
    if flat.missing is not None:
        gaps = flat.missing.reshape(-1, width).any(axis=1)
        for index in np.flatnonzero(lengths == width)[gaps].tolist():
            bad.setdefault(index, f"a value of the list is missing, and {need.datatype.value} has no missing value")
    found_values = flat.values.reshape(-1, width)
    if not len(wrong):
        return Cells(found_values)
    values = np.zeros((len(column), width), flat.values.dtype)
    values[lengths == width] = found_values
    return Cells(values)


def _numbers(column: Any, name: str, need: Need, bad: Bad) -> Cells:
    """Texts of which some are blank, padded, or no number."""
    text = pc.utf8_trim_whitespace(column)
    blank = pc.is_in(text, value_set=BLANKS)
    number = pc.match_substring_regex(text, _NUMBER)
    _refuse(pc.and_not(pc.invert(blank), number), column, name, need, bad)
    good = pc.and_not(number, blank)
    floats = pc.cast(pc.if_else(good, text, None), pa.float64())
    if need.datatype.is_float:
        return Cells(floats.to_numpy(zero_copy_only=False))
    values = floats.fill_null(0.0).to_numpy(zero_copy_only=False)
    whole = pc.match_substring_regex(text, _WHOLE)
    unsigned = need.datatype is DataType.UINT64
    try:
        exact = pc.cast(pc.if_else(whole, pc.utf8_ltrim(text, "+"), "0"), pa.uint64() if unsigned else pa.int64())
        mask, ints = whole.to_numpy(zero_copy_only=False), exact.to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # some are beyond 64 bits, or below zero: compared as floats they are out of range
        mask, ints = np.zeros(len(column), bool), np.zeros(len(column), np.int64)
    broken = ~mask & (values != np.floor(values))
    broken |= ~mask & ~(np.abs(values) < 2.0**63) & good.to_numpy(zero_copy_only=False)
    for index in np.flatnonzero(broken).tolist():
        bad.setdefault(index, f"column {name!r}: expected {need.datatype.value}, found {column[index].as_py()!r}")
    with np.errstate(invalid="ignore"):
        rest = np.where(broken, 0, values).astype(ints.dtype)
    return Cells(np.where(mask, ints, rest), blank.to_numpy(zero_copy_only=False))


def _truths(column: Any, name: str, need: Need, bad: Bad) -> Cells:
    text = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    blank = pc.is_in(pc.utf8_trim_whitespace(column), value_set=BLANKS)
    true, false = pc.is_in(text, value_set=_TRUE), pc.is_in(text, value_set=_FALSE)
    _refuse(pc.invert(pc.or_(blank, pc.or_(true, false))), column, name, need, bad)
    return Cells(true.to_numpy(zero_copy_only=False), blank.to_numpy(zero_copy_only=False))


def _refuse(wrong: Any, column: Any, name: str, need: Need, bad: Bad) -> None:
    for index in np.flatnonzero(wrong.to_numpy(zero_copy_only=False)).tolist():
        found = str(column[index].as_py())
        shown = repr(found if len(found) <= 40 else found[:40] + "...")
        bad.setdefault(index, f"column {name!r}: expected {need.datatype.value}, found {shown}")
