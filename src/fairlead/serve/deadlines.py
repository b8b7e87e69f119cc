"""One timer for the deadlines of many calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from fairlead.contracts.errors import DeadlineExceeded
from fairlead.kit.clock import Clock
from fairlead.serve.call import NEVER, Call

SOONEST = 0.001
"""Seconds between two looks, at least: calls whose deadlines lie closer expire together."""


class Alarm:
    """Calls ``expire`` for every outstanding call whose deadline has passed.

    The timer stands at the earliest deadline that it knows of; when it fires it looks through ``outstanding`` once and
    sets itself again. A call that was answered in time costs one comparison and no timer.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        outstanding: Callable[[], Iterable[Call]],
        expire: Callable[[Call, DeadlineExceeded], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._outstanding = outstanding
        self._expire = expire
        self._timer: asyncio.TimerHandle | None = None
        self._at = NEVER

    def watch(self, deadline: float, now: float) -> None:
        """Make sure that the timer fires at ``deadline`` or before."""
        if deadline < self._at:
            self.stop()
            self._at = deadline
            self._timer = self._loop.call_later(max(0.0, deadline - now), self._look)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer, self._at = None, NEVER

    def _look(self) -> None:
        now = self._clock.now()
        self._timer, self._at = None, NEVER
        earliest = NEVER
        for call in list(self._outstanding()):
            if call.finished:
                continue
            if call.deadline <= now:
                self._expire(call, too_late(call, "while it ran" if call.started else "while it waited"))
            else:
                earliest = min(earliest, call.deadline)
        if earliest < NEVER:
            self.watch(max(earliest, now + SOONEST), now)


def too_late(call: Call, when: str) -> DeadlineExceeded:
    allowed = (call.deadline - call.arrived) * 1000
    return DeadlineExceeded(
        f"the deadline of {allowed:.4g} ms passed {when}; allow more with x-request-timeout-ms or send fewer rows"
    )
