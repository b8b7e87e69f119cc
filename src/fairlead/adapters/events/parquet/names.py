"""What the names of the files say: which rows are where, which file stands in the place of which, what to merge.

``endpoint=NAME/date=YYYY-MM-DD/WRITER-SERIAL[-SERIAL].SCHEMA.FIRST.LAST.parquet``: serials grow within a writer,
SCHEMA is the digest of the columns, FIRST and LAST are the earliest and the latest ``at_ms``. A merged file has the
serials from the first to the last of its parts, so it hides them by its name alone: a listing is all a reader needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote

import numpy as np

DAY_MS = 86_400_000

_NAME = re.compile(
    r"endpoint=(?P<endpoint>[^/]*)/date=(?P<date>[^/]*)/"
    r"(?P<writer>[0-9a-f]+)-(?P<low>\d+)(?:-(?P<high>\d+))?"
    r"\.(?P<schema>[0-9a-f]+)\.(?P<first>-?\d+)\.(?P<last>-?\d+)\.parquet"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a place says of a file. ``path``: below the root, with slashes.  ``modified_ms``: Unix time."""

    path: str
    size: int
    modified_ms: int


@dataclass(frozen=True, slots=True)
class File:
    """A file by its name. ``stream``: files of one folder, writer and schema; ``low`` to ``high``: their serials."""

    path: str
    endpoint: str
    stream: tuple[str, str, str]
    low: int
    high: int
    first_ms: int
    last_ms: int
    size: int
    modified_ms: int

    @property
    def schema(self) -> str:
        return self.stream[2]


def endpoint_folder(endpoint: str) -> str:
    return f"endpoint={quote(endpoint, safe='')}"


def date_of(at_ms: int) -> str:
    """``date=YYYY-MM-DD``, in UTC."""
    return f"date={np.datetime64(at_ms // DAY_MS, 'D')}"


def path_of(
    endpoint: str, date: str, writer: str, low: int, schema: str, first_ms: int, last_ms: int, high: int = 0
) -> str:
    serials = f"{low:08d}" if high <= low else f"{low:08d}-{high:08d}"
    return f"{endpoint_folder(endpoint)}/{date}/{writer}-{serials}.{schema}.{first_ms}.{last_ms}.parquet"


def parsed(listed: Iterable[Listed]) -> list[File]:
    """Those that are ours; every other name is left alone."""
    files = []
    for one in listed:
        if found := _NAME.fullmatch(one.path):
            low = int(found["low"])
            stream = (one.path.rpartition("/")[0], found["writer"], found["schema"])
            high = int(found["high"] or low)
            times = (int(found["first"]), int(found["last"]))
            files.append(
                File(one.path, unquote(found["endpoint"]), stream, low, high, *times, one.size, one.modified_ms)
            )
    return files


def split(files: Iterable[File]) -> tuple[list[File], list[tuple[File, File]]]:
    """Files to read, oldest first; and hidden ones, each with the merged file that hides it."""
    seen: list[File] = []
    hidden: list[tuple[File, File]] = []
    for file in sorted(files, key=lambda file: (file.stream, file.low, -file.high)):
        over = seen[-1] if seen else None
        if over and over.stream == file.stream and file.high <= over.high:
            hidden.append((file, over))
        else:
            seen.append(file)
    seen.sort(key=lambda file: (file.first_ms, file.last_ms, file.stream, file.low))
    return seen, hidden


def runs(seen: Iterable[File], least: int, small: int, smallest: int) -> list[list[File]]:
    """Neighbours within a stream to merge, each at least ``least`` long and made of files below ``small`` bytes.

    Sizes are told apart in steps of four, from ``smallest`` up, and a file is merged with its like: so a row is
    written again a few times, and not once for each new file.
    """
    streams: dict[tuple[str, str, str], list[File]] = {}
    for file in sorted(seen, key=lambda file: (file.stream, file.low)):
        streams.setdefault(file.stream, []).append(file)
    found: list[list[File]] = []
    for files in streams.values():
        limit = smallest
        while True:
            limit = min(limit, small)
            run = [part for part in _below(files, limit, 16 * small) if len(part) >= least]
            if run:
                found.extend(run)
                break
            if limit == small:
                break
            limit *= 4
    return found


def _below(files: list[File], limit: int, most: int) -> list[list[File]]:
    """Neighbours that are all below ``limit`` bytes, and together not much above ``most``."""
    groups: list[list[File]] = [[]]
    for file in files:
        if file.size < limit:
            if sum(part.size for part in groups[-1]) >= most:
                groups.append([])
            groups[-1].append(file)
        elif groups[-1]:
            groups.append([])
    return groups
