"""Minds the time of one answer: that it comes before its deadline, and that a stream is never silent for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_SLACK: Final = 0.001
"""Seconds by which a timer may ring early."""


class Watch:
    """``left``: seconds until ``late`` is called.  ``beat``: seconds of silence until ``alive`` is; 0 for never."""

    __slots__ = ("_alive", "_beat", "_deadline", "_loop", "_pulse", "_spoke")

    def __init__(self, left: float, late: Callable[[], None], beat: float, alive: Callable[[], None]) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(max(0.0, left), late)
        self._beat, self._alive = beat, alive
        self._spoke = loop.time() if beat else 0.0
        self._pulse = loop.call_later(beat, self._look) if beat else None

    def spoke(self) -> None:
        """Something was written."""
        self._spoke = self._loop.time()

    def stop(self) -> None:
        self._deadline.cancel()
        if self._pulse is not None:
            self._pulse.cancel()

    def _look(self) -> None:
        left = self._spoke + self._beat - self._loop.time()
        silent = left <= _SLACK
        self._pulse = self._loop.call_later(self._beat if silent else left, self._look)
        if silent:
            self._alive()
