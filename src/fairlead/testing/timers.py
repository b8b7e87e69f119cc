"""Timers that a test fires by hand, with the clock that they go by."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from fairlead.testing.clock import ManualClock


class ManualTimer:
    """One call that is to come."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class ManualTimers:
    """``timers(seconds, call)`` as stages want it; ``run`` moves the clock and fires what is due, in order."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self._due: list[tuple[float, int, ManualTimer]] = []
        self._count = 0

    def __call__(self, seconds: float, call: Callable[[], None]) -> ManualTimer:
        self._count += 1
        made = ManualTimer(call)
        heapq.heappush(self._due, (self.clock.now() + max(0.0, seconds), self._count, made))
        return made

    @property
    def waiting(self) -> int:
        """Timers that will fire."""
        return sum(timer.call is not None for _, _, timer in self._due)

    def run(self, seconds: float) -> None:
        """So much time passes."""
        end = self.clock.now() + seconds
        while self._due and self._due[0][0] <= end + 1e-9:
            when, _, timer = heapq.heappop(self._due)
            if timer.call is None:
                continue
            if when > self.clock.now():
                self.clock.advance(when - self.clock.now())
            call, timer.call = timer.call, None
            call()
        if end > self.clock.now():
            self.clock.advance(end - self.clock.now())
