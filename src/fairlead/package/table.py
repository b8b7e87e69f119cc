"""CSV files as columns, typed by what they hold. No library but ``csv``."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contracts.errors import MalformedBody, SourceNotFound
from fairlead.contracts.types import DataType, Tensors, TensorSpec

_WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[+-]?(inf|nan|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)", re.IGNORECASE)
_LEADING_ZERO = re.compile(r"[+-]?0\d+")
_TRUTH = {"true": True, "false": False}


def read_csv(path: Path, types: Mapping[str, DataType] | None = None) -> Tensors:
    """Columns by name, each of shape [rows, 1], in the order of the file.

    A column is INT64, FP64, BOOL (true, false) or BYTES, whichever fits all its values; ``types`` overrules by name.
    Blanks are missing: NaN in FP64 (which whole numbers with blanks become), None in BYTES. Numbers with leading zeros
    (post codes, account numbers) are BYTES. Raises SourceNotFound, or MalformedBody that names line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            return from_rows(list(csv.reader(handle, strict=True)), types, str(path))
    except OSError as error:
        raise SourceNotFound(f"{path} cannot be read: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise MalformedBody(f"{path} is not a CSV file in UTF-8: {error}") from error


def from_rows(
    rows: Sequence[Sequence[str]], types: Mapping[str, DataType] | None = None, where: str = "CSV"
) -> Tensors:
    """Like ``read_csv``, from rows of texts; the first one has the names."""
    rows = [row for row in rows if row]
    if not rows:
        raise MalformedBody(f"{where} is empty; its first line must name the columns")
    names = [name.strip() for name in rows[0]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MalformedBody(f"{where} names the column {twice[0]!r} twice")
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise MalformedBody(f"{where}, line {line}: expected {len(names)} values, found {len(row)}")
    columns = zip(*rows[1:], strict=True) if len(rows) > 1 else iter([()] * len(names))
    wanted = types or {}
    return {name: column(list(values), wanted.get(name), name) for name, values in zip(names, columns, strict=True)}


def specs(columns: Tensors) -> tuple[TensorSpec, ...]:
    """One input for each array: a column where its shape is [rows, 1], a tensor with free rows otherwise."""
    return tuple(
        TensorSpec(name, DataType.of(array.dtype), (-1, *array.shape[1:]), column=array.shape[1:] == (1,))
        for name, array in columns.items()
    )


def column(values: Sequence[str], datatype: DataType | None = None, name: str = "") -> np.ndarray[Any, Any]:
    """One column, shape [rows, 1]. Raises MalformedBody for a value that is not of ``datatype``."""
    texts = [value.strip() for value in values]
    datatype = datatype or _datatype(texts)
    if datatype is DataType.BYTES:
        array = np.empty(len(texts), object)
        array[:] = [value if text else None for value, text in zip(values, texts, strict=True)]
        return array.reshape(-1, 1)
    parsed = [_parsed(text, datatype, line, name) for line, text in enumerate(texts, start=2)]
    return np.array(parsed, datatype.numpy).reshape(-1, 1)


def _datatype(texts: list[str]) -> DataType:
    filled = [text for text in texts if text]
    if filled and all(text.lower() in _TRUTH for text in filled):
        return DataType.BOOL if len(filled) == len(texts) else DataType.BYTES
    if not filled or any(_LEADING_ZERO.fullmatch(text) or not _NUMBER.fullmatch(text) for text in filled):
        return DataType.BYTES if filled else DataType.FP64
    whole = len(filled) == len(texts) and all(_WHOLE.fullmatch(text) for text in filled)
    return DataType.INT64 if whole else DataType.FP64


def _parsed(text: str, datatype: DataType, line: int, name: str) -> float | int | bool:
    try:
        if datatype is DataType.BOOL:
            return _TRUTH[text.lower()]
        if datatype.is_float:
            return float(text) if text else float("nan")
        return int(text)
    except (ValueError, KeyError):
        found = repr(text) if text else "a blank"
        raise MalformedBody(f"line {line}, column {name!r}: expected {datatype}, found {found}") from None
