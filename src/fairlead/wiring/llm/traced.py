"""The traces that a machine keeps itself, read back: the newest lines, so many bytes of them at most."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from fairlead.contracts.answered import Traced
from fairlead.kit.config import Home

MOST_BYTES: Final = 16 * 2**20
"""Of lines that one look reads; some ten thousand answers."""
SEARCHED: Final = 128 * 2**20
"""Bytes that a look for one request goes through."""
_PIECE: Final = 2**20
_DECODE: Final = msgspec.json.Decoder(Traced).decode


def folder(home: Home) -> Path:
    return home.root / "traces"


def newest(home: Home, since_ms: int, until_ms: int) -> tuple[list[Traced], bool]:
    """Spans that ended in ``[since_ms, until_ms]``, newest first, and whether older ones of them were not read."""
    found: list[Traced] = []
    read = 0
    for line in _lines(folder(home)):
        read += len(line)
        one = _decoded(line)
        if one is not None and one.end_ms < since_ms - _LATE_MS:
            return found, False
        if one is not None and since_ms <= one.end_ms <= until_ms:
            found.append(one)
        if read >= MOST_BYTES:
            return found, True
    return found, False


def of_request(home: Home, request_id: str) -> list[Traced]:
    """Every span of a request, by when it began; the longest first where several did at once."""
    wanted = msgspec.json.encode(request_id)
    found: list[Traced] = []
    read = 0
    for line in _lines(folder(home)):
        read += len(line)
        if wanted in line:
            one = _decoded(line)
            if one is not None and one.request_id == request_id:
                found.append(one)
        if read >= SEARCHED or (found and read >= MOST_BYTES):
            break
    return sorted(found, key=lambda one: (one.start_ms, -one.end_ms))


_LATE_MS: Final = 60_000
"""Workers write in turns: lines of one file are in the order of time to within this."""


def _decoded(line: bytes) -> Traced | None:
    try:
        return _DECODE(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # cut short by a crash


def _lines(place: Path) -> Iterator[bytes]:
    """Lines of all files, the last one first."""
    for path in sorted(place.glob("????-??-??.jsonl"), reverse=True):
        try:
            with path.open("rb") as file:
                at, rest = file.seek(0, os.SEEK_END), b""
                while at:
                    start = max(0, at - _PIECE)
                    file.seek(start)
                    lines = (file.read(at - start) + rest).split(b"\n")
                    rest, at = lines[0], start
                    yield from reversed(lines[1:])
                yield rest
        except FileNotFoundError:
            continue  # too old, and taken away just now
