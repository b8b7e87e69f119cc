"""``fairlead predict``: rows of a CSV or JSON file through a running endpoint."""

from __future__ import annotations

import codecs
import csv
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from fairlead.cli.output import table
from fairlead.client import Client, Prediction
from fairlead.contracts.errors import InvalidTensor, MalformedBody, SourceNotFound, UsageError
from fairlead.contracts.types import DataType
from fairlead.kit.codec import json
from fairlead.kit.codec.tensors import to_json

Row = dict[str, Any]


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def predict(
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    csv_file: Annotated[str, typer.Option("--csv", metavar="FILE", help="CSV with a header line; - is stdin.")] = "",
    json_file: Annotated[
        str, typer.Option("--json", metavar="FILE", help="JSON: a list of rows, one a line, or one row; - is stdin.")
    ] = "",
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8080",
    version: Annotated[str, typer.Option(help="Version of the endpoint; empty: the one that answers.")] = "",
    output: Annotated[str, typer.Option(metavar="FILE", help="Write there instead of standard output.")] = "",
    form: Annotated[
        Format | None, typer.Option("--format", help="How to write.", show_default="table; csv with --output")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for each request.")] = 30.0,
    chunk: Annotated[int, typer.Option(min=1, help="Rows in a request.")] = 1000,
) -> None:
    """Send rows to a running endpoint and print what it predicts.

    --json names the input here; machine-readable output is --format json.
    """
    if bool(csv_file) == bool(json_file):
        raise UsageError("predict takes exactly one of --csv FILE and --json FILE")
    chosen = form or (_by_name(output) if output else Format.TABLE)
    with Client(url, timeout=timeout) as client:
        kinds = {item["name"]: item for item in client.metadata(endpoint, version or None)["inputs"]}
        source = csv_file or json_file
        rows = _csv_rows(source, kinds) if csv_file else _json_rows(source)
        answered = 0
        with _Target(output, whole=chosen is Format.JSON) as target:
            write = _Writer(target, chosen)
            for start, batch in _chunks(rows, chunk):
                write.rows(_lines(_ask(client, endpoint, version or None, batch, kinds, start)))
                answered += len(batch)
            write.finish()
    if output:
        sys.stdout.write(f"{answered} rows -> {output}\n")


def _ask(client: Client, endpoint: str, version: str | None, rows: list[Any], kinds: Row, start: int) -> Prediction:
    """One request. An error says which rows it is about."""
    try:
        return client.predict(endpoint, rows if isinstance(rows[0], dict) else _bare(rows, kinds), version=version)
    except InvalidTensor as error:
        raise InvalidTensor(f"rows {start + 1} to {start + len(rows)}: {error}") from error


def _bare(rows: list[Any], kinds: Row) -> Any:
    if len(kinds) == 1:
        return rows
    names = list(kinds)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(names):
            raise InvalidTensor(f"row {number}: expected {len(names)} values ({', '.join(names)})")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _chunks(rows: Iterator[Any], size: int) -> Iterator[tuple[int, list[Any]]]:
    start, batch = 0, []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield start, batch
            start, batch = start + size, []
    if batch:
        yield start, batch


def _csv_rows(source: str, kinds: Row) -> Iterator[Any]:
    """Rows by column name, cells as the endpoint's metadata types them; one tensor of numbers takes bare rows."""
    with _open(source) as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next((line for line in reader if line), [])
            if not header:
                raise MalformedBody(f"{source} is empty; its first line must name the columns")
            only = next(iter(kinds.values())) if len(kinds) == 1 else None
            bare = only is not None and list(only["shape"]) != [-1, 1] and header != [only["name"]]
            twice = sorted({name for name in header if header.count(name) > 1})
            if twice and not bare:
                raise MalformedBody(f"{source} names the column {twice[0]!r} twice")
            for line in reader:
                if not line:
                    continue
                if len(line) != len(header):
                    raise InvalidTensor(
                        f"{source}, line {reader.line_num}: expected {len(header)} cells as in the header, "
                        f"found {len(line)}"
                    )
                if bare and only is not None:
                    yield [_cell(cell, only, f"{source}, line {reader.line_num}") for cell in line]
                else:
                    yield {
                        name: _cell(cell, kinds.get(name), f"{source}, line {reader.line_num}, column {name!r}")
                        for name, cell in zip(header, line, strict=True)
                    }
        except csv.Error as error:
            raise MalformedBody(f"{source}, line {reader.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            raise MalformedBody(f"{source}: the file is not UTF-8") from error


def _cell(cell: str, kind: Row | None, where: str) -> Any:
    """A cell as the model's input types it; blank is missing. A column that the model lacks goes as it is."""
    if kind is None or kind["datatype"] == DataType.BYTES:
        return cell or None
    text = cell.strip()
    if not text or text.lower() in ("nan", "na", "null", "none"):
        return None
    try:
        if kind["datatype"] == DataType.BOOL:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        return float(text) if DataType(kind["datatype"]).is_float or not text.lstrip("+-").isdigit() else int(text)
    except (KeyError, ValueError):
        raise InvalidTensor(f"{where}: expected {kind['datatype']}, found {cell!r}") from None


def _json_rows(source: str) -> Iterator[Any]:
    """A list of rows, one object a line, or one object."""
    with _open(source) as file:
        text = bytes(file.buffer.read()).removeprefix(codecs.BOM_UTF8)
    try:
        found = json.decode(json.ANY, text)
    except MalformedBody as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not lines[0].strip().endswith(b"}"):
            raise MalformedBody(f"{source}: {error}") from None
        for number, line in enumerate(lines, 1):
            try:
                yield json.decode(json.ANY, line)
            except MalformedBody as inner:
                raise MalformedBody(f"{source}, line {number}: {inner}") from None
        return
    if not isinstance(found, list | dict):
        raise MalformedBody(f"{source}: expected a list of rows or one row")
    yield from [found] if isinstance(found, dict) else found


def _lines(prediction: Prediction) -> list[Row]:
    """One record a row; a matrix gives one column for each of its columns."""
    columns: dict[str, list[Any]] = {}
    for name, array in prediction.items():
        if array.ndim == 2 and array.shape[1] > 1:
            for at in range(array.shape[1]):
                columns[f"{name}_{at}"] = to_json(array[:, at], name)
        elif array.ndim > 2:
            columns[name] = array.tolist()
        else:
            columns[name] = to_json(array, name)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class _Writer:
    """Rows as they come: CSV and JSON are written at once, a table when its widths are known."""

    def __init__(self, target: TextIO, form: Format) -> None:
        self._target = target
        self._form = form
        self._kept: list[Row] = []
        self._csv: Any = None
        self._any = False

    def rows(self, rows: list[Row]) -> None:
        if self._form is Format.TABLE:
            self._kept += rows
        elif self._form is Format.JSON:
            for row in rows:
                self._target.write((",\n  " if self._any else "[\n  ") + json.encode(row).decode())
                self._any = True
        else:
            if self._csv is None and rows:
                self._csv = csv.DictWriter(self._target, list(rows[0]), lineterminator="\n")
                self._csv.writeheader()
            if self._csv is not None:
                self._csv.writerows(rows)

    def finish(self) -> None:
        if self._form is Format.TABLE:
            self._target.write(table(self._kept) + "\n")
        elif self._form is Format.JSON:
            self._target.write("\n]\n" if self._any else "[]\n")


class _Target:
    """Standard output, or a file that appears only when all of it is written.

    ``whole``: standard output too gets all or nothing, since half a JSON document with an error behind it is none.
    """

    def __init__(self, output: str, *, whole: bool) -> None:
        self._path = Path(output) if output else None
        self._whole = whole
        self._file: TextIO = sys.stdout

    def __enter__(self) -> TextIO:
        if self._path is not None:
            self._file = self._partial.open("w", encoding="utf-8", newline="")
        elif self._whole:
            self._file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._path is None:
            if self._whole:
                with self._file as kept:
                    kept.seek(0)
                    if kind is None:
                        shutil.copyfileobj(kept, sys.stdout)
            sys.stdout.flush()
            return
        self._file.close()
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)

    @property
    def _partial(self) -> Path:
        if self._path is None:
            raise UsageError("there is no output file")
        return self._path.with_name(self._path.name + ".partial")


def _open(source: str) -> io.TextIOWrapper:
    if source == "-":
        return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
    try:
        return Path(source).open(encoding="utf-8-sig", newline="")
    except FileNotFoundError:
        raise SourceNotFound(f"there is no file {source}") from None


def _by_name(output: str) -> Format:
    return Format.JSON if output.endswith(".json") else Format.CSV
