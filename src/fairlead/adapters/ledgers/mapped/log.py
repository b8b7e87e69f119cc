"""The log: what was settled, one JSON object a line, in files that begin with how every balance stood.

Lines are written at a place that the mapped file says, and hold once it says more: a line that was written by half is
never read. After a crash of the machine the last file is read up to its first line that is none.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final

import msgspec

from fairlead.contracts.errors import StorageFull
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Account, Balance, How, Spend

LARGEST: Final = 64 * 2**20
"""Bytes after which another file is begun."""
_encode = msgspec.json.Encoder().encode
_PIECE: Final = 2**20
_SKEW_MS: Final = 3_600_000
"""By which the clocks of processes may differ."""


class Entry(msgspec.Struct, omit_defaults=True):
    """A line. ``of``: key, beginning and end of the window, amount.  ``reset``: a balance that began afresh.

    ``carried``: all balances when the file was begun.
    """

    id: str = ""
    account: tuple[str, str, str, str, str] = ("", "", "", "", "")
    at: int = 0
    ended: int = 0
    usage: tuple[int, int, int, int] = (0, 0, 0, 0)
    cost: int = 0
    currency: str = ""
    how: How = "settled"
    of: list[tuple[str, int, int, int]] = []
    reset: tuple[str, int, int, int] | None = None
    by: str = ""
    carried: list[tuple[str, int, int, int, int]] | None = None

    def spend(self) -> Spend:
        of, account = tuple(self.of), Account(*self.account)
        return Spend(self.id, account, self.at, self.ended, Usage(*self.usage), self.cost, self.currency, self.how, of)


_decode = msgspec.json.Decoder(Entry).decode


class Log:
    """``end``: of a segment, bytes of it that hold."""

    def __init__(self, folder: Path, largest: int = LARGEST) -> None:
        self.folder = folder
        self._largest = largest
        self._segment = -1
        self._file = -1

    def put(self, segment: int, end: int, line: bytes) -> int:
        """Behind what holds; the new end. Raises StorageFull, and then nothing has changed."""
        try:
            if segment != self._segment:
                self._open(segment)
            written = os.pwrite(self._file, line, end)
            cause = "" if written == len(line) else "no space left"
        except OSError as error:
            cause = error.strerror or "it failed"
        if cause:
            raise StorageFull(f"the ledger cannot be written in {self.folder}: {cause}; free some space")
        return end + written

    def full(self, end: int) -> bool:
        return end >= self._largest

    def begin(self, segment: int, balances: Sequence[Balance]) -> int:
        """Make a file that begins with these, for good; its end."""
        self.sync(segment - 1)
        carried = [(one.key, one.begins, one.ends, one.settled, one.answers) for one in balances]
        end = self.put(segment, 0, line(Entry(carried=carried)))
        self.cut(segment, end)
        self.sync(segment)
        return end

    def cut(self, segment: int, end: int) -> None:
        """Nothing is behind ``end`` from now on."""
        self._open(segment)
        os.ftruncate(self._file, end)

    def sync(self, segment: int) -> None:
        """What was written, by whomever, outlives the machine's power. From any thread."""
        with contextlib.suppress(FileNotFoundError):
            file = os.open(self._path(segment), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def segments(self) -> list[int]:
        found = [path.stem.removeprefix("spend-") for path in self.folder.glob("spend-*.jsonl")]
        return sorted(int(one) for one in found if one.isdigit())

    def identity(self, segment: int) -> int:
        """Tells the file of a segment from another that came in its place; 0: there is none."""
        try:
            return self._path(segment).stat().st_ino
        except FileNotFoundError:
            return 0

    def prune(self, before_ms: int, present: int) -> int:
        """Take away files that nobody wrote to since; how many that were."""
        count = 0
        for segment in self.segments():
            path = self._path(segment)
            with contextlib.suppress(OSError):
                if segment < present and path.stat().st_mtime * 1000 < before_ms:
                    path.unlink()
                    count += 1
        return count

    def read(self, segment: int, end: int = -1, start: int = 0) -> Iterator[tuple[Entry, int]]:
        """Entries with where each ends. ``end``: bytes that hold; -1 for as many as can be read.  ``start``: the end of
        an entry.
        """
        at, rest = start, b""
        try:
            with self._path(segment).open("rb") as file:
                file.seek(start)
                while piece := file.read(_PIECE if end < 0 else min(_PIECE, end - at - len(rest))):
                    lines = (rest + piece).split(b"\n")
                    rest = lines.pop()
                    for line in lines:
                        at += len(line) + 1
                        yield _decode(line), at
        except FileNotFoundError:
            return
        except msgspec.DecodeError:
            return  # of a machine that lost its power: nothing behind it holds

    def spends(self, last: int, end: int, after: tuple[int, int] = (0, 0), since_ms: int = 0) -> Iterator[Spend]:
        """Up to ``end`` of the segment ``last``, in the order of settling. ``after``: a segment, where an entry ends.

        Segments of which all was settled before ``since_ms`` are not read.
        """
        segments = [one for one in self.segments() if after[0] <= one <= last]
        for segment, following in zip_longest(segments, segments[1:]):
            if since_ms and following is not None and self._begun(following) < since_ms - _SKEW_MS:
                continue
            start = after[1] if segment == after[0] else 0
            for entry, _ in self.read(segment, end if segment == last else -1, start):
                if entry.id:
                    yield entry.spend()

    def _begun(self, segment: int) -> float:
        """When the first of it was settled (Unix ms); infinite where nothing was."""
        return next((entry.ended for entry, _ in self.read(segment) if entry.ended), math.inf)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._segment = self._file = -1

    def _open(self, segment: int) -> None:
        self.close()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._path(segment), flags, 0o600)
        self._segment = segment

    def _path(self, segment: int) -> Path:
        return self.folder / f"spend-{segment:08d}.jsonl"


def line(entry: Entry) -> bytes:
    return _encode(entry) + b"\n"


def told(log: Log, segment: int, end: int = -1) -> tuple[dict[str, Balance], int]:
    """The balances that a segment leads to, and the end of what can be read of it; nothing for one that does not begin
    as it should.
    """
    found: dict[str, Balance] = {}
    read = 0
    for entry, at in log.read(segment, end):
        if not read and entry.carried is None:
            break
        read = at
        _add(found, entry)
    return found, read


def _add(found: dict[str, Balance], entry: Entry) -> None:
    for key, begins, ends, settled, answers in entry.carried or ():
        found[key] = Balance(key, begins, ends, settled, 0, answers)
    for key, begins, ends, amount in entry.of:
        known = found.get(key)
        if known is None or known.ends < ends:
            known = Balance(key, begins, ends, 0, 0, 0)
        if known.begins == begins:
            found[key] = known._replace(settled=known.settled + amount, answers=known.answers + 1)
    if entry.reset is not None:
        key, begins, ends, _ = entry.reset
        found[key] = Balance(key, begins, ends, 0, 0, 0)


_Head = tuple[str, tuple[str, str, str, str, str], str]
"""Id, account and currency of a reservation: what is needed to write its line in another process."""
unpacked = msgspec.json.Decoder(_Head).decode


def packed(id: str, account: Account, currency: str, room: int) -> bytes:  # noqa: A002 - what the record calls it
    """As text of at most ``room`` bytes: names that are too long lose their ends."""
    text = _encode((id, account, currency))
    for length in (64, 24, 4):
        if len(text) <= room:
            break
        text = _encode((id[:length], [one[:length] for one in account], currency))
    return text
