"""How soon places become free, while somebody waits for one. Pure: time is passed in."""

from __future__ import annotations

from typing import Final

_KNOWN: Final = 8
"""Answers that must end while others wait, until what they say is believed."""
_LEARNS: Final = 0.1


class Pace:
    """``ended`` tells it of every answer that ends."""

    __slots__ = ("_known", "_last", "_seconds")

    def __init__(self) -> None:
        self._last = -1.0
        """When an answer last ended with others waiting; below zero: nobody has waited since."""
        self._seconds = 0.0
        self._known = 0

    def ended(self, waiting: bool, now: float) -> None:
        """``waiting``: somebody waits for the place."""
        if not waiting:
            self._last = -1.0
            return
        if self._last >= 0.0:
            gap = now - self._last
            self._seconds = gap if not self._known else self._seconds + _LEARNS * (gap - self._seconds)
            self._known += 1
        self._last = now

    def wait(self, ahead: int) -> float:
        """Seconds until one is taken that has so many before it; 0.0 while nobody can know."""
        return ahead * self._seconds if self._known >= _KNOWN else 0.0
