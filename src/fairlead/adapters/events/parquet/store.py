"""The event store on Parquet: written in batches by many processes, read by pyarrow, asked by DuckDB."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from fairlead.adapters.events.parquet import frames
from fairlead.adapters.events.parquet.names import (
    DAY_MS,
    File,
    date_of,
    endpoint_folder,
    parsed,
    path_of,
    runs,
    split,
)
from fairlead.adapters.events.parquet.places import place
from fairlead.adapters.events.parquet.sql import select
from fairlead.adapters.events.parquet.tables import digest, encode, parts
from fairlead.contracts.errors import FairleadError, InvalidParameter, Unavailable
from fairlead.contracts.events import Array, Columns
from fairlead.kit.clock import Clock, SystemClock

MERGE_EVERY = 64
"""Files of one endpoint and day that a writer makes before it merges its small ones."""
LEAST = 16
SMALLEST, SMALL = 16 * 1024, 4 * 1024 * 1024
"""Files from ``SMALL`` bytes on are not merged; see ``names.runs``."""
GRACE_MS = 60_000
"""How long the parts of a merged file stay for readers that listed the folder before it was there."""
LEFT_BEHIND_MS = 3_600_000

_TRIES = 5
T = TypeVar("T")


class ParquetEvents:
    """EventStore in ``location``: a folder, or ``s3://bucket/prefix`` with the AWS environment's credentials.

    A file of each ``append``, endpoint and schema; small ones are merged by the process that wrote them, and by
    ``prune`` once their day is over. Call ``prune`` now and then (``before_ms`` 0 keeps every event): it tidies up.
    """

    def __init__(self, location: str, clock: Clock | None = None) -> None:
        self._place = place(location)
        self._clock = clock or SystemClock()
        self._schemas: dict[str, Any] = {}
        self._made: Counter[tuple[str, str]] = Counter()
        self._serial = 0
        self._writer, self._process = "", 0

    def append(self, batch: Sequence[Columns]) -> None:
        made = parts(batch)
        if not made:
            return
        self._name_writer()
        files = []
        for part in made:
            self._serial += 1
            schema = digest(part.table.schema)
            times = (part.first_ms, part.last_ms)
            path = path_of(part.endpoint, part.date, self._writer, self._serial, schema, *times)
            files.append((path, encode(part.table)))
        self._place.put(files)
        for part in made:
            self._made[part.endpoint, part.date] += 1
            if self._made[part.endpoint, part.date] % MERGE_EVERY == 0:
                with contextlib.suppress(FairleadError):  # the events are kept; merging waits for the next time
                    self._merge(part.endpoint, part.date.__eq__, LEAST, self._writer)

    def frame(
        self,
        endpoint: str,
        *,
        since_ms: int = 0,
        until_ms: int | None = None,
        version: str = "",
        limit: int = 0,
        features: bool = True,
    ) -> Mapping[str, Array]:
        keep = pads.field("at_ms") >= since_ms
        if until_ms is not None:
            keep &= pads.field("at_ms") < until_ms
        if version:
            keep &= pads.field("version") == version

        def read() -> list[Any]:
            files = self._files(endpoint, since_ms, until_ms)
            return self._newest(files, keep, limit, features) if limit else self._tables(files, keep, features)

        tables = [table for table in self._whole(read) if table.num_rows]
        kinds = frames.unified(table.schema for table in tables)
        if not tables:
            return frames.arrays(pa.schema(list(kinds.items())).empty_table())
        table = pa.concat_tables([frames.cast(table, kinds) for table in tables])
        at_ms = table["at_ms"].to_numpy()
        if (np.diff(at_ms) < 0).any():
            table = table.take(pa.array(np.argsort(at_ms, kind="stable")))
        return frames.arrays(table.slice(max(0, table.num_rows - limit)) if limit else table)

    def query(self, sql: str) -> Mapping[str, Array]:
        """Columns as in ``frame``, after ``endpoint``; bytes are text. Raises InvalidParameter, Unavailable."""

        def ask() -> Any:
            files = [file for folder in self._place.endpoints() for file in self._seen(folder)]
            groups: dict[tuple[str, str], list[File]] = {}
            for file in files:
                groups.setdefault((file.endpoint, file.schema), []).append(file)
            sources = [(endpoint, self._dataset(group)) for (endpoint, _), group in groups.items()]
            try:
                return select(sql, sources)
            except InvalidParameter:
                for _, dataset in sources:
                    dataset.count_rows()  # raises when it is not the question that is wrong, but a file that is gone
                raise

        return frames.arrays(self._whole(ask))

    def prune(self, endpoint: str, before_ms: int) -> int:
        folder = endpoint_folder(endpoint)
        now = self._clock.wall_ms()
        gone = 0
        with self._place.alone(folder):
            old = [file for file in self._all(folder) if file.last_ms < before_ms]
            for file in sorted(old, key=lambda file: file.high - file.low):  # parts before what hides them
                gone += self._place.remove(file.path)
        yesterday = date_of(now - DAY_MS)
        self._merge(endpoint, lambda date: date < yesterday, 2)
        self._place.tidy(folder, now - LEFT_BEHIND_MS)
        return gone

    def close(self) -> None:
        """Nothing is open between calls."""

    def _name_writer(self) -> None:
        """A name of its own for each process, after a fork too: no file is ever written over."""
        if self._process != os.getpid():
            self._process, self._writer, self._serial = os.getpid(), secrets.token_hex(6), 0

    def _all(self, folder: str, wanted: Callable[[str], bool] = lambda _: True) -> list[File]:
        return parsed(self._place.files(folder, wanted))

    def _seen(self, folder: str, wanted: Callable[[str], bool] = lambda _: True) -> list[File]:
        return split(self._all(folder, wanted))[0]

    def _files(self, endpoint: str, since_ms: int, until_ms: int | None) -> list[File]:
        """Those that may have rows of that time, oldest first."""

        since = date_of(since_ms)

        def wanted(date: str) -> bool:  # only dates of four-digit years sort as text
            return len(date) != len(since) or date >= since

        return [
            file
            for file in self._seen(endpoint_folder(endpoint), wanted)
            if file.last_ms >= since_ms and (until_ms is None or file.first_ms < until_ms)
        ]

    def _dataset(self, files: Sequence[File]) -> Any:
        """Files of one schema."""
        schema = files[0].schema
        if schema not in self._schemas:
            self._schemas[schema] = pq.read_schema(self._where(files[0]), filesystem=self._place.filesystem)
        paths = [self._where(file) for file in files]
        return pads.dataset(
            paths, schema=self._schemas[schema], filesystem=self._place.filesystem, format="parquet", partitioning=None
        )

    def _where(self, file: File) -> str:
        return f"{self._place.root}/{file.path}"

    def _tables(self, files: Sequence[File], keep: Any, features: bool) -> list[Any]:
        groups: dict[str, list[File]] = {}
        for file in files:
            groups.setdefault(file.schema, []).append(file)
        return [_chosen(self._dataset(group), keep, features) for group in groups.values()]

    def _newest(self, files: Sequence[File], keep: Any, limit: int, features: bool) -> list[Any]:
        """From the newest file back, until no older one can have a row among the newest ``limit``."""
        waiting = sorted(files, key=lambda file: file.last_ms)
        tables: list[Any] = []
        count = 8
        while waiting:
            chunk, waiting = waiting[-count:], waiting[:-count]
            count *= 2
            tables = [*self._tables(chunk, keep, features), *tables]
            times = np.concatenate([table["at_ms"].to_numpy() for table in tables])
            if len(times) >= limit and waiting:
                oldest = np.partition(times, len(times) - limit)[len(times) - limit]
                if waiting[-1].last_ms <= oldest:
                    break
        return tables

    def _merge(self, endpoint: str, wanted: Callable[[str], bool], least: int, writer: str = "") -> None:
        """Write each run of small files as one, and remove the parts of what was merged a while ago.

        The lock is held for one run at a time: a writer that wants to merge too does not wait for long.
        """
        folder = endpoint_folder(endpoint)
        waiting = True
        while waiting:
            with self._place.alone(folder):
                seen, hidden = split(self._all(folder, wanted))
                for file, over in hidden:
                    if over.modified_ms < self._clock.wall_ms() - GRACE_MS:
                        self._place.remove(file.path)
                found = runs((one for one in seen if writer in ("", one.stream[1])), least, SMALL, SMALLEST)
                for run in found[:1]:
                    self._merge_run(run)
                waiting = bool(found)

    def _merge_run(self, run: Sequence[File]) -> None:
        try:
            table = self._dataset(run).to_table()
        except (OSError, pa.ArrowException) as error:
            raise self._failed(error) from error
        _, writer, schema = run[0].stream
        times = (min(file.first_ms for file in run), max(file.last_ms for file in run))
        path = path_of(run[0].endpoint, date_of(times[0]), writer, run[0].low, schema, *times, high=run[-1].high)
        self._place.put([(path, encode(table))])

    def _whole(self, read: Callable[[], T]) -> T:
        """What ``read`` finds; once more when a file was merged or pruned after it was listed."""
        for left in reversed(range(_TRIES)):
            try:
                return read()
            except FileNotFoundError as error:
                if not left:
                    raise self._failed(error) from error
            except (OSError, pa.ArrowException) as error:
                raise self._failed(error) from error
        raise AssertionError("the last try returns or raises")

    def _failed(self, error: Exception) -> Unavailable:
        return Unavailable(f"events: {self._place.root} cannot be read: {str(error).partition(chr(10))[0]}")


def _chosen(dataset: Any, keep: Any, features: bool) -> Any:
    """A table of the rows to keep, without the columns of features where they are not wanted."""
    names = [name for name in dataset.schema.names if features or not name.startswith("in.")]
    return dataset.to_table(columns=names, filter=keep)
