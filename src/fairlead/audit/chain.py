"""The one writer of a chain. Everything it appends is on disk when it returns, or the file is as it was before.

A process takes the first chain that nobody has (a lock that ends with it), and goes on where that stopped; it begins a
new one where there is none, or where the end of the old one is not what it was. What a killed process left half
written stays as it is, and the next entry says how long it is and what its digest is.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairlead.audit.entry import RECOVERED, RETENTION, SYSTEM, Line, Noted, Seal, decode, encode, genesis, read, stamp
from fairlead.audit.heads import Head, Heads
from fairlead.audit.segments import Segment, bytes_of, chains, entries, name_of
from fairlead.contracts.audit import Audited
from fairlead.contracts.errors import FairleadError, UsageError
from fairlead.kit.files import held

log = logging.getLogger("fairlead.audit")

SEGMENT_BYTES: Final = 16 * 2**20
"""A segment that is longer is the last but one; so is one of another day."""
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class _End:
    """Where a chain stands. ``torn``: what stands behind the last whole line."""

    seq: int
    hash: str
    day: str = ""
    torn: bytes = b""


class Chain:
    """See the module. Not safe for several threads at once. Raises OSError when the disk does not take it."""

    def __init__(self, folder: Path, name: str, number: int, end: _End, seal: Seal, lock: contextlib.ExitStack) -> None:
        self.name = name
        self.seq, self.hash = end.seq, end.hash
        self._folder, self._number, self._seal, self._lock = folder, number, seal, lock
        self._torn, self._day = end.torn, end.day
        self._file = -1
        self._size = 0
        self._checked = False
        self._open()

    def append(self, noted: Sequence[Noted]) -> None:
        """Write these and wait for the disk; all of them or, when it raises, none."""
        if not noted:
            return
        day = stamp(noted[0].at_ms)[:10]
        if self._size and not self._torn and (day != self._day or self._size >= SEGMENT_BYTES):
            self._next()
        self._day = day
        seq, prev, lines = self.seq, self.hash, []
        if self._torn:
            lines.append(b"\n")
            noted = [Noted(_recovered(self._torn), noted[0].at_ms), *noted]
        for one in noted:
            seq += 1
            line, prev = encode(one, seq, prev, self._seal)
            lines.append(line)
        data = b"".join(lines)
        try:
            _write(self._file, data)
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self.seq, self.hash, self._torn = seq, prev, b""
        self._size += len(data)

    def anchor(self, heads: Heads, at_ms: int) -> str:
        """Keep the head; a sentence when the chain is not the one whose head was kept, which is then left as it is."""
        return self.keep(heads, self.head(at_ms))

    def head(self, at_ms: int) -> Head:
        """Where it stands now."""
        return Head(self.name, self.seq, self.hash, place_of(self._folder), at_ms)

    def keep(self, heads: Heads, head: Head) -> str:
        """As ``anchor``, with a head that was taken before. In any thread, while others are appended."""
        if not self._checked:
            if not follows(heads.get(self.name), chains(self._folder).get(self.name, []), head.seq):
                return f"the audit log has lost entries of chain {self.name}: run `fairlead audit verify`"
            self._checked = True
        heads.put(head)
        return ""

    def retain(self, days: float, now_ms: int) -> int:
        """Drop the segments whose last entry is older; the entry that says so comes first. How many were dropped."""
        over, through = [], None
        leaves = self._size and not self._torn and stamp(now_ms)[:10] != self._day
        for segment in chains(self._folder).get(self.name, []):
            last = _last(segment) if segment.number != self._number or leaves else None
            if last is None or last.at >= stamp(max(0, now_ms - round(days * DAY_MS))):
                break
            over.append(segment)
            through = last
        if through is None:
            return 0
        detail: dict[str, str | int | float] = {
            "through": through.seq,
            "digest": through.hash,
            "segments": len(over),
            "until": through.at,
        }
        self.append([Noted(Audited(SYSTEM, RETENTION, detail=detail), now_ms)])
        for segment in over:
            segment.path.unlink(missing_ok=True)
        return len(over)

    def close(self) -> None:
        """Let the chain go, for another process."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._lock.close()

    def _next(self) -> None:
        os.close(self._file)
        self._number += 1
        self._open()

    def _open(self) -> None:
        path = self._folder / name_of(self.name, self._number)
        new = not path.exists()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size
        if new:  # the file's name must be durable too
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def opened(folder: Path, seal: Seal, heads: Heads | None = None) -> Chain:
    """A chain to write to. ``heads``: what the chains' ends are held against, where they can be asked."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in chains(folder):
        chain = free_one(folder, name, seal, heads)
        if chain is not None:
            return chain
    while True:
        name = secrets.token_hex(4)
        lock = _taken(folder, name)
        if lock is not None:
            return Chain(folder, name, 1, _End(0, genesis(name)), seal, lock)


def free_one(folder: Path, name: str, seal: Seal, heads: Heads | None = None) -> Chain | None:
    """This chain, to write to; None where another process has it, or its end is not what it was."""
    lock = _taken(folder, name)
    if lock is None:
        return None
    try:
        segments = chains(folder).get(name, [])  # read again: another may have written until now
        end = _end(name, segments, seal)
        if segments and end is not None and _trusted(heads, name, segments, end):
            return Chain(folder, name, segments[-1].number, end, seal, lock)
    except UsageError:  # it is sealed with a key that is not ours
        pass
    except BaseException:
        lock.close()
        raise
    lock.close()
    return None


def follows(head: Head | None, segments: list[Segment], seq: int) -> bool:
    """Whether a chain of ``seq`` entries still has the one whose head was kept."""
    if head is None or not head.seq:
        return True
    if head.seq > seq:
        return False
    found = next((line for line in entries(segments) if line.seq == head.seq), None)
    return found is not None and found.hash == head.hash


def place_of(folder: Path) -> str:
    """Which log it is, among those of all machines that share a state store."""
    return f"{socket.gethostname()}:{folder}"


def free(folder: Path, name: str) -> bool:
    """Whether nobody writes to this chain now."""
    lock = _taken(folder, name)
    if lock is not None:
        lock.close()
    return lock is not None


def _taken(folder: Path, name: str) -> contextlib.ExitStack | None:
    stack = contextlib.ExitStack()
    if stack.enter_context(held(folder / f"{name}.lock")):
        return stack
    stack.close()
    return None


def _trusted(heads: Heads | None, name: str, segments: list[Segment], end: _End) -> bool:
    if heads is None:
        return True
    try:
        head = heads.get(name)
    except FairleadError:  # serving goes on; it is looked at again before a head is kept
        return True
    if follows(head, segments, end.seq):
        return True
    log.error("audit entries are gone", extra={"fields": {"chain": name, "remedy": "fairlead audit verify"}})
    return False


def _end(name: str, segments: list[Segment], seal: Seal) -> _End | None:
    """Where the chain stands; None when its last line is not what was written."""
    for segment in reversed(segments):
        *whole, torn = bytes_of(segment).split(b"\n")
        if not whole:
            if torn and segment is not segments[0]:
                before = _end(name, segments[:-1], seal)
                return None if before is None else _End(before.seq, before.hash, before.day, torn)
            if torn:
                return _End(0, genesis(name), torn=torn)
            continue
        last = decode(whole[-1], seal)
        return None if last is None else _End(last.seq, last.hash, last.at[:10], torn)
    return _End(0, genesis(name))


def _last(segment: Segment) -> Line | None:
    lines = bytes_of(segment).rstrip(b"\n").split(b"\n")
    return read(lines[-1])


def _recovered(torn: bytes) -> Audited:
    detail: dict[str, str | int | float] = {
        "torn_bytes": len(torn),
        "torn_sha256": hashlib.sha256(torn).hexdigest(),
        "why": "a process ended while it wrote the line before this one",
    }
    return Audited(SYSTEM, RECOVERED, detail=detail)


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
