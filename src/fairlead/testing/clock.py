"""A clock that a test moves by hand."""

from __future__ import annotations


class ManualClock:
    """Clock. ``wall``: Unix time in seconds at which it starts; monotonic time starts at 0."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self._start_ms = round(wall * 1000)
        self._ms = 0

    def advance(self, seconds: float) -> None:
        self._ms += round(seconds * 1000)

    def now(self) -> float:
        return self._ms / 1000

    def wall_ms(self) -> int:
        return self._start_ms + self._ms
