"""Files of lines: cut into pieces of whole records, plain or gzipped, without keeping more than one piece."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairlead.adapters.tables import bucket
from fairlead.contracts.errors import MalformedBody, SourceNotFound
from fairlead.contracts.tables import Found, Piece

PIECE_BYTES = 32 << 20
"""A piece of a file of lines ends here, however few rows it has."""
RECORD_BYTES = 16 << 20
"""No row is longer: more is a quote that nobody closed."""
_CLOSED = re.compile(rb"""(?>(?:"(?:[^"]++|"")*+"[^",\r\n]*+|[^",][^",\r\n]*+)?+(?:,|\r?\n|\Z))*+""")
"""A line whose quotes are all in their places."""
_BOM = b"\xef\xbb\xbf"


@contextlib.contextmanager
def opened(file: Found) -> Iterator[tuple[Any, Any]]:
    """The file's bytes, unpacked; and the file itself, whose position says how far that is."""
    try:
        with bucket.opened(file) if bucket.inside(file.path) else Path(file.path).open("rb") as raw:
            if not file.size:
                raise MalformedBody(f"{file.path} is empty")
            if file.path.endswith(".gz"):
                with gzip.open(raw) as unpacked:
                    yield io.BufferedReader(unpacked, 1 << 20), raw
            else:
                yield raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw, 1 << 20), raw
    except FileNotFoundError:
        raise SourceNotFound(f"there is no file {file.path}") from None
    except EOFError:
        raise MalformedBody(f"{file.path} is cut short: its gzip stream has no end; fetch it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise MalformedBody(f"{file.path} is no gzip file, or a damaged one: {error}") from error


def records(lines: Any, quoted: bool, where: str = "the file") -> Iterator[bytes]:
    """Whole records with their line ends, blank lines too. ``quoted``: a line may end inside quotes (CSV)."""
    if not quoted:
        yield from lines
        return
    begun: list[bytes] = []
    size, inside = 0, False
    for line in lines:
        if not begun and (b'"' not in line or _CLOSED.fullmatch(line)):
            yield line
            continue
        inside = _inside(line, inside)
        begun.append(line)
        size += len(line)
        if size > RECORD_BYTES:
            raise MalformedBody(f"{where} has a row of more than {RECORD_BYTES >> 20} MiB: a quote that is not closed?")
        if not inside:
            yield b"".join(begun)
            begun, size = [], 0
    if begun:
        yield b"".join(begun)


def _inside(line: bytes, inside: bool) -> bool:
    """Whether the line ends within quotes. ``inside``: whether it begins there. Quotes open only at a cell's start."""
    at = 0
    while (found := line.find(b'"', at)) >= 0:
        at = found + 1
        if not inside:
            inside = found == 0 or line[found - 1 : found] == b","
        elif line[at : at + 1] == b'"':
            at += 1
        else:
            inside = False
    return inside


def first(stream: Any) -> bytes:
    """The first bytes of a stream, after what says that it is UTF-8."""
    start = stream.peek(3)[:3]
    if start == _BOM:
        stream.read(3)
    return bytes(start)


def pieces(
    stream: Any, raw: Any, file: Found, rows: int, quoted: bool, header: tuple[str, ...] = ()
) -> Iterator[Piece]:
    """From where the stream stands to its end."""
    kept: list[bytes] = []
    count = size = done = 0
    for record in records(stream, quoted, file.path):
        if not record.strip():
            continue  # a blank line is no row
        kept.append(record)
        count += 1
        size += len(record)
        if count == rows or size >= PIECE_BYTES:
            yield Piece(done, count, min(1.0, raw.tell() / file.size), header=header, data=b"".join(kept))
            done += count
            kept, count, size = [], 0, 0
    if count:
        yield Piece(done, count, 1.0, header=header, data=b"".join(kept))
