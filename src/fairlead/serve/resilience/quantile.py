"""What most calls took lately: a quantile of a stream of seconds, in bounded memory. Pure: time is passed in.

Values are counted in bins whose edges grow by a constant factor, so that a quantile is right within ``ACCURACY`` of
itself (Masson, Rim, Lee: DDSketch, VLDB 2019). Two halves of a window take turns, so that the past is forgotten.
"""

from __future__ import annotations

import math
from typing import Final

ACCURACY: Final = 0.02
"""Relative error of a quantile."""
_GROWTH: Final = (1 + ACCURACY) / (1 - ACCURACY)
_LEAST: Final = 1e-6
_MOST: Final = 1e4
"""Seconds beyond which values are not told apart."""
_STEP: Final = math.log(_GROWTH)
_BINS: Final = math.ceil(math.log(_MOST / _LEAST) / _STEP) + 1
_FRESH: Final = 32
"""A value is worked out again when there are so many times fewer new ones than there were."""


class Quantile:
    """The ``share``-quantile of the last ``seconds``, up to half of that more."""

    __slots__ = ("_began", "_half", "_known", "_new", "_now", "_old", "_share", "_value")

    def __init__(self, share: float, seconds: float = 60.0) -> None:
        self._share, self._half = share, seconds / 2
        self._now, self._old = [0] * _BINS, [0] * _BINS
        self._began = -math.inf
        self._known = self._new = 0
        self._value: float | None = None

    def saw(self, seconds: float, now: float) -> None:
        self._turn(now)
        self._now[_bin(seconds)] += 1
        self._new += 1

    def value(self, now: float) -> float | None:
        """Seconds; None while there are too few values to tell: ``1 / (1 - share)``."""
        self._turn(now)
        if self._new * _FRESH > self._known:
            self._work_out()
        return self._value

    def _turn(self, now: float) -> None:
        if now - self._began < self._half:
            return
        recent = now - self._began < 2 * self._half
        self._old = self._now if recent else [0] * _BINS
        self._now = [0] * _BINS
        self._began = now
        self._known, self._new = 0, 1  # worked out when it is next asked for

    def _work_out(self) -> None:
        counts = [one + other for one, other in zip(self._now, self._old, strict=True)]
        total = sum(counts)
        self._known, self._new = total, 0
        if total < 1 or total * (1 - self._share) < 1:
            self._value = None
            return
        rank, seen = self._share * (total - 1), 0
        for at, count in enumerate(counts):
            seen += count
            if seen > rank:
                self._value = 2 * _LEAST * math.pow(_GROWTH, at) / (_GROWTH + 1)
                return


def _bin(seconds: float) -> int:
    if seconds <= _LEAST:
        return 0
    return min(math.ceil(math.log(seconds / _LEAST) / _STEP), _BINS - 1)
