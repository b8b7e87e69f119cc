"""What is done of a batch: lines that are on the disk. All of it blocks, and is for a thread."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fairlead.serve.llm.batches.disk import sync, writing
from fairlead.serve.llm.batches.lines import done
from fairlead.serve.llm.batches.records import Counts


class Line(NamedTuple):
    """``well``: it goes to the output, not to the errors."""

    well: bool
    data: bytes


class Journal:
    """Of a batch in ``folder``, which this process alone works on. ``known``: whose requests are done."""

    def __init__(self, folder: Path) -> None:
        self.known: set[str] = set()
        self._sizes: dict[bool, int] = {}
        self._counts = {True: 0, False: 0}
        self._files: dict[bool, int] = {}
        for well, name in ((True, "output.jsonl"), (False, "errors.jsonl")):
            path = folder / name
            found, size = done(path.read_bytes()) if path.exists() else ([], 0)
            self._files[well] = descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            os.ftruncate(descriptor, size)  # the rest of it was cut short by a crash
            self._sizes[well], self._counts[well] = size, len(found)
            self.known.update(found)
        sync(folder)

    def counts(self, total: int) -> Counts:
        return Counts(total, self._counts[True], self._counts[False])

    def add(self, lines: Sequence[Line]) -> None:
        """All of them are on the disk when it returns. Raises StorageFull: then none of them is."""
        sizes = dict(self._sizes)
        try:
            with writing():
                for well, descriptor in self._files.items():
                    data = b"".join(one.data for one in lines if one.well is well)
                    while data:
                        written = os.write(descriptor, data)
                        sizes[well] += written
                        data = data[written:]
                for well in {one.well for one in lines}:
                    os.fsync(self._files[well])
        except BaseException:
            for well, size in self._sizes.items():
                with suppress(OSError):
                    os.ftruncate(self._files[well], size)
            raise
        self._sizes = sizes
        for one in lines:
            self._counts[one.well] += 1

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
