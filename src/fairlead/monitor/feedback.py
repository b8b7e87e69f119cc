"""Labels as they come in: the JSON of ``POST /v1/feedback`` and the lines of a CSV file.

A request is taken whole or not at all, and every bad row of it is named (up to 10); in a file the good lines are kept
and the bad ones are told with their numbers.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fairlead.contracts.errors import InvalidParameter, MalformedBody
from fairlead.contracts.events import Label
from fairlead.kit.codec.json import ANY, decode
from fairlead.kit.config import nearest
from fairlead.kit.known import checked

MOST = 10_000
"""Labels in one request."""
TOLD = 10
"""Bad rows that an error names."""

_FIELDS = ("prediction_id", "key", "row", "label", "reward", "at", "endpoint")
_BODY = ("endpoint", "labels")
_LONGEST = 512
_LAST_MS = 253_402_300_799_000  # the end of the year 9999
_AHEAD_MS = 86_400_000  # clocks differ, zones are forgotten
_EARLIEST_MS = 100_000_000_000  # 1973: smaller numbers are seconds, and refused


class _Bad(Exception):
    """Why a row cannot be taken."""


@dataclass(frozen=True, slots=True)
class Lines:
    """``labels`` of the good lines; ``bad``: line number and reason of the others."""

    labels: tuple[Label, ...]
    bad: tuple[tuple[int, str], ...] = ()

    def as_text(self) -> str:
        """The bad lines, one each: the first ones, and how many more."""
        lines = [f"line {number}: {reason}" for number, reason in self.bad[:TOLD]]
        if len(self.bad) > TOLD:
            lines.append(f"and {len(self.bad) - TOLD} more lines")
        return "\n".join(lines)


def parse_json(body: bytes | memoryview, *, now_ms: int, endpoint: str = "") -> list[Label]:
    """The labels of a request. ``{"endpoint": ..., "labels": [{...}, ...]}``, or one label alone.

    A label: ``prediction_id`` or ``key`` (a business key), ``label`` or ``reward`` (number, text, true or false),
    ``row`` (0), ``at`` (ISO time or Unix ms; now). ``endpoint`` of the caller is what a label has that names none; one
    that names another is refused. Raises MalformedBody and InvalidParameter, which names every bad row, up to 10.
    """
    value = decode(ANY, body)
    if not isinstance(value, dict):
        raise MalformedBody('the body must be a JSON object: {"endpoint": "...", "labels": [...]} or one label')
    if "labels" not in value:
        return _all([value], endpoint, now_ms, short=True)
    unknown = next((name for name in value if name not in _BODY), None)
    if unknown is not None:
        raise InvalidParameter(f"unknown field {unknown!r} beside labels{nearest(unknown, _BODY)}")
    rows = value["labels"]
    if not isinstance(rows, list) or not rows:
        raise InvalidParameter("labels must be a list with at least one label")
    if len(rows) > MOST:
        raise InvalidParameter(
            f"labels has {len(rows)} entries; at most {MOST} fit in one request: send several, or a file with "
            "fairlead feedback --csv"
        )
    named = value.get("endpoint")
    if named is not None:
        try:
            endpoint = _endpoint(named, endpoint)
        except _Bad as error:
            raise InvalidParameter(str(error)) from None
    return _all(rows, endpoint, now_ms)


def parse_csv(lines: Iterable[str], *, now_ms: int, endpoint: str = "") -> Lines:
    """The labels of a CSV file with a header; columns are those of a label in JSON, in any order.

    Raises InvalidParameter for a header that cannot work. A value that reads as a number is one.
    """
    labels: list[Label] = []
    bad: list[tuple[int, str]] = []
    for number, found in read_csv(lines, now_ms=now_ms, endpoint=endpoint):
        if isinstance(found, str):
            bad.append((number, found))
        else:
            labels.append(found)
    return Lines(tuple(labels), tuple(bad))


def read_csv(lines: Iterable[str], *, now_ms: int, endpoint: str = "") -> Iterator[tuple[int, Label | str]]:
    """As ``parse_csv``, line by line: its number, and the label or why it cannot be taken.

    A line is a record: a quote that is never closed spoils its own line and no other.
    """
    numbered = enumerate(lines, 1)
    first = next(numbered, (0, ""))[1].removeprefix("\ufeff")
    cells = _cells(first)
    if not cells or isinstance(cells, str):
        raise InvalidParameter("the file is empty or its header cannot be read; the first line names the columns")
    header = [name.strip() for name in cells]
    _check_header(header, endpoint)
    for number, line in numbered:
        cells = _cells(line)
        if isinstance(cells, str):
            yield number, cells
        elif not cells:
            continue  # an empty line
        elif len(cells) != len(header):
            yield number, f"it has {len(cells)} cells, the header {len(header)}"
        else:
            try:
                yield number, checked([_label(_typed(header, cells), endpoint, now_ms)])[0]
            except (_Bad, InvalidParameter) as error:
                yield number, str(error)


def _cells(line: str) -> list[str] | str:
    """The cells of a line; a text that says why it is no CSV."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        return f"it is no CSV: {error}"


def _check_header(header: list[str], endpoint: str) -> None:
    known = ", ".join(_FIELDS)
    for name in header:
        if name not in _FIELDS:
            raise InvalidParameter(f"unknown column {name!r}{nearest(name, _FIELDS)}; columns: {known}")
    if len(set(header)) < len(header):
        raise InvalidParameter("a column is there twice")
    if not {"prediction_id", "key"} & set(header) or not {"label", "reward"} & set(header):
        raise InvalidParameter("the columns prediction_id or key, and label or reward, are needed")
    if not endpoint and "endpoint" not in header:
        raise InvalidParameter("the column endpoint is needed when the command names none")


def _typed(header: list[str], cells: list[str]) -> dict[str, Any]:
    """Cells as JSON values; an empty one is absent."""
    row: dict[str, Any] = {}
    for name, cell in zip(header, (one.strip() for one in cells), strict=True):
        if not cell:
            continue
        row[name] = cell
        if name in ("label", "reward"):
            row[name] = _number(cell, cell)
        elif name == "row":
            row[name] = int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 12 else cell
        elif name == "at":
            row[name] = int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 18 else cell
    return row


def _number(text: str, otherwise: Any) -> Any:
    try:
        return float(text) if "_" not in text else otherwise
    except ValueError:
        return otherwise


def _all(rows: list[Any], endpoint: str, now_ms: int, *, short: bool = False) -> list[Label]:
    labels, bad = [], []
    for number, row in enumerate(rows):
        try:
            labels.append(_label(row, endpoint, now_ms))
        except _Bad as error:
            bad.append(str(error) if short else f"labels[{number}]: {error}")
    if bad:
        more = f"; and {len(bad) - TOLD} more" if len(bad) > TOLD else ""
        none = "" if short else "; nothing was kept"
        raise InvalidParameter("; ".join(bad[:TOLD]) + more + none)
    return labels


def _label(row: Any, endpoint: str, now_ms: int) -> Label:
    if not isinstance(row, Mapping):
        raise _Bad(f"expected an object, found {_shown(row)}")
    unknown = next((name for name in row if name not in _FIELDS), None)
    if unknown is not None:
        raise _Bad(f"unknown field {unknown!r}{nearest(unknown, _FIELDS)}")
    key, by_key = _one_of(row, "prediction_id", "key")
    if not isinstance(key, str | int) or isinstance(key, bool) or not str(key).strip() or len(str(key)) > _LONGEST:
        name = "key" if by_key else "prediction_id"
        raise _Bad(f"{name} must be a text of 1 to {_LONGEST} characters, found {_shown(key)}")
    value, _ = _one_of(row, "label", "reward")
    named = _endpoint(row["endpoint"], endpoint) if row.get("endpoint") is not None else endpoint
    if not named:
        raise _Bad("endpoint is missing: name the endpoint that predicted")
    number = row.get("row", 0)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**31:
        raise _Bad(f"row must be a whole number from 0, found {_shown(number)}")
    at_ms = _time(row["at"]) if row.get("at") is not None else now_ms
    if at_ms > now_ms + _AHEAD_MS:
        raise _Bad(f"at is in the future, found {_shown(row['at'])}; it is the time at which the label became known")
    return Label(named, str(key).strip(), _value(value), at_ms, number, by_key)


def _one_of(row: Mapping[str, Any], first: str, second: str) -> tuple[Any, bool]:
    """The value of the one that is there, and whether it is the second."""
    there = [name for name in (first, second) if row.get(name) is not None]
    if len(there) != 1:
        raise _Bad(f"give either {first} or {second}, {'not both' if there else 'both are missing'}")
    return row[there[0]], there[0] == second


def _value(value: Any) -> float | str:
    if isinstance(value, str):
        if not value.strip() or len(value) > _LONGEST:
            raise _Bad(f"label must be a number or a text of 1 to {_LONGEST} characters, found {_shown(value)}")
        return value.strip()
    if isinstance(value, int | float):  # true and false are 1 and 0
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        raise _Bad(f"label must be a finite number, found {_shown(value)}")
    raise _Bad(f"label must be a number, a text, true or false, found {_shown(value)}")


def _endpoint(named: Any, given: str) -> str:
    if not isinstance(named, str) or not named.strip() or len(named) > _LONGEST:
        raise _Bad(f"endpoint must be a name, found {_shown(named)}")
    if given and named != given:
        raise _Bad(f"endpoint is {named!r} here and {given!r} in the request; send them apart")
    return named


def _time(at: Any) -> int:
    if isinstance(at, int | float) and not isinstance(at, bool) and math.isfinite(at):
        if not _EARLIEST_MS <= at <= _LAST_MS:
            raise _Bad(f"at must be Unix milliseconds, found {_shown(at)}; seconds times 1000?")
        return int(at)
    if isinstance(at, str):
        try:
            parsed = datetime.fromisoformat(at.strip())
        except ValueError:
            raise _Bad(f"at must be an ISO time or Unix milliseconds, found {_shown(at)}") from None
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        try:
            at_ms = round(parsed.timestamp() * 1000)
        except (OverflowError, ValueError):
            raise _Bad(f"at is out of range, found {_shown(at)}") from None
        if at_ms < 0:
            raise _Bad(f"at is before 1970, found {_shown(at)}")
        return at_ms
    raise _Bad(f"at must be an ISO time or Unix milliseconds, found {_shown(at)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
