"""One HTTP/1.1 connection to a server: one exchange at a time, its answer handed on as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import httptools

_HEAD: Final = 64 * 1024
"""Bytes of an answer's headers."""
_INFORMATIONAL: Final = 200
_LEAVING: Final = 1.0
"""Seconds for the end of an answer that nobody listens to any more."""


class Garbled(Exception):
    """An answer that is none of the protocol. ``str(error)`` says what is wrong with it."""


class Listener(Protocol):
    """Who an answer is for. Any of these may be the last that it hears: it may let go of the link in it.

    Raises Garbled for what it cannot read; then the connection ends, and ``lost`` is called.
    """

    def take(self, link: Link) -> None:
        """A connection for it, to send on."""

    def head(self, status: int, headers: dict[bytes, bytes]) -> None: ...

    def body(self, data: bytes) -> None: ...

    def complete(self) -> None:
        """The answer ended as it said it would."""

    def lost(self, why: str, *, again: bool = False) -> None:
        """No more comes. ``again``: the server has not seen it, or closed a kept connection before a byte came."""


class Link(asyncio.Protocol):
    """``free`` is called when another exchange may begin, ``gone`` when none can; each once for an exchange, at most.

    ``since``: when it became idle, by the loop's time.
    """

    def __init__(self, free: Callable[[Link], None], gone: Callable[[Link], None]) -> None:
        self.since = 0.0
        self._free, self._gone = free, gone
        self._transport: Any = None
        self._listener: Listener | None = None
        self._busy = False
        self._kept = False  # whether it had an exchange before
        self._heard = False
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._told = False  # the listener has the head
        self._begin()

    @property
    def open(self) -> bool:
        return self._transport is not None

    def send(self, listener: Listener, request: bytes) -> None:
        """A whole request. The answer goes to ``listener``."""
        if self._transport is None:  # it ended as it was made
            listener.lost("it closed the connection before it answered")
            return
        self._listener = listener
        self._busy = True
        self._heard = False
        self._transport.write(request)

    def leave(self) -> None:
        """The listener has heard all it wants; what still comes is read and dropped, so that the link can be kept."""
        self._listener = None
        if not self._complete:
            asyncio.get_running_loop().call_later(_LEAVING, self._left)

    def close(self) -> None:
        """Hang up: the server sees it at once."""
        self._listener = None
        self._end()

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if not self._busy:  # nobody asked: a goodbye, or more than an answer
            self._end()
            return
        wrong = ""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            wrong = str(cause) if isinstance(cause, Garbled) else f"it does not speak HTTP/1.1 ({error})"
            self._again = False
        try:
            self._bound(len(data))
            self._hand()  # what came before it went wrong is told
        except Garbled as error:
            wrong = str(error)
        if wrong:
            self._lose(wrong)

    def eof_received(self) -> None:
        if not self._busy:  # nobody may take it any more
            self._end()
        elif self._headed and self._to_the_end:
            self._again = False
            self._complete = True
            try:
                self._hand()
            except Garbled as error:
                self._lose(str(error))

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        where = "in the middle of its answer" if self._heard else "before it answered"
        self._lose(f"it closed the connection {where}", again=self._kept and not self._heard)

    # From the parser.

    def on_message_begin(self) -> None:
        if self._complete:
            raise Garbled("it sent more than it was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        if self._head > _HEAD:
            raise Garbled(f"its headers have more than {_HEAD} bytes")
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status >= _INFORMATIONAL:
            self._headed = True
            self._to_the_end = b"content-length" not in self._headers and b"transfer-encoding" not in self._headers

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if self._status < _INFORMATIONAL:  # 100 Continue and the like: the answer is still to come
            self._headers = {}
            self._status = self._head = 0
            return
        self._complete = True
        self._again = self._parser.should_keep_alive()

    def _bound(self, size: int) -> None:
        """A header is told when it is whole: until then nothing else counts its bytes."""
        if not self._headed:
            self._early += size
            if self._early > _HEAD:
                raise Garbled(f"its headers have more than {_HEAD} bytes")

    # To the listener, when the parser is done: what it does may end this connection.

    def _hand(self) -> None:
        if self._headed and not self._told:
            self._told = True
            if self._listener is not None:
                self._listener.head(self._status, self._headers)
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            if self._listener is not None:
                self._listener.body(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._complete and self._busy:
            self._done()

    def _done(self) -> None:
        listener, self._listener = self._listener, None
        self._busy = False
        again = self._again
        self._begin()
        self._kept = True
        self.since = asyncio.get_running_loop().time()
        if listener is not None:
            listener.complete()
        if self._transport is None or not again:
            self._end()
        else:
            self._free(self)

    def _left(self) -> None:
        """Time is over for what is read and dropped."""
        if self._busy and self._listener is None:
            self._end()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers = {}
        self._pieces = []
        self._status = self._head = self._early = 0
        self._headed = self._complete = self._again = False
        self._told = False
        self._to_the_end = False  # of the connection: there is no other end

    def _lose(self, why: str, *, again: bool = False) -> None:
        listener, self._listener = self._listener, None
        self._end()
        if listener is not None:
            listener.lost(why, again=again)

    def _end(self) -> None:
        self._busy = False
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
            self._gone(self)
