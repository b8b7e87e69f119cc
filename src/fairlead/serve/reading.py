"""What comes in on a connection: bytes to the parser, in their turn and within bounds.

- **Pieces.** The parser is fed a piece at a time. Once a request waits behind the one that is being answered, what
  follows is held as it came and not parsed: a queue of bytes, not of parsed requests. Reading goes on meanwhile, so
  that a caller who hangs up is heard; only when too much is held does it pause.
- **Heads** have a size, however they are cut into packets; so have chunk extensions and trailers, which are dropped.
- **Offers to upgrade** are not taken: such a request is parsed again without its ``upgrade`` header, because the parser
  would take its body, and whatever follows, for another protocol.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fairlead.serve.settings import ServerSettings

Refusal = tuple[int, str, str]
"""HTTP status, stable code, sentence."""

MALFORMED: Final = (400, "malformed_request", "this is not a valid HTTP/1.1 request")
HEAD_TOO_LARGE: Final = (431, "head_too_large", "the request line and headers have more than {limit} bytes")

MOST_HEADERS: Final = 256
"""Header fields of a request."""

TOO_MANY_HEADERS: Final = (431, "head_too_large", f"the request has more than {MOST_HEADERS} header fields")

PIECE: Final = 16 * 1024
"""Bytes that the parser is given at a time, unless heads must be shorter."""

ABORT: Final = "fairlead.abort"
"""In the ASGI scope: closes the connection at once, without an answer."""

HELD: Final = 64 * 1024
"""Bytes that are held behind a request that waits; when there are more, reading pauses."""


class Refused(Exception):
    """Raised inside the parser's callbacks: it stops, and the request gets this refusal."""


class Flow(FlowControl):
    """uvicorn's, but nobody resumes reading while enough is held."""

    full = False

    def resume_reading(self) -> None:
        if not self.full:
            super().resume_reading()


class Reading(HttpToolsProtocol):
    """See the module. ``Connection`` says what becomes of a request (``_take``) and of a broken one (``_refuse``)."""

    settings: ServerSettings
    piece: int
    """Bytes that the parser is given at a time; never more than a head may have, so that most need no weighing."""

    flow: Flow
    cycle: Any
    _refusal: Refusal | None = None
    _held: bytes = b""
    _piece: int = 0
    """Bytes of the piece that is being parsed."""
    _head: int = 0
    """Bytes of the head so far, not counting the piece it began in: below zero while that one is being parsed."""
    _barren: int = 0
    """Bytes since the body last grew: of chunk extensions and trailers, which are dropped."""
    _got: int = 0
    """Bytes of the body so far."""
    _in_head: bool = False
    _in_body: bool = False
    _began: float = 0.0
    """When the request that is being read began."""
    _seen: float = 0.0
    """When bytes last came, or the last answer went out."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._seen = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._seen = self.loop.time()
        size = self.piece
        while data and self._refusal is None:
            if self.pipeline:
                self._hold(data)
                return
            piece, data = data[:size], data[size:]
            self._piece = len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as offer:
                data = self._without_offer() + piece[offer.args[0] :] + data
            except httptools.HttpParserError as error:
                cause = error.__context__
                self._refuse(cause.args[0] if isinstance(cause, Refused) else MALFORMED)
                return
            if self._in_head or self._in_body:
                self._count()

    def _count(self) -> None:
        """The piece ended inside a request: count what it had of a head, or of nothing."""
        if self._in_head:
            self._head += self._piece
        else:
            self._barren += self._piece
        if max(self._head, self._barren) > self.settings.max_head:
            self._refuse(self._too_large())

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > HELD:
            self.flow.pause_reading()
            self.flow.full = True

    def _let_go(self) -> None:
        """Read on with what was held; called when no request waits any more."""
        data, self._held = self._held, b""
        self.flow.full = False
        self.flow.resume_reading()
        self.data_received(data)

    def _without_offer(self) -> bytes:
        """The head that was just read, without its offer, for a parser that has not seen it."""
        lines = [b"%b: %b\r\n" % pair for pair in self.headers if pair[0] != b"upgrade"]
        first = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return b"".join((first, *lines, b"\r\n"))

    # From the parser.

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head = True
        self._head = -self._piece
        self._began = self._seen

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._head >= 0 and self._weight() > self.settings.max_head:
            raise Refused(self._too_large())
        if len(self.headers) > MOST_HEADERS:
            raise Refused(TOO_MANY_HEADERS)
        if self.transport.is_closing():
            raise Refused(MALFORMED)  # nothing behind an answer that closes is read
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Refused(MALFORMED)
            return  # and is read again without its offer
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False
        self._take()
        self.headers = []  # trailers end there
        self._barren = -self._piece
        self._got = 0
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._barren = -self._piece
        self._got += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._in_body:
            self._in_body = False
            super().on_message_complete()

    def _weight(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _too_large(self) -> Refusal:
        status, code, words = HEAD_TOO_LARGE
        return status, code, words.format(limit=self.settings.max_head)

    def _take(self) -> None:
        """Start the request, or queue it behind the one that is being answered."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # makes the ASGI scope
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        self.scope[ABORT] = self._abort  # type: ignore[typeddict-unknown-key]  # ours, for faults on purpose
        super().on_headers_complete()
        if self.pipeline:
            self.flow.resume_reading()  # uvicorn paused it, and then nobody would hear a caller hang up

    def _abort(self) -> None:
        self.transport.abort()

    @abstractmethod
    def _refuse(self, refusal: Refusal) -> None:
        """Refuse the request that is being read."""
