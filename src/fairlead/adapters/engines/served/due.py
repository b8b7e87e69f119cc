"""When something must have come: moved with every event of a stream, for the price of a number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Due:
    """``late`` is called once, when the time is over that was given last."""

    __slots__ = ("_at", "_late", "_timer")

    def __init__(self, late: Callable[[], None]) -> None:
        self._late = late
        self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> None:
        """From now on. A shorter time than the one before is heeded by ``soon``."""
        loop = asyncio.get_running_loop()
        self._at = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_at(self._at, self._look)

    def soon(self, seconds: float) -> None:
        self._stop()
        self.within(seconds)

    def over(self) -> None:
        """It is never late any more, and lets go of who would have been told."""
        self._stop()
        self._late = _nothing

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._at:
            self._timer = loop.call_at(self._at, self._look)
        else:
            self._timer = None
            self._late()


def _nothing() -> None:
    """Nobody waits."""
