"""A file of 64-bit words that all processes of a machine map, and changes to it that happen whole or not at all.

Whoever changes words holds the lock, which dies with its process. The words and their new values are written beside
first (the intent), then its length, which makes it hold, then the words themselves; who takes the lock next carries out
an intent that it finds. So a process may be killed between any two instructions: redo logging, physical and absolute,
as in Mohan et al., ARIES, 1992, section 1.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fairlead.contracts.errors import StorageFull, Unavailable
from fairlead.contracts.ledger import LINES
from fairlead.kit.locking import taken
from fairlead.kit.mapping import mapped

WORD: Final = 8
BALANCES: Final = 8192
BALANCE: Final = 64
"""Words of one: digest (2), settled, reserved, begins, ends, answers, length of its key, the key."""
KEY_AT: Final = 8
KEY_BYTES: Final = (BALANCE - KEY_AT) * WORD
BLOCKS: Final = 64
BLOCK: Final = 64
"""Reservations in one; a process has whole blocks, so that what it leaves behind is found by its number."""
SLOTS: Final = BLOCKS * BLOCK
SLOT: Final = 192
"""Words of one: state, serial, time, usage (4), cost, how, lines, length of its text, 5 of each line, the text."""
LINE: Final = 5
LINES_AT: Final = 11
TEXT_AT: Final = LINES_AT + LINES * LINE
TEXT_BYTES: Final = (SLOT - TEXT_AT) * WORD

INTENT: Final = 2
SEGMENT, LOG_END, SERIAL = 3, 4, 5
_BOOT: Final = 6
_INTENT_AT: Final = 64
OWNERS_AT: Final = 400
HEAD: Final = 512
BALANCES_AT: Final = HEAD
SLOTS_AT: Final = BALANCES_AT + BALANCES * BALANCE
WORDS: Final = SLOTS_AT + SLOTS * SLOT
_MOST_CHANGED: Final = (OWNERS_AT - _INTENT_AT) // 2

MAGIC: Final = int.from_bytes(b"fl-ledg1", "little")
PATIENCE: Final = 30.0
"""Seconds that a process waits for the others when it begins."""
_SPINS, _TRIES, _PAUSE = 30, 800, 0.0001
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Memory:
    """``words``: signed, of 8 bytes. Raises StorageFull where the file cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stuck = False
        try:
            self._file, self._map = mapped(path, WORDS * WORD)
        except OSError as error:
            raise StorageFull(f"the ledger cannot be kept in {path}: {error.strerror}; choose another --home") from None
        self._view = memoryview(self._map)
        self.words = self._view.cast("q")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes anything. Raises Unavailable."""
        self.lock()
        try:
            yield
        finally:
            self.unlock()

    def wait(self) -> None:
        """Lock it, also where another process makes the balances of the log, which may take a while. Raises
        Unavailable.
        """
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.lock()
            except Unavailable:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return

    def lock(self) -> None:
        """The same as ``locked`` without a block. What another began and was killed in is done before."""
        if taken(self._file, 1 if self._stuck else _SPINS + _TRIES, _SPINS, _PAUSE):
            self._stuck = False
            if self.words[INTENT]:
                self._redo()
            return
        self._stuck = True  # it was stopped in the middle: from now on it is asked for once each time
        raise Unavailable("the ledger is held by a process that does not let go; try again", retry_after=1)

    def unlock(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def change(self, changes: list[tuple[int, int]]) -> None:
        """Set these words, all or none. Only with the lock."""
        words, at = self.words, _INTENT_AT
        if len(changes) > _MOST_CHANGED:
            raise ValueError(f"{len(changes)} words are more than one change can have")
        for place, value in changes:
            words[at] = place
            words[at + 1] = value
            at += 2
        words[INTENT] = len(changes)
        for place, value in changes:
            words[place] = value
        words[INTENT] = 0

    def _redo(self) -> None:
        words = self.words
        for at in range(_INTENT_AT, _INTENT_AT + 2 * words[INTENT], 2):
            words[words[at]] = words[at + 1]
        words[INTENT] = 0

    def fresh(self) -> bool:
        """Whether what is there is of no use: of another boot, whose last pages the disk may not have, or nothing."""
        return self.words[0] != MAGIC or (self.words[_BOOT], self.words[_BOOT + 1]) != _booted()

    def clear(self) -> None:
        """As if it had never been. Only with the lock; ``begun`` makes it hold."""
        self.words[0] = 0
        self._view[WORD:] = bytes(WORDS * WORD - WORD)

    def begun(self) -> None:
        self.words[_BOOT], self.words[_BOOT + 1] = _booted()
        self.words[0] = MAGIC

    def text(self, at: int, length: int) -> bytes:
        """``at``: a word."""
        return bytes(self._view[at * WORD : at * WORD + length])

    def put_text(self, at: int, text: bytes) -> None:
        self._view[at * WORD : at * WORD + len(text)] = text

    def flush(self) -> None:
        self._map.flush()

    def close(self) -> None:
        self.words.release()
        self._view.release()
        self._map.close()
        os.close(self._file)


def digest(key: str) -> tuple[int, int]:
    """What a balance is found by."""
    found = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return int.from_bytes(found[:8], "little", signed=True), int.from_bytes(found[8:], "little", signed=True)


def _booted() -> tuple[int, int]:
    """What tells one boot of the machine from another; the same where it does not say."""
    try:
        return digest(_BOOT_ID.read_text())
    except OSError:
        return 0, 0
