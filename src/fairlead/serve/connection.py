"""One HTTP connection: uvicorn's httptools protocol with what it leaves open closed.

- **Order.** Broken bytes behind a request that is still being answered are told after that answer, not before it.
- **Everybody is told.** A lost connection cancels every request on it, the pipelined ones too, not only the newest. Who
  is refused can read why: the connection is closed when the caller has closed it, or a moment later.
- **Bounds.** A request's head has a size and a time, a body must keep coming, an answer must be taken. A connection
  that keeps none of them is closed: ``look`` is called every second by the server, so there is no timer a request.

What it relies on in uvicorn is listed in ``RELIES_ON`` and tested; the version range is pinned. How bytes come to the
parser: ``reading``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from fairlead.contracts.sink import Sink
from fairlead.serve.callers import CODE, LINGERING, Callers, refusal
from fairlead.serve.reading import Reading, Refusal
from fairlead.serve.settings import SLOWEST

RELIES_ON: Final = (
    "connection_lost",
    "connection_made",
    "data_received",
    "eof_received",
    "on_body",
    "on_header",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "on_response_complete",
    "on_url",
    "pause_writing",
    "resume_writing",
    "shutdown",
    "_start_asgi_task",
    "_unset_keepalive_if_required",
)
"""Methods of uvicorn's protocol that are called or overridden."""

TOO_SLOW: Final = (
    408,
    "request_timeout",
    "the request came too slowly: {limit:g} s of pause, or under {rate:g} bytes/s",
)

_TURNED_AWAY: Final = "turned away"
"""No address."""

LINGER: Final = 2.0
"""Seconds for a refused caller to take the refusal and close."""


class Connection(Reading):
    """See the module. ``running``: the cycle that is being answered; uvicorn knows only the newest one."""

    sink: Sink

    callers: Callers | None = None
    """Who counts the connections of this port; None where somebody else does."""
    _counted: str | None = None
    """The address that it was counted for."""

    running: Any = None
    _unsent: int = 0
    """Bytes of answers that waited for the caller at the last look."""
    _moved: float = 0.0
    """When the caller last took some, or nothing waited for it."""
    _waits: float = 0.0
    """When something began to wait for it."""
    _taken: int = 0
    """Bytes that it took since."""
    _told: float = 0.0
    """When the refusal went out; 0.0 before."""

    # From the transport.

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._moved = self._waits = self._seen
        if self.callers is not None:
            self._come_in(self.callers, self.client[0] if self.client else "")

    def _come_in(self, callers: Callers, address: str) -> None:
        """Be counted, or turned away."""
        if why := callers.admit(address):
            callers.refused += 1
            self._counted = _TURNED_AWAY
            self.sink.edge_error("", CODE)
            self._refusal = (503, CODE, why)
            if callers.refused > LINGERING:
                self.transport.abort()
            else:
                self._say(refusal(why))
        else:
            self._counted = address

    def _left(self) -> None:
        if self.callers is None or self._counted is None:
            return
        if self._counted is _TURNED_AWAY:
            self.callers.refused -= 1
        else:
            self.callers.gone(self._counted)
        self._counted = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        cycles = [self.running, *(cycle for cycle, _ in self.pipeline)]
        self.pipeline.clear()
        super().connection_lost(exc)
        for cycle in cycles:
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._moved = self._waits = self.loop.time()
        self._taken = 0

    # From the cycles.

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, _closing_unasked(app, cycle) if cycle.waiting_for_100_continue else app)

    def _unset_keepalive_if_required(self) -> None:
        """``look`` keeps the time instead."""

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._seen = self.loop.time()
        if self._in_head or self._in_body:
            self._began = self._seen  # it could not have come sooner
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._tell(self._refusal)
        if self._held and not self.pipeline:
            self._let_go()

    # From the server.

    def look(self, now: float) -> None:
        """Close the connection if it keeps the server waiting; called about once a second."""
        settings = self.settings
        if self._takes_too_long(now) or (self._told and now - self._told > LINGER):
            self.transport.abort()
        elif self._told or self.transport.is_closing():
            return
        elif self._in_head or self._in_body:
            first = not self._answering() or (self._in_body and self.running is self.cycle)
            since = self._began if self._in_head else self._seen
            slow = self._in_body and now - self._began > settings.read_timeout + self._got / SLOWEST
            if first and not self.flow.read_paused and (slow or now - since > settings.read_timeout):
                status, code, words = TOO_SLOW
                self._refuse((status, code, words.format(limit=settings.read_timeout, rate=SLOWEST)))
        elif not self._answering() and now - self._seen > settings.keep_alive:
            self.transport.close()

    def _takes_too_long(self, now: float) -> bool:
        """Whether the caller takes nothing of what waits for it, or next to nothing."""
        unsent, limit = self.transport.get_write_buffer_size(), self.settings.write_timeout
        if not (unsent or self.flow.write_paused):
            self._moved = self._waits = now
            self._taken = 0
        elif unsent < self._unsent:
            self._moved = now
            self._taken += self._unsent - unsent
        self._unsent = unsent
        return now - self._moved > limit or now - self._waits > limit + self._taken / SLOWEST

    def _answering(self) -> bool:
        return self.running is not None and not self.running.response_complete

    def _refuse(self, refusal: Refusal) -> None:
        """Refuse the request that is being read, in its turn; what still comes is dropped, not read."""
        self._refusal = refusal
        if self.transport.is_closing():
            return
        self.sink.edge_error("", refusal[1])
        if not self._in_body:
            if not self._answering():
                self._tell(refusal)
            return
        if self.cycle is not self.running:
            self.pipeline.popleft()  # the newest: the broken one itself, whose turn has not come
            return
        cycle = self.cycle
        if getattr(cycle, "response_started", cycle.response_complete):
            self.transport.close()  # it has its answer already
        else:
            self._tell(refusal)
        cycle.disconnected = True
        cycle.message_event.set()

    def _tell(self, refusal: Refusal) -> None:
        status, code, words = refusal
        body = msgspec.json.encode({"error": words, "code": code})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self._say(STATUS_LINE[status] + head + body)

    def _say(self, last: bytes) -> None:
        """The last words on this connection."""
        self.transport.write(last)
        if not self.transport.can_write_eof():  # TLS
            self.transport.close()
            return
        self.transport.write_eof()  # and no more yet: closing on unread bytes would take the refusal away
        self._told = self.loop.time()
        self.flow.resume_reading()


def _closing_unasked(app: Any, cycle: Any) -> Any:
    """For a request that waits for ``100 Continue``: an answer without it closes the connection.

    Nobody knows whether such a body will still come (RFC 9110, 10.1.1).
    """

    async def run(scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if cycle.waiting_for_100_continue and cycle.more_body:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, answer)

    return run
