"""Buckets that all processes of a machine share: a file that each has in its memory, and a lock that dies with whoever
has it.

So the workers of a server have one limit between them, exactly, without a message. What is counted outlives every
process: a restart gives nobody a second quota. When the table is full, the bucket that would be empty first goes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fairlead.contracts.errors import StorageFull
from fairlead.kit.locking import taken
from fairlead.kit.mapping import mapped
from fairlead.serve.limits.buckets import AnyBucket, Counted, Flying, Rated

SLOTS: Final = 32_768
PROBES: Final = 16
"""Slots that a bucket may lie in."""
PLACES: Final = 40
"""Workers whose calls in flight are counted apart; more share the places."""
SIZE: Final = 128
SPINS: Final = 30
TRIES: Final = 500
PAUSE: Final = 0.0001
"""Seconds between two tries of the lock, after the first ones: some 80 ms in all. Then it is asked for once each time,
until it is free again: one worker that is stopped does not stop the others.
"""

_HEAD: Final = struct.Struct("<16sQQqq")
"""Digest of the key; value, low and high; when it is as if it had never been; when its period began (quotas)."""
_BODY: Final = struct.Struct("<QQqq")
_COUNT: Final = struct.Struct("<H")
_NOTHING: Final = (b"", 0, 0, 0, 0)
_LOW: Final = 2**64 - 1
_MARK: Final = b"fairlead-limit-1"
_FLYING: Final = struct.Struct(f"<{PLACES}H")
_AT_FLYING: Final = _HEAD.size
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_ROOM: Final = 2**62


class Held(Exception):
    """Another process has the lock and does not let go: it was stopped in the middle of it."""


class Table:
    """``place``: of this worker among the ``workers`` of its server.

    Raises StorageFull where the file cannot be made.
    """

    def __init__(self, path: Path, place: int = 0, workers: int = PLACES) -> None:
        self.path = path
        self._column = place % PLACES
        self._used = min(workers, PLACES)
        self._held = False
        try:
            self._file, self._memory = mapped(path, (SLOTS + 1) * SIZE)
        except OSError as error:
            raise StorageFull(f"limits cannot be kept in {path}: {error.strerror}; choose another --home") from None
        with contextlib.suppress(Held), self.locked():
            self._begin()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else reads or writes. Raises Held."""
        self.lock()
        try:
            yield
        finally:
            self.unlock()

    def lock(self) -> None:
        """The same without a block."""
        self._held = not taken(self._file, 1 if self._held else SPINS + TRIES, SPINS, PAUSE)
        if self._held:
            raise Held

    def unlock(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def load(self, one: AnyBucket, now: int, wall: int) -> None:
        """Take what the table says into the bucket. Only with the lock."""
        memory = self._memory
        digest, low, high, until, begins = _HEAD.unpack_from(memory, one.at) if one.at >= 0 else _NOTHING
        if digest != one.digest or one.at < 0:
            digest, low, high, until, begins = _HEAD.unpack_from(memory, self._find(one, now, wall))
        if high:
            low |= high << 64
        if type(one) is Rated:
            # further ahead than a burst: of a clock that began again
            one.value = low if low - now * one.scale <= one.most else 0
        elif type(one) is Counted:
            one.value, one.begins, one.ends = low, begins, until
        elif type(one) is Flying:
            every = _FLYING.unpack_from(memory, one.at + _AT_FLYING)
            one.value = every[self._column]
            one.others = sum(every) - one.value

    def store(self, one: AnyBucket) -> None:
        """Put it back where ``load`` found it. Only with the same lock."""
        value = one.value
        if type(one) is Rated:
            _BODY.pack_into(self._memory, one.at + 16, value & _LOW, value >> 64, value // one.scale + 1, 0)
        elif type(one) is Counted:
            _BODY.pack_into(self._memory, one.at + 16, value & _LOW, value >> 64, one.ends, one.begins)
        else:
            _COUNT.pack_into(self._memory, one.at + _AT_FLYING + 2 * self._column, min(value, 0xFFFF))

    def close(self) -> None:
        self._memory.close()
        os.close(self._file)

    def _find(self, one: AnyBucket, now: int, wall: int) -> int:
        """Where the bucket is; a place is made for it when it has none."""
        memory = self._memory
        digest: bytes = hashlib.blake2b(one.key.encode(), digest_size=16).digest()
        one.digest = digest
        begins = int.from_bytes(digest[:8], "little")
        worst, least = -1, _ROOM
        for probe in range(PROBES):
            at = (1 + (begins + probe) % SLOTS) * SIZE
            there = memory[at : at + 16]
            if there == digest:
                one.at = at
                return at
            left = self._left(at, there, now, wall)
            if left < least:
                worst, least = at, left
        memory[worst : worst + SIZE] = digest + bytes(SIZE - 16)
        one.at = worst
        return worst

    def _left(self, at: int, digest: bytes, now: int, wall: int) -> int:
        """Nanoseconds until what is there is as if it had never been; -1 for nothing."""
        if digest == bytes(16):
            return -1
        _, _, _, until, extra = _HEAD.unpack_from(self._memory, at)
        if any(_FLYING.unpack_from(self._memory, at + _AT_FLYING)):
            return _ROOM - 1
        left: int = (until - wall) * 1_000_000 if extra else until - now
        return max(0, left)

    def _begin(self) -> None:
        """Of another boot only the quotas hold; of an earlier worker in this place nothing is in flight, nor of one in
        a place that the server has no more.
        """
        boot = _booted()
        fresh = self._memory[:32] != _MARK + boot
        for slot in range(1, SLOTS + 1):
            at = slot * SIZE
            if self._memory[at : at + 16] == bytes(16):
                continue
            if fresh:
                *_, extra = _HEAD.unpack_from(self._memory, at)
                if not extra:
                    self._memory[at : at + SIZE] = bytes(SIZE)
                self._memory[at + _AT_FLYING : at + SIZE] = bytes(SIZE - _AT_FLYING)
            counts = at + _AT_FLYING + 2 * self._column
            self._memory[counts : counts + 2] = b"\0\0"
            unused = at + _AT_FLYING + 2 * self._used
            self._memory[unused : at + SIZE] = bytes(at + SIZE - unused)
        self._memory[:32] = _MARK + boot


def _booted() -> bytes:
    """What tells one boot of the machine from another; nothing where it does not say."""
    try:
        return hashlib.blake2b(_BOOT.read_bytes(), digest_size=16).digest()
    except OSError:
        return bytes(16)
