"""Counts of what happened lately, in a window that slides. Pure: time is passed in."""

from __future__ import annotations

import math
from typing import Final

_SLOTS: Final = 10


class Sums:
    """``totals``: one for each of ``width`` things, over the last ``seconds``; after ``turn`` they are right.

    The window has ``_SLOTS`` slots, the oldest of which is forgotten as a whole: O(1) in time and in what is counted.
    """

    __slots__ = ("_at", "_seconds", "_slots", "totals")

    def __init__(self, width: int, seconds: float) -> None:
        self.totals = [0] * width
        self._slots = [[0] * width for _ in range(_SLOTS)]
        self._seconds = seconds / _SLOTS
        self._at = 0

    def add(self, which: int, now: float) -> None:
        self.turn(now)
        self._slots[self._at % _SLOTS][which] += 1
        self.totals[which] += 1

    def turn(self, now: float) -> None:
        """Forget what is older than the window."""
        at = math.floor(now / self._seconds)
        if at <= self._at:
            return
        for slot in range(max(self._at, at - _SLOTS) + 1, at + 1):
            old = self._slots[slot % _SLOTS]
            for which, count in enumerate(old):
                self.totals[which] -= count
                old[which] = 0
        self._at = at

    def clear(self) -> None:
        for slot in (self.totals, *self._slots):
            slot[:] = [0] * len(slot)
