"""Reservations in the mapped file, in blocks that each belong to one process."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from fairlead.adapters.ledgers.mapped.memory import (
    BLOCK,
    BLOCKS,
    LINE,
    LINES_AT,
    OWNERS_AT,
    SLOT,
    SLOTS_AT,
    TEXT_AT,
    WORD,
    Memory,
)
from fairlead.adapters.ledgers.mapped.owners import Owner
from fairlead.adapters.ledgers.mapped.rows import Stand
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import LINES, Hold, How, Reservation

FREE, HELD, ENDED = 0, 1, 2
"""States. ``ENDED``: what it cost is known, and not settled yet."""
HOWS: Final[tuple[How, ...]] = ("settled", "cancelled", "failed", "lost")
_SERIAL, _AT, _USAGE, _COST, _HOW, _COUNT, _LENGTH = 1, 2, 3, 7, 8, 9, 10
_FILLS: Final = tuple(struct.Struct(f"={LINES_AT - 1 + LINE * count}q") for count in range(LINES + 1))


class Slots:
    """A slot is told by the place of its first word; only who has its block, or the lock, changes it."""

    def __init__(self, memory: Memory, owner: Owner) -> None:
        self._memory, self._owner = memory, owner
        self.words = memory.words
        self._free: list[int] = []

    def ready(self) -> bool:
        """Whether there is a free one, maybe once this process has another block. With the lock."""
        if self._free:
            return True
        words = self.words
        for block in range(BLOCKS):
            if not words[OWNERS_AT + block]:
                self._memory.change([(OWNERS_AT + block, self._owner.number)])
                self._free = [at for at in reversed(_slots(block)) if words[at] == FREE]
                return bool(self._free)
        return False

    def take(self, serial: int, asked: Reservation, stands: Sequence[Stand], text: bytes) -> int:
        """A free one, filled; it holds when its state says so."""
        at = self._free.pop()
        told = [serial, asked.at_ms, 0, 0, 0, 0, 0, 0, len(stands), len(text)]
        for one, line in zip(stands, asked.lines, strict=True):
            told += (one.row, one.begins, line.worst, line.money, one.mark)
        _FILLS[len(stands)].pack_into(self.words.obj, (at + 1) * WORD, *told)
        self._memory.put_text(at + TEXT_AT, text)
        return at

    def give(self, at: int) -> None:
        """It is free again."""
        if self.words[_owner_of(at)] == self._owner.number:
            self._free.append(at)

    def holds(self, hold: Hold) -> bool:
        """Whether the slot is still that of this hold."""
        return bool(self.words[hold.place + _SERIAL] == hold.serial and self.words[hold.place])

    def progress(self, at: int, usage: Usage, cost: int) -> None:
        words = self.words
        words[at + 3], words[at + 4], words[at + 5], words[at + 6] = usage
        words[at + _COST] = cost

    def end(self, at: int, usage: Usage, cost: int, how: How) -> None:
        self.progress(at, usage, cost)
        self.words[at + _HOW] = HOWS.index(how)
        self.words[at] = ENDED

    def told(self, at: int) -> tuple[Usage, int, How, int]:
        """Usage, cost, how it ended, and when it was reserved."""
        words = self.words
        usage = Usage(words[at + 3], words[at + 4], words[at + 5], words[at + 6])
        return usage, words[at + _COST], HOWS[words[at + _HOW]], words[at + _AT]

    def lines(self, at: int) -> list[tuple[int, int, int, bool, int]]:
        """Row, beginning of the window, worst, whether it is money, and the row's mark."""
        words = self.words
        end = at + LINES_AT + LINE * words[at + _COUNT]
        return [
            (words[one], words[one + 1], words[one + 2], bool(words[one + 3]), words[one + 4])
            for one in range(at + LINES_AT, end, LINE)
        ]

    def text(self, at: int) -> bytes:
        return self._memory.text(at + TEXT_AT, self.words[at + _LENGTH])

    def lost(self, at: int) -> None:
        """The process that had it has ended before the answer did."""
        if self.words[at] == HELD:
            self.words[at + _HOW] = HOWS.index("lost")

    def dead(self) -> dict[int, list[int]]:
        """Processes that have ended and left blocks, with the places of their owners' words."""
        words = self.words
        found: defaultdict[int, list[int]] = defaultdict(list)
        for at in range(OWNERS_AT, OWNERS_AT + BLOCKS):
            if words[at] and words[at] != self._owner.number:
                found[words[at]].append(at)
        return {number: blocks for number, blocks in found.items() if not self._owner.lives(number)}

    def held(self, blocks: Sequence[int]) -> list[int]:
        """The slots in them that are not free."""
        return [at for owner in blocks for at in _slots(owner - OWNERS_AT) if self.words[at] != FREE]

    def give_back(self) -> bool:
        """This process ends: blocks of which nothing is held are anybody's. Whether that was all. With the lock."""
        own = [at for at in range(OWNERS_AT, OWNERS_AT + BLOCKS) if self.words[at] == self._owner.number]
        empty = [at for at in own if not self.held([at])]
        if empty:
            self._memory.change([(at, 0) for at in empty])
        self._free = []
        return len(empty) == len(own)


def _slots(block: int) -> range:
    begins = SLOTS_AT + block * BLOCK * SLOT
    return range(begins, begins + BLOCK * SLOT, SLOT)


def _owner_of(at: int) -> int:
    return OWNERS_AT + (at - SLOTS_AT) // (BLOCK * SLOT)
