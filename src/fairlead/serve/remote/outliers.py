"""Which address does worse than the others, or fails too often, in the last seconds. Pure: time is passed in.

Three shares of what an address was asked lately are looked at. *Errors*: it did not answer, not in time, or not as the
protocol says. *Errors of the model*: those say something of the address only when the others have far fewer; else it is
the calls, or the model. *Slow answers*: many times slower than the others usually are.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from fairlead.serve.remote.balance import Seat, State
from fairlead.serve.remote.settings import Outlying
from fairlead.serve.resilience.sums import Sums

ERRORS: Final = "errors"
SLOW: Final = "slow"
_FEWER: Final = 0.5
"""Others have far fewer errors of the model when their share is at most so much of an address's own."""
_APART: Final = 0.01
"""Seconds: what is closer together than this is not slow."""


class Saw(IntEnum):
    """How a request ended. ``FAULT``: of the address.  ``MODEL``: an error of the model."""

    OK = 0
    SLOW = 1
    FAULT = 2
    MODEL = 3


class Outliers:
    """``seats``: those of the balance, by place."""

    def __init__(self, seats: Sequence[Seat], settings: Outlying) -> None:
        self._seats, self._settings = seats, settings
        self._sums = [Sums(len(Saw), settings.window) for _ in seats]

    def answered(self, at: int, now: float, seconds: float) -> str:
        """It answered after so long; why it is an outlier, empty when it is none."""
        return self._saw(at, now, Saw.SLOW if self._slow(at, seconds) else Saw.OK)

    def failed(self, at: int, now: float, saw: Saw) -> str:
        """It did not, ``FAULT`` or ``MODEL``; the same."""
        return self._saw(at, now, saw)

    def forget(self, at: int) -> None:
        """It is back, and begins anew."""
        self._sums[at].clear()

    def _saw(self, at: int, now: float, saw: Saw) -> str:
        sums = self._sums[at]
        sums.add(saw, now)
        counts = sums.totals
        total, least = sum(counts), self._settings.errors
        if saw is Saw.OK or total < self._settings.requests or self._seats[at].state is not State.IN:
            return ""
        if counts[Saw.FAULT] >= least * total:
            return ERRORS
        if counts[Saw.MODEL] >= least * total and self._others_have_fewer(at, now, counts[Saw.MODEL] / total):
            return ERRORS
        return SLOW if counts[Saw.SLOW] >= least * total else ""

    def _others_have_fewer(self, at: int, now: float, share: float) -> bool:
        total = model = 0
        for other, sums in enumerate(self._sums):
            if other != at and self._seats[other].state is State.IN:
                sums.turn(now)
                total += sum(sums.totals)
                model += sums.totals[Saw.MODEL]
        return total >= self._settings.requests and model <= _FEWER * share * total

    def _slow(self, at: int, seconds: float) -> bool:
        slower = self._settings.slower
        if not slower or seconds < _APART:
            return False
        usual = [
            seat.usual
            for other, seat in enumerate(self._seats)
            if other != at and seat.usual and seat.state is State.IN
        ]
        if not usual:
            return False
        middle = statistics.median_low(usual)
        return seconds > slower * middle and seconds - middle > _APART
