"""How long the event loop stands still: a timer that notes how late it fires."""

from __future__ import annotations

import asyncio
from typing import Final

from fairlead.contracts.sink import Sink
from fairlead.kit.clock import Clock

BEAT: Final = 0.02
"""Seconds between two looks. A stall is seen from the moment at which a look was due: one of this length or more is
always seen, for at least the part behind that moment."""


class Stalls:
    """A companion of the server. It costs some 50 short callbacks a second."""

    def __init__(self, sink: Sink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        self._set(asyncio.get_running_loop())

    def drain(self) -> None:
        """What is answered until the end is worth measuring too."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def troubles(self) -> list[str]:
        return []

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = self._clock.now() + BEAT
        self._timer = loop.call_later(BEAT, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sink.stalled(max(0.0, self._clock.now() - self._due))
        self._set(loop)
