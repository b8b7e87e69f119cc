"""Time, injected. Decisions take a ``Clock`` so that tests own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Monotonic seconds: for deadlines and durations."""

    def wall_ms(self) -> int:
        """Unix time in milliseconds: for records that people read."""


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.monotonic)

    @staticmethod
    def wall_ms() -> int:
        return time.time_ns() // 1_000_000
