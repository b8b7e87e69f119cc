"""CSV: a header line, commas, quotes doubled inside quotes; UTF-8, also gzipped."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from fairlead.adapters.tables import bucket, text
from fairlead.adapters.tables.columns import Bad, Rows, block, parsed
from fairlead.adapters.tables.writing import flat, no_kept, no_outputs
from fairlead.contracts.errors import MalformedBody
from fairlead.contracts.tables import Array, Cells, Field, Found, Layout, Piece, Spoiled, Wanted, Writer
from fairlead.contracts.types import Tensors


class CsvTables:
    """Entry point ``csv``. Every cell is text until the model says what it takes; what is kept stays text."""

    def find(self, url: str) -> list[Found]:
        return bucket.find(url, (".csv", ".csv.gz"))

    def fields(self, file: Found) -> tuple[Field, ...]:
        with text.opened(file) as (stream, _):
            return tuple(Field(name) for name in _header(stream, file))

    def kept(self, file: Found, columns: Sequence[str]) -> bytes:  # noqa: ARG002 - the contract
        return bytes(pa.schema([(name, pa.string()) for name in columns]).serialize())

    def pieces(self, file: Found, rows: int) -> Iterator[Piece]:
        with text.opened(file) as (stream, raw):
            header = _header(stream, file)
            yield from text.pieces(stream, raw, file, rows, quoted=True, header=header)

    def read(self, file: Found, piece: Piece, wanted: Wanted, rows: int) -> Iterator[Rows]:  # noqa: ARG002
        kept = [field.name for field in pa.ipc.read_schema(pa.py_buffer(wanted.kept))] if wanted.kept else []
        table, numbers, spoiled = _table(piece)
        for start in range(0, max(1, table.num_rows), rows):
            part = table.slice(start, rows).combine_chunks()
            bad: Bad = {}
            columns: dict[str, Cells] = {}
            for name, need in wanted.inputs.items():
                if name in table.column_names:
                    columns[name] = parsed(_one(part[name]), name, need, bad)
            yield block(
                part,
                numbers[start : start + rows],
                columns,
                part.select(kept) if kept else None,
                bad,
                spoiled if start == 0 else [],
            )

    def write(self, path: Path, layout: Layout) -> Writer:
        return _CsvWriter(path, layout)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        with path.open("wb") as whole:
            for number, part in enumerate(parts):
                with part.open("rb") as lines:
                    header = next(text.records(lines, quoted=True), b"")
                with part.open("rb") as source:
                    source.seek(len(header) if number else 0)
                    while data := source.read(1 << 20):
                        whole.write(data)


class _CsvWriter:
    def __init__(self, path: Path, layout: Layout) -> None:
        self._layout = layout
        self._schema = flat(layout, np.empty(0, np.int64), no_outputs(layout), no_kept(layout)).schema
        self._file = path.open("wb")
        self._writer = pacsv.CSVWriter(self._file, self._schema)

    def write(self, rows: Array, outputs: Tensors, kept: Any) -> None:
        self._writer.write_table(flat(self._layout, rows, outputs, kept).cast(self._schema))

    def close(self) -> None:
        self._writer.close()
        self._file.close()


def _one(column: Any) -> Any:
    return (
        column.combine_chunks() if isinstance(column, pa.ChunkedArray) and column.num_chunks != 1 else column.chunk(0)
    )


def _header(stream: Any, file: Found) -> tuple[str, ...]:
    """Raises MalformedBody for a file without names, or with one that comes twice."""
    text.first(stream)
    line = b""
    for line in text.records(stream, quoted=True, where=file.path):
        if line.strip():
            break
    try:
        names = next(csv.reader(io.StringIO(line.decode(), newline=""), strict=True), [])
    except UnicodeDecodeError:
        raise MalformedBody(f"{file.path} is not UTF-8") from None
    except csv.Error as error:
        raise MalformedBody(f"{file.path}, first line: {error}") from None
    if not names:
        raise MalformedBody(f"{file.path} is empty; its first line must name the columns")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MalformedBody(f"{file.path} names the column {twice[0]!r} twice")
    return tuple(names)


def _table(piece: Piece) -> tuple[Any, Array, list[Spoiled]]:
    """The piece as texts, the numbers of its rows, and the rows that are no rows."""
    numbers = np.arange(piece.first, piece.first + piece.rows)
    names = list(piece.header)
    try:
        table = pacsv.read_csv(
            pa.BufferReader(piece.data),
            read_options=pacsv.ReadOptions(use_threads=False, column_names=names, block_size=len(piece.data) + 1),
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return _by_row(piece, numbers)
    return (table, numbers, []) if table.num_rows == piece.rows else _by_row(piece, numbers)


def _by_row(piece: Piece, numbers: Array) -> tuple[Any, Array, list[Spoiled]]:
    """The same, row by row: one of them is not as long as the header, not closed, or not UTF-8."""
    good: list[list[str]] = []
    spoiled: list[Spoiled] = []
    kept = np.ones(piece.rows, bool)
    width = len(piece.header)
    lines = (line for line in text.records(io.BytesIO(piece.data), quoted=True) if line.strip())
    for index, line in enumerate(lines):
        number = int(numbers[index])
        try:
            found = list(csv.reader(io.StringIO(line.decode(), newline=""), strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        else:
            if len(found) == 1 and len(found[0]) == width:
                good.append(found[0])
                continue
            cells = sum(map(len, found))
            reason = f"expected {width} cells as in the header, found {cells}"
            reason = reason if len(found) == 1 else f"a carriage return outside quotes makes {len(found)} rows of it"
        kept[index] = False
        spoiled.append(Spoiled(number, line.decode(errors="backslashreplace").rstrip("\r\n")[:10_000], reason))
    columns = list(zip(*good, strict=True)) if good else [()] * width
    arrays = [pa.array(list(cells), pa.string()) for cells in columns]
    return pa.table(arrays, names=list(piece.header)), numbers[kept], spoiled
