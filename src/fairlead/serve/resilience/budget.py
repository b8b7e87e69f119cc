"""How many calls may be made beside those that were asked for: a share of them. Pure: time is passed in.

Retries help when little fails and hurt when much does: three tries each are three times the load of a server that is
too slow already. A budget bounds that: within the last ``seconds``, extra calls are at most ``share`` of the calls, or
``minimum`` a second, whichever is more.
"""

from __future__ import annotations

import math
from typing import Final

_SLOTS: Final = 10


class Budget:
    """Counts in ``_SLOTS`` slots of time, the oldest of which is forgotten as a whole: O(1) in calls and time."""

    __slots__ = ("_at", "_calls", "_extra", "_minimum", "_share", "_slot", "_sums")

    def __init__(self, share: float, minimum: float = 1.0, seconds: float = 10.0) -> None:
        self._share, self._minimum = share, minimum * seconds
        self._slot = seconds / _SLOTS
        self._calls, self._extra = [0] * _SLOTS, [0] * _SLOTS
        self._sums = [0, 0]
        self._at = 0

    def call(self, now: float) -> None:
        """One that was asked for."""
        self._turn(now)
        self._calls[self._at % _SLOTS] += 1
        self._sums[0] += 1

    def take(self, now: float) -> bool:
        """Whether there may be one more beside them; it is counted if so."""
        self._turn(now)
        if self._sums[1] + 1 > max(self._share * self._sums[0], self._minimum):
            return False
        self._extra[self._at % _SLOTS] += 1
        self._sums[1] += 1
        return True

    def _turn(self, now: float) -> None:
        """Forget the slots that are older than the window."""
        at = math.floor(now / self._slot)
        if at <= self._at:
            return
        for slot in range(max(self._at, at - _SLOTS) + 1, at + 1):
            self._sums[0] -= self._calls[slot % _SLOTS]
            self._sums[1] -= self._extra[slot % _SLOTS]
            self._calls[slot % _SLOTS] = self._extra[slot % _SLOTS] = 0
        self._at = at
