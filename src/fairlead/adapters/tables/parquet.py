"""Parquet: files, folders of them, and S3. A piece is one row group or some neighbours: any process can read any."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fairlead.adapters.tables import bucket
from fairlead.adapters.tables.columns import Bad, Rows, block, datatype_of, is_list, typed
from fairlead.adapters.tables.writing import nested, no_kept, no_outputs
from fairlead.contracts.errors import MalformedBody
from fairlead.contracts.tables import ROW, Array, Cells, Field, Found, Layout, Piece, Wanted, Writer
from fairlead.contracts.types import Tensors

_READ_VALUES = 1 << 21
"""Decoded at once, over all columns: Arrow pays for every column that it begins."""
_GROUP_ROWS, _GROUP_BYTES = 131_072, 64 << 20
"""A row group that is written ends at the first of these."""


class ParquetTables:
    """Entry point ``parquet``."""

    def find(self, url: str) -> list[Found]:
        return bucket.find(url, (".parquet", ".pq"))

    def fields(self, file: Found) -> tuple[Field, ...]:
        with _opened(file) as source:
            return tuple(_field(field) for field in source.schema_arrow)

    def kept(self, file: Found, columns: Sequence[str]) -> bytes:
        with _opened(file) as source:
            schema = source.schema_arrow
            return bytes(pa.schema([schema.field(name).remove_metadata() for name in columns]).serialize())

    def pieces(self, file: Found, rows: int) -> Iterator[Piece]:
        with _opened(file) as source:
            sizes = [source.metadata.row_group(at).num_rows for at in range(source.metadata.num_row_groups)]
        total, first, start, count = max(1, sum(sizes)), 0, 0, 0
        for at, size in enumerate(sizes):
            if count and count + size > rows:
                yield Piece(first, count, (first + count) / total, start, at)
                first, start, count = first + count, at, 0
            count += size
        if count:
            yield Piece(first, count, 1.0, start, len(sizes))

    def read(self, file: Found, piece: Piece, wanted: Wanted, rows: int) -> Iterator[Rows]:
        schema = pa.ipc.read_schema(pa.py_buffer(wanted.kept)) if wanted.kept else None
        with _opened(file) as source:
            names = [name for name in source.schema_arrow.names if name in wanted.inputs]
            carried = [] if schema is None else [name for name in schema.names if name not in names]
            first, most = piece.first, max(rows, _READ_VALUES // max(1, len(names) + len(carried)))
            groups = list(range(piece.start, piece.stop))
            for read in source.iter_batches(most, groups, columns=[*names, *carried], use_threads=False):
                for at in range(0, read.num_rows, rows):
                    batch = read.slice(at, rows)
                    bad: Bad = {}
                    columns: dict[str, Cells] = {name: typed(batch[name], wanted.inputs[name], bad) for name in names}
                    kept = None if schema is None else _cast(batch.select(schema.names), schema, file)
                    numbers = np.arange(first, first + batch.num_rows)
                    yield block(batch, numbers, columns, kept, bad, [])
                    first += batch.num_rows

    def write(self, path: Path, layout: Layout) -> Writer:
        return _ParquetWriter(path, layout)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        schema = pq.read_schema(parts[0])
        with pq.ParquetWriter(path, schema, **_encodings(schema)) as whole:
            for part in parts:
                with pq.ParquetFile(part) as source:
                    for group in range(source.metadata.num_row_groups):
                        whole.write_table(source.read_row_group(group, use_threads=False))


class _ParquetWriter:
    def __init__(self, path: Path, layout: Layout) -> None:
        self._layout = layout
        empty = nested(layout, np.empty(0, np.int64), no_outputs(layout), no_kept(layout))
        self._schema = empty.schema
        self._writer = pq.ParquetWriter(path, self._schema, **_encodings(self._schema))
        self._waiting: list[Any] = []
        self._rows = self._bytes = 0

    def write(self, rows: Array, outputs: Tensors, kept: Any) -> None:
        table = nested(self._layout, rows, outputs, kept).cast(self._schema)
        self._waiting.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        try:
            if self._rows:
                self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        table = pa.concat_tables(self._waiting)
        self._waiting, self._rows, self._bytes = [], 0, 0
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))


def _encodings(schema: Any) -> dict[str, Any]:
    """Dictionaries only where values come again: scores are nearly all different, and row numbers follow each other."""
    again = [
        field.name
        for field in schema
        if field.name != ROW and not pa.types.is_floating(field.type) and not pa.types.is_nested(field.type)
    ]
    return {"use_dictionary": again or False, "column_encoding": {ROW: "DELTA_BINARY_PACKED"}}


def _field(field: Any) -> Field:
    nests = is_list(field.type)
    return Field(field.name, datatype_of(field.type.value_type if nests else field.type), str(field.type), nests)


def _cast(batch: Any, schema: Any, file: Found) -> Any:
    """Files of one folder may differ in their types: the first one's hold."""
    table = pa.Table.from_batches([batch]).replace_schema_metadata()
    if table.schema == schema:
        return table
    try:
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise MalformedBody(
            f"{file.path}: what is kept is not as in the first file: {bucket.first_line(error)}"
        ) from error


@contextlib.contextmanager
def _opened(file: Found) -> Iterator[Any]:
    with bucket.told(file.path):
        if bucket.inside(file.path):
            opened = pq.ParquetFile(bucket.files().open_input_file(file.path.removeprefix(bucket.SCHEME)))
        elif not file.size:
            raise MalformedBody(f"{file.path} is empty (0 bytes)")
        else:
            opened = pq.ParquetFile(file.path, memory_map=True, pre_buffer=False)  # pages go when memory is short
        with opened:
            yield opened
