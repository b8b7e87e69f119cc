"""A connection that is counted, and that may not take for ever to send a frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairlead.contracts.sink import Sink
from fairlead.serve.callers import CODE, LINGERING, Callers
from fairlead.serve.grpc import frames
from fairlead.serve.grpc.connection import Connection, Start
from fairlead.serve.grpc.stream import Limits
from fairlead.serve.settings import SLOWEST


class Guarded(Connection):
    """``callers``: who counts. One too many is told to go (``ENHANCE_YOUR_CALM``) before it can open a stream."""

    def __init__(
        self,
        start: Start,
        limits: Limits,
        known: set[Connection],
        leaving: Callable[[], bool],
        callers: Callers,
        sink: Sink,
    ) -> None:
        super().__init__(start, limits, known, leaving)
        self._callers, self._sink = callers, sink
        self._address = ""
        self._admitted = False
        self._since, self._frames = self.seen, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        why = self._callers.admit(self._address)
        self._admitted = not why
        if not why:
            return
        self._callers.refused += 1
        self._sink.edge_error("", CODE)
        if self._callers.refused > LINGERING:
            self.out.abort()
        else:
            self._ending.go(0, self.now(), frames.CALM, why)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._admitted:
            self._callers.gone(self._address)
        else:
            self._callers.refused -= 1
        super().connection_lost(exc)

    def look(self, now: float) -> None:
        """As the other; and a frame, or a block of headers, must come on."""
        incoming = self._incoming
        if not incoming.partial or incoming.whole != self._frames:
            self._since, self._frames = now, incoming.whole
        elif now - self._since > self.limits.read_timeout + incoming.partial / SLOWEST:
            self.out.abort()
            return
        super().look(now)
