"""What every form of tables must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", tables_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_tables(check, tmp_path):
        check(MyTables, tmp_path / "table.mine")
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fairlead.contracts.errors import MalformedBody, SourceNotFound
from fairlead.contracts.tables import ROW, Found, Layout, Need, Output, Tables, Wanted
from fairlead.contracts.types import DataType, Tensors

Make = Callable[[], Tables]

ROWS = 1000
LAYOUT = Layout((Output("score", "score", DataType.FP64), Output("label", "label", DataType.BYTES)))
WANTED = Wanted({"score": Need(DataType.FP64), "label": Need(DataType.BYTES), ROW: Need(DataType.INT64)})


def what_was_written_is_read(make: Make, path: Path) -> None:
    expected = _write(make, path)
    found = _read(make, path)
    _expect(found[ROW].tolist() == list(range(ROWS)), "row numbers come back")
    for name, array in expected.items():
        _expect(found[name].tolist() == array.tolist(), f"{name} comes back as it was")


def the_columns_are_told(make: Make, path: Path) -> None:
    _write(make, path)
    names = [field.name for field in make().fields(_found(path))]
    _expect(names == [ROW, "score", "label"], "fields are the columns, in order")


def pieces_cover_the_file_in_order(make: Make, path: Path) -> None:
    _write(make, path)
    pieces = list(make().pieces(_found(path), 100))
    _expect([piece.first for piece in pieces] == [0, *np.cumsum([piece.rows for piece in pieces])[:-1]], "no gap")
    _expect(sum(piece.rows for piece in pieces) == ROWS, "every row is in a piece")
    _expect(pieces[-1].share == 1.0, "the last piece ends the file")


def a_file_is_always_cut_the_same_way(make: Make, path: Path) -> None:
    _write(make, path)
    _expect(list(make().pieces(_found(path), 100)) == list(make().pieces(_found(path), 100)), "the same pieces")


def blocks_are_no_longer_than_asked(make: Make, path: Path) -> None:
    _write(make, path)
    tables, file = make(), _found(path)
    sizes = [len(block.rows) for piece in tables.pieces(file, ROWS) for block in tables.read(file, piece, WANTED, 64)]
    _expect(max(sizes) <= 64 and sum(sizes) == ROWS, "blocks of at most the rows asked for")


def joined_parts_are_one_file(make: Make, path: Path) -> None:
    parts = [path.with_name(f"{at}-{path.name}") for at in range(3)]
    for at, part in enumerate(parts):
        _write(make, part, first=at * ROWS)
    make().join(parts, path)
    _expect(_read(make, path)[ROW].tolist() == list(range(3 * ROWS)), "every row of every part, in order")


def the_same_rows_give_the_same_bytes(make: Make, path: Path) -> None:
    other = path.with_name(f"other-{path.name}")
    _write(make, path)
    _write(make, other)
    _expect(path.read_bytes() == other.read_bytes(), "two files of the same rows are equal")


def no_rows_are_a_table_too(make: Make, path: Path) -> None:
    make().write(path, LAYOUT).close()
    _expect(path.exists(), "a file without rows is there")


def what_is_no_table_is_refused(make: Make, path: Path) -> None:
    path.write_bytes(b"")
    _refused(make, path, MalformedBody, "an empty file")
    path.unlink()
    _refused(make, path, SourceNotFound, "a file that is not there", size=10)


CHECKS = (
    what_was_written_is_read,
    the_columns_are_told,
    pieces_cover_the_file_in_order,
    a_file_is_always_cut_the_same_way,
    blocks_are_no_longer_than_asked,
    joined_parts_are_one_file,
    the_same_rows_give_the_same_bytes,
    no_rows_are_a_table_too,
    what_is_no_table_is_refused,
)


def _write(make: Make, path: Path, first: int = 0) -> Tensors:
    outputs: Tensors = {
        "score": np.random.default_rng(7).normal(size=ROWS),
        "label": np.array([f'{at}, "quoted"' if at % 7 else "naïve\nlines" for at in range(ROWS)], object),
    }
    writer = make().write(path, LAYOUT)
    for at in range(0, ROWS, 300):
        rows = np.arange(first + at, first + min(ROWS, at + 300))
        writer.write(rows, {name: array[at : at + 300] for name, array in outputs.items()}, None)
    writer.close()
    return outputs


def _read(make: Make, path: Path) -> Tensors:
    tables, file = make(), _found(path)
    blocks = [block for piece in tables.pieces(file, 100) for block in tables.read(file, piece, WANTED, 64)]
    return {name: np.concatenate([block.columns[name].values for block in blocks]) for name in WANTED.inputs}


def _found(path: Path, size: int = -1) -> Found:
    return Found(str(path), path.stat().st_size if size < 0 else size, 0)


def _refused(make: Make, path: Path, kind: type[Exception], what: str, size: int = -1) -> None:
    try:
        list(make().pieces(_found(path, size), 100))
    except kind:
        return
    _expect(False, f"{what} is refused with {kind.__name__}")


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
