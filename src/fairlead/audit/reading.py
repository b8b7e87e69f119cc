"""All chains as one log, in the order of time: the last entries, what comes, what lay between two times."""

from __future__ import annotations

import csv
import heapq
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from fairlead.audit.entry import Line, read, stamp
from fairlead.audit.segments import Segment, begins, chains, entries

COLUMNS: Final = ("at", "actor", "action", "endpoint", "version", "outcome", "request_id", "count", "detail")
"""Columns of a CSV export, behind ``chain`` and ``seq``."""

SKEW_MS: Final = 3_600_000
"""By which times of a chain may go back, where a clock was set."""

Told = tuple[str, Line]
"""A chain and an entry of it."""


def between(folder: Path, from_ms: int = 0, to_ms: int | None = None) -> Iterator[Told]:
    """Entries of ``[from_ms, to_ms)``, the oldest first. What cannot be read is left out; ``verify`` says where.

    Files that were begun and ended outside of it are not read: a chain begins one each day.
    """
    first, last = stamp(from_ms), "~" if to_ms is None else stamp(to_ms)
    early, late = stamp(max(0, from_ms - SKEW_MS)), "~" if to_ms is None else stamp(to_ms + SKEW_MS)

    def of(chain: str, segments: list[Segment]) -> Iterator[tuple[str, str, int, Line]]:
        begun = [begins(segment) for segment in segments]
        ended = [*begun[1:], "~"]
        inside = [
            one for one, at, end in zip(segments, begun, ended, strict=True) if at < late and not "" < end < early
        ]
        for line in entries(inside):
            if first <= line.at < last:
                yield line.at, chain, line.seq, line

    merged = heapq.merge(*(of(chain, found) for chain, found in chains(folder).items()), key=lambda one: one[:3])
    return ((chain, line) for _, chain, _, line in merged)


class Follower:
    """Gives what was written since it was asked last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {
            segment.path: segment.path.stat().st_size for found in chains(folder).values() for segment in found
        }

    def more(self) -> list[Told]:
        """Whole lines alone, in the order of time."""
        told: list[Told] = []
        for chain, segments in chains(self._folder).items():
            for segment in segments:
                told += [(chain, line) for line in self._of(segment)]
        return sorted(told, key=lambda one: (one[1].at, one[0], one[1].seq))

    def _of(self, segment: Segment) -> Iterator[Line]:
        try:
            with segment.path.open("rb") as file:
                file.seek(self._read.get(segment.path, 0))
                data = file.read()
        except FileNotFoundError:
            return
        whole = data.rfind(b"\n") + 1
        self._read[segment.path] = self._read.get(segment.path, 0) + whole
        for raw in data[:whole].split(b"\n"):
            line = read(raw)
            if line is not None:
                yield line


def as_text(line: Line) -> str:
    """An entry as a person reads it."""
    about = f" {line.endpoint}{f' version {line.version}' if line.version else ''}" if line.endpoint else ""
    times = f" x{line.count}" if line.count > 1 else ""
    asked = f" request {line.request_id}" if line.request_id else ""
    more = "".join(f" {name}={value}" for name, value in line.detail.items())
    return f"{line.at}  {line.actor}  {line.action}{about}  {line.outcome}{times}{asked}{more}"


def as_json(chain: str, line: Line) -> bytes:
    """An entry as one line of JSON, its chain first."""
    return msgspec.json.encode({"chain": chain, **msgspec.to_builtins(line)}) + b"\n"


def as_csv(chain: str, line: Line) -> bytes:
    """An entry as one line of CSV. A cell that a spreadsheet would take for a formula is put in apostrophes."""
    out = io.StringIO()
    values = [getattr(line, name) for name in COLUMNS[:-1]]
    detail = msgspec.json.encode(line.detail).decode()
    csv.writer(out, lineterminator="\n").writerow([chain, line.seq, *map(_cell, values), detail])
    return out.getvalue().encode()


def csv_header() -> bytes:
    return (",".join(("chain", "seq", *COLUMNS)) + "\n").encode()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
