"""How long a model takes for so many rows: the curve measured at load, drawn to what batches take now. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

_LEARNS: Final = 0.05
"""Weight of the newest batch."""
_SLOWEST: Final = 16.0


class Pace:
    """``rows`` (growing) and ``seconds``: the measured curve, not empty."""

    __slots__ = ("_factor", "_least", "_rows", "_seconds")

    def __init__(self, rows: Sequence[int], seconds: Sequence[float]) -> None:
        self._rows, self._seconds = tuple(rows), tuple(seconds)
        self._least = min(taken / count for count, taken in zip(rows, seconds, strict=True))
        self._factor = 1.0

    @property
    def sizes(self) -> tuple[int, ...]:
        """Those that were measured."""
        return self._rows

    def seconds(self, rows: int) -> float:
        """Of one batch of so many rows: between two measured sizes as they lie, beyond the last in proportion."""
        at = bisect_left(self._rows, rows)
        if at == len(self._rows):
            return self._seconds[-1] * rows / self._rows[-1] * self._factor
        if at == 0 or self._rows[at] == rows:
            return self._seconds[at] * self._factor
        low, high = self._rows[at - 1], self._rows[at]
        share = (rows - low) / (high - low)
        return (self._seconds[at - 1] + share * (self._seconds[at] - self._seconds[at - 1])) * self._factor

    def least(self, rows: int) -> float:
        """Of so many rows in batches of the best size: nothing clears a queue sooner."""
        return rows * self._least * self._factor

    def took(self, rows: int, seconds: float) -> None:
        """What a batch has taken. A machine that is busier than at load is slower at every size."""
        known = self.seconds(rows) / self._factor
        if known > 0:
            new = min(_SLOWEST, max(1.0, seconds / known))
            self._factor += _LEARNS * (new - self._factor)
