"""How many calls may be made beside those that were asked for: a share of them. Pure: time is passed in.

Retries help when little fails and hurt when much does: three tries each are three times the load of a server that is
too slow already. A budget bounds that: within the last ``seconds``, extra calls are at most ``share`` of the calls, or
``minimum`` a second, whichever is more.
"""

from __future__ import annotations

from typing import Final

from fairlead.serve.resilience.sums import Sums

_CALLS: Final = 0
_EXTRA: Final = 1


class Budget:
    """O(1) in calls and time."""

    __slots__ = ("_minimum", "_share", "_sums")

    def __init__(self, share: float, minimum: float = 1.0, seconds: float = 10.0) -> None:
        self._share, self._minimum = share, minimum * seconds
        self._sums = Sums(2, seconds)

    def call(self, now: float) -> None:
        """One that was asked for."""
        self._sums.add(_CALLS, now)

    def take(self, now: float) -> bool:
        """Whether there may be one more beside them; it is counted if so."""
        self._sums.turn(now)
        calls, extra = self._sums.totals
        if extra + 1 > max(self._share * calls, self._minimum):
            return False
        self._sums.add(_EXTRA, now)
        return True
