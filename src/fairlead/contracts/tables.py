"""Plugin contract: tables in files, read and written block by block. Entry-point group ``fairlead.tables``.

A plugin is found by the form of the file: ``parquet``, ``csv``, ``jsonl``. The entry point is a class without
constructor arguments; the check-suite is ``fairlead.testing.tables_suite``. A table is cut into pieces, each of which
can be read alone by another process; a piece is read as blocks that fit in memory. The same file is always cut the
same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from fairlead.contracts.types import DataType, Tensors

Array = np.ndarray[Any, Any]

ROW = "row"
"""The output's first column: the number of the input row, from 0, over all files of the input."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file of the input. ``size``: bytes.  ``modified_ns``: Unix time."""

    path: str
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Field:
    """A column of an input file. ``datatype`` None: the file has no types, or one that no tensor has (``kind`` says).

    ``nested``: every cell is a list.
    """

    name: str
    datatype: DataType | None = None
    kind: str = ""
    nested: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows ``first`` to ``first + rows`` of one file. ``start``, ``stop``, ``header`` and ``data``: the plugin's own.

    ``share``: how much of the file is read when this piece is, 0 to 1.
    """

    first: int
    rows: int
    share: float
    start: int = 0
    stop: int = 0
    header: tuple[str, ...] = ()
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Need:
    """A column that the model needs. ``width``: 0 for one value a cell, the length of a cell's list, -1 for any.

    ``blanks``: a text of CSV that pandas reads as missing (``NA`` and so on) is missing; an empty cell always is.
    """

    datatype: DataType
    width: int = 0
    blanks: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read. ``inputs``: by column.  ``kept``: columns for the output, as ``kept`` described them."""

    inputs: Mapping[str, Need]
    kept: bytes = b""


class Cells(NamedTuple):
    """One column of a block: ``values`` [rows] or [rows, n]. Missing is NaN in floats and None in text; for every
    other datatype ``missing`` marks it, row by row, and the value means nothing."""

    values: Array
    missing: Array | None = None


class Spoiled(NamedTuple):
    """A row that cannot be read, or that the model refused. ``shown``: the row, as JSON holds it."""

    row: int
    shown: Any
    reason: str


class Block(Protocol):
    """Rows in memory. A column that the file lacks is absent from ``columns``."""

    rows: Array
    """Their numbers within the file [rows], increasing."""
    columns: Mapping[str, Cells]
    kept: Any
    """What is kept of them: an object of the Arrow PyCapsule interface, with as many rows."""
    spoiled: Sequence[Spoiled]
    """Rows of the file that are not among ``rows``."""

    def shown(self, index: int) -> Any:
        """The row at ``index`` as JSON holds it."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output of the model as it is written. ``tail``: the shape behind the rows, -1 where it may vary."""

    name: str
    column: str
    datatype: DataType
    tail: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of an output file: ``row``, the outputs, and what is kept.

    ``kept``: as ``Tables.kept`` described it.  ``names``: what each of them is called here.
    """

    outputs: tuple[Output, ...]
    kept: bytes = b""
    names: tuple[str, ...] = ()


class Writer(Protocol):
    """Writes one file. Nothing is promised of it before ``close``."""

    def write(self, rows: Array, outputs: Tensors, kept: Any) -> None:
        """``rows``: their numbers, int64.  ``kept``: as in Block, with as many rows; None where nothing is kept."""

    def close(self) -> None: ...


class Tables(Protocol):
    """One form of files. Every method raises MalformedBody for a file that is not of this form, or is cut short."""

    def find(self, url: str) -> list[Found]:
        """Files at a URL, in order of their paths. Raises UsageError for a URL that this form does not read."""

    def fields(self, file: Found) -> tuple[Field, ...]:
        """Its columns. JSON Lines, which have no header: those of the first rows."""

    def kept(self, file: Found, columns: Sequence[str]) -> bytes:
        """These columns with their types: a serialised Arrow schema. It says what every block's ``kept`` is."""

    def pieces(self, file: Found, rows: int) -> Iterator[Piece]:
        """The file in pieces of about ``rows`` rows, in order."""

    def read(self, file: Found, piece: Piece, wanted: Wanted, rows: int) -> Iterator[Block]:
        """The piece in blocks of at most ``rows`` rows."""

    def write(self, path: Path, layout: Layout) -> Writer:
        """A new file."""

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """One file of several that ``write`` made with one layout."""
