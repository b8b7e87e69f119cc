"""The open streams of a connection, and which of them wait for a window."""

from __future__ import annotations

import asyncio
from typing import Final

from fairlead.serve.grpc import frames
from fairlead.serve.grpc.incoming import Broken
from fairlead.serve.grpc.stream import Stream

MOST: Final = 1024
"""Streams that may be open at once."""


class Streams:
    """``open``: by number.  ``waiting``: those with bytes that wait for a window.  ``initial``: a new one's window."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.open: dict[int, Stream] = {}
        self.waiting: dict[int, Stream] = {}
        self.initial = frames.DEFAULT_WINDOW
        self._loop = loop
        self._pumping = False

    @property
    def full(self) -> bool:
        return len(self.open) >= MOST

    def resize(self, initial: int) -> None:
        """The client says how large windows begin. Raises Broken."""
        more, self.initial = initial - self.initial, initial
        widest = max((stream.window for stream in self.open.values()), default=0)
        if max(initial, widest + more) > frames.MOST_WINDOW:
            raise Broken(frames.FLOW_CONTROL_ERROR, "a window of more than 2^31 - 1")
        for stream in self.open.values():
            stream.window += more

    def pump_soon(self) -> None:
        """Send what waits, once in this turn of the loop however often it is asked for."""
        if self.waiting and not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        for stream in list(self.waiting.values()):
            stream.pump()

    def lose(self) -> None:
        """The connection is lost."""
        lost, self.open = self.open, {}
        for stream in lost.values():
            stream.lost()
