"""When a crashed process is started again: at once, and later each time when it keeps crashing."""

from __future__ import annotations

import contextlib
import signal
from typing import Final

from fairlead.kit.clock import Clock

FIRST: Final = 0.5
"""Seconds before the start after the second crash in a row; doubled for each further one."""

LONGEST: Final = 30.0
"""Seconds between two starts, at most."""

STEADY: Final = 60.0
"""A worker that answered for so many seconds is sound: its crash counts as the first one."""


class Restarts:
    """The crashes of one worker's place. Pure but for the clock that it is given."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None
        self.crashes = 0
        """In a row."""

    def ready(self) -> None:
        """The worker answers from now on."""
        self._since = self._clock.now()

    def crashed(self) -> float:
        """Seconds to wait before the next start."""
        if self._since is not None and self._clock.now() - self._since >= STEADY:
            self.crashes = 0
        self._since = None
        self.crashes += 1
        if self.crashes == 1:
            return 0.0
        doublings = min(self.crashes - 2, 16)
        return min(LONGEST, FIRST * 2.0**doublings)


def how_ended(code: int) -> str:
    """The end of a process in words, from its return code."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
