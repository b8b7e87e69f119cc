"""JSON Lines: one object a line; UTF-8, also gzipped."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.json as pajson

from fairlead.adapters.tables import bucket, text
from fairlead.adapters.tables.columns import Bad, Rows, block, is_list, typed
from fairlead.adapters.tables.writing import RAW, listed
from fairlead.contracts.errors import MalformedBody
from fairlead.contracts.tables import Array, Cells, Field, Found, Layout, Need, Piece, Spoiled, Wanted, Writer
from fairlead.contracts.types import DataType, Tensors

_SAMPLE = 100
"""Rows that say which columns there are."""
_DECODE = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_OBJECT = msgspec.json.Decoder(dict[str, Any]).decode
_ANY = msgspec.json.Decoder().decode
_ARROW = {DataType.BOOL: pa.bool_(), DataType.BYTES: pa.string()}


class JsonTables:
    """Entry point ``jsonl``. A key that a row lacks is missing there; what is kept stays the JSON that it was."""

    def find(self, url: str) -> list[Found]:
        return bucket.find(url, (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"))

    def fields(self, file: Found) -> tuple[Field, ...]:
        seen: dict[str, bool] = {}
        with text.opened(file) as (stream, _):
            text.first(stream)
            for line in islice((line for line in stream if line.strip()), _SAMPLE):
                try:
                    row = _DECODE(line)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue
                for name, value in row.items():
                    seen[name] = seen.get(name, False) or bytes(value)[:1] == b"["
        if not seen:
            raise MalformedBody(f"{file.path}: none of its first lines is a JSON object")
        return tuple(Field(name, nested=nested) for name, nested in seen.items())

    def kept(self, file: Found, columns: Sequence[str]) -> bytes:  # noqa: ARG002 - the contract
        return bytes(pa.schema([pa.field(name, pa.string(), metadata=RAW) for name in columns]).serialize())

    def pieces(self, file: Found, rows: int) -> Iterator[Piece]:
        with text.opened(file) as (stream, raw):
            text.first(stream)
            yield from text.pieces(stream, raw, file, rows, quoted=False)

    def read(self, file: Found, piece: Piece, wanted: Wanted, rows: int) -> Iterator[Rows]:  # noqa: ARG002
        schema = pa.ipc.read_schema(pa.py_buffer(wanted.kept)) if wanted.kept else None
        numbers = np.arange(piece.first, piece.first + piece.rows)
        keep = _keeper(schema)
        lines = (line for line in io.BytesIO(piece.data) if line.strip())
        if (table := _at_once(piece, wanted)) is not None:
            for start in range(0, max(1, table.num_rows), rows):
                part = table.slice(start, rows)
                bad: Bad = {}
                columns = {name: typed(_one(part[name]), need, bad) for name, need in wanted.inputs.items()}
                kept = None if schema is None else keep(list(islice(lines, rows)))
                yield block(part, numbers[start : start + rows], columns, kept, bad, [])
            return
        for start in range(0, piece.rows, rows):
            yield _by_row(list(islice(lines, rows)), numbers[start : start + rows], wanted, keep)

    def write(self, path: Path, layout: Layout) -> Writer:
        return _JsonWriter(path, layout)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        with path.open("wb") as whole:
            for part in parts:
                with part.open("rb") as source:
                    while data := source.read(1 << 20):
                        whole.write(data)


class _JsonWriter:
    def __init__(self, path: Path, layout: Layout) -> None:
        self._layout = layout
        self._file = path.open("wb")
        self._encode = msgspec.json.Encoder(decimal_format="number").encode_lines

    def write(self, rows: Array, outputs: Tensors, kept: Any) -> None:
        columns = listed(self._layout, rows, outputs, kept)
        names = list(columns)
        lines = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        self._file.write(self._encode(lines))

    def close(self) -> None:
        self._file.close()


def _one(column: Any) -> Any:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _schema(wanted: Wanted) -> Any:
    def kind(need: Need) -> Any:
        cell = _ARROW.get(need.datatype) or (pa.float64() if need.datatype.is_float else pa.int64())
        return pa.list_(cell) if need.width else cell

    return pa.schema([(name, kind(need)) for name, need in wanted.inputs.items()])


def _at_once(piece: Piece, wanted: Wanted) -> Any | None:
    """The piece, read by Arrow; None where a row is not as the model takes it: then they are looked at one by one."""
    if any(need.datatype is DataType.UINT64 for need in wanted.inputs.values()):
        return None
    if b"NaN" in piece.data or b"Inf" in piece.data:  # Arrow reads them as numbers, and JSON has no such
        return None
    try:
        table = pajson.read_json(
            pa.BufferReader(piece.data),
            read_options=pajson.ReadOptions(use_threads=False, block_size=len(piece.data) + 1),
            parse_options=pajson.ParseOptions(explicit_schema=_schema(wanted), unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    lists = any(need.width and table[name].null_count for name, need in wanted.inputs.items())
    return table if table.num_rows == piece.rows and not lists else None


def _keeper(schema: Any) -> Callable[[list[bytes]], Any]:
    """Lines to what is kept of them, as the JSON that it was."""
    if schema is None:
        return lambda _lines: None
    absent = msgspec.Raw()
    fields = [(f"f{at}", msgspec.Raw, msgspec.field(default=absent, name=name)) for at, name in enumerate(schema.names)]
    decode = msgspec.json.Decoder(msgspec.defstruct("Kept", fields)).decode

    def keep(lines: list[bytes]) -> Any:
        rows = [msgspec.structs.astuple(decode(line)) for line in lines]
        columns = zip(*rows, strict=True) if rows else [()] * len(schema.names)
        arrays = [pa.array([bytes(raw).decode() or None for raw in column], pa.string()) for column in columns]
        return pa.table(arrays, schema=schema)

    return keep


def _by_row(lines: list[bytes], numbers: Array, wanted: Wanted, keep: Callable[[list[bytes]], Any]) -> Rows:
    good, spoiled = np.ones(len(lines), bool), []
    values: dict[str, list[Any]] = {name: [] for name in wanted.inputs}
    for index, line in enumerate(lines):
        try:
            row = _OBJECT(line)
            cells = {name: _cell(row.get(name), name, need) for name, need in wanted.inputs.items()}
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, OverflowError) as error:
            good[index] = False
            spoiled.append(Spoiled(int(numbers[index]), _shown(line), str(error)))
            continue
        for name, cell in cells.items():
            values[name].append(cell)
    bad: Bad = {}
    columns: dict[str, Cells] = {}
    for name, kind in zip(values, _schema(wanted).types, strict=True):
        unsigned = wanted.inputs[name].datatype is DataType.UINT64
        typed_as = pa.uint64() if unsigned and not is_list(kind) else pa.list_(pa.uint64()) if unsigned else kind
        columns[name] = typed(pa.array(values[name], typed_as), wanted.inputs[name], bad)
    fine = [line for line, whole in zip(lines, good, strict=True) if whole]
    table = pa.table({"line": pa.array(fine, pa.binary())})
    found = block(table, numbers[good], columns, keep(fine), bad, spoiled)
    return _JsonRows(found.rows, found.columns, found.kept, found.spoiled, found.table)


class _JsonRows(Rows):
    def shown(self, index: int) -> Any:
        return _shown(self.table["line"][index].as_py())


def _shown(line: bytes) -> Any:
    try:
        return _ANY(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return line.decode(errors="backslashreplace").rstrip("\r\n")[:10_000]


def _cell(value: Any, name: str, need: Need) -> Any:
    """A value as its column holds it. Raises ValueError with the reason where it is none."""
    if value is None:
        return None
    if not need.width:
        return _value(value, name, need.datatype)
    if type(value) is not list:
        raise ValueError(f"column {name!r}: expected a list of {need.datatype.value}, found {_kind(value)}")
    return [None if one is None else _value(one, name, need.datatype) for one in value]


def _value(value: Any, name: str, datatype: DataType) -> Any:
    """What every protocol here that sends tables accepts: whole floats for integers, numbers and truths for text."""
    if datatype is DataType.BYTES and isinstance(value, str | bool | int | float):
        return str(value)
    if datatype is DataType.BOOL and (isinstance(value, bool) or value in (0, 1)):
        return bool(value)
    if isinstance(value, str) and not value.strip() and datatype is not DataType.BYTES:
        return None
    number = isinstance(value, bool | int | float) and datatype not in (DataType.BYTES, DataType.BOOL)
    if number and datatype.is_float:
        return float(value)
    if number and float(value).is_integer() and -(2**63) <= value < (2**64 if datatype is DataType.UINT64 else 2**63):
        return int(value)
    raise ValueError(f"column {name!r}: expected {datatype.value}, found {_kind(value)}")


def _kind(value: Any) -> str:
    text_of = msgspec.json.encode(value).decode()
    return text_of if len(text_of) <= 40 else text_of[:40] + "..."
