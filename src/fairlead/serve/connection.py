"""One HTTP connection: uvicorn's httptools protocol with what it leaves open closed.

- **Order.** Broken bytes behind a request that is still being answered are told after that answer, not before it.
- **Everybody is told.** A lost connection cancels every request on it, the pipelined ones too, not only the newest.
- **Bounds.** A request's head has a size and a time, a body must keep coming, an answer must be taken. A connection
  that keeps none of them is closed: ``look`` is called every second by the server, so there is no timer a request.

What it relies on in uvicorn is listed in ``RELIES_ON`` and tested; the version range is pinned.
"""

from __future__ import annotations

from typing import Any, Final

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from fairlead.contracts.sink import Sink
from fairlead.serve.settings import ServerSettings

RELIES_ON: Final = (
    "connection_lost",
    "connection_made",
    "data_received",
    "on_body",
    "on_header",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "on_response_complete",
    "on_url",
    "pause_writing",
    "resume_writing",
    "send_400_response",
    "shutdown",
    "_start_asgi_task",
    "_unset_keepalive_if_required",
)
"""Methods of uvicorn's protocol that are called or overridden."""

MALFORMED: Final = (400, "malformed_request", "this is not a valid HTTP/1.1 request")
HEAD_TOO_LARGE: Final = (431, "head_too_large", "the request line and headers have more than {limit} bytes")
TOO_SLOW: Final = (408, "request_timeout", "the request did not arrive in full within {limit:g} seconds")

Refusal = tuple[int, str, str]
"""HTTP status, stable code, sentence."""


class Connection(HttpToolsProtocol):
    """See the module. ``running``: the cycle that is being answered; uvicorn knows only the newest one."""

    settings: ServerSettings
    sink: Sink

    cycle: Any
    running: Any = None
    _refusal: Refusal | None = None
    _head: int = 0
    """Bytes of the head so far; only of a request whose head did not come whole."""
    _in_head: bool = False
    _in_body: bool = False
    _began: float = 0.0
    """When the request that is being read began."""
    _seen: float = 0.0
    """When bytes last came, or the last answer went out."""
    _stuck: float = 0.0
    """Since when the caller takes no bytes; 0.0 while it does."""

    # From the transport.

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._seen = self.loop.time()

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        self._seen = self.loop.time()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as plain HTTP/1.1
        except httptools.HttpParserError:
            self._refuse(MALFORMED)
            return
        if self._in_head:
            self._head += len(data)
            if self._head > self.settings.max_head:
                status, code, words = HEAD_TOO_LARGE
                self._refuse((status, code, words.format(limit=self.settings.max_head)))

    def connection_lost(self, exc: Exception | None) -> None:
        cycles = [self.running, *(cycle for cycle, _ in self.pipeline)]
        self.pipeline.clear()
        super().connection_lost(exc)
        for cycle in cycles:
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck = 0.0

    # From the parser.

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head = True
        self._head = 0
        self._began = self._seen

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._in_body = True
        self._take()

    def _take(self) -> None:
        """Start the request, or queue it behind the one that is being answered."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # makes the ASGI scope
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words; ours are in the refusal
        self._refuse(MALFORMED)

    # From the cycles.

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def _unset_keepalive_if_required(self) -> None:
        """``look`` keeps the time instead."""

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._seen = self.loop.time()
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._tell(self._refusal)

    # From the server.

    def look(self, now: float) -> None:
        """Close the connection if it keeps the server waiting; called about once a second."""
        settings = self.settings
        if self._stuck:
            if now - self._stuck > settings.write_timeout:
                self.transport.abort()
        elif self._in_head or self._in_body:
            first = not self._answering() or (self._in_body and self.running is self.cycle)
            since = self._began if self._in_head else self._seen
            if first and not self.flow.read_paused and now - since > settings.read_timeout:
                status, code, words = TOO_SLOW
                self._refuse((status, code, words.format(limit=settings.read_timeout)))
        elif not self._answering() and now - self._seen > settings.keep_alive:
            self.transport.close()

    def _answering(self) -> bool:
        return self.running is not None and not self.running.response_complete

    def _refuse(self, refusal: Refusal) -> None:
        """Refuse the request that is being read, in its turn, and read nothing more."""
        self._refusal = refusal
        self.sink.edge_error("", refusal[1])
        self.flow.pause_reading()
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
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
