"""One HTTP/1.1 connection to a server, one exchange at a time."""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple

import httptools

from fairlead.contracts.upstream import Garbled, Unreached

_HEAD: Final = 64 * 1024
"""Bytes of an answer's headers."""
_INFORMATIONAL: Final = 200


class Answer(NamedTuple):
    """``headers``: names in lower case; of those that come twice the last one."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Stale(Exception):
    """A connection that was kept is gone, and took the request with it before a byte of an answer came."""


class Link(asyncio.Protocol):
    """``largest``: bytes of an answer's body.

    ``since``: when it became idle, by the loop's time.  ``open``: it can be used again.
    """

    def __init__(self, largest: int) -> None:
        self.open = True
        self.since = 0.0
        self._largest = largest
        self._transport: Any = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._kept = False  # whether it had an exchange before
        self._heard = False
        self._headers: dict[bytes, bytes] = {}
        self._begin()

    async def exchange(self, request: bytes) -> Answer:
        """Send a whole request and read its answer. Raises Stale, Unreached or Garbled; cancelled, it hangs up."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Answer] = loop.create_future()
        self._waiting = waiting
        self._heard = False
        self._transport.write(request)
        try:
            answer: Answer = await waiting
        except BaseException:
            self.close()
            raise
        finally:
            self._waiting = None
        self._kept = True
        self.since = loop.time()
        return answer

    def close(self) -> None:
        """Hang up. Nothing that is on its way is waited for."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._waiting is None or self._waiting.done():  # nobody asked: a goodbye, or an answer that is too long
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, Garbled) else Garbled(f"it does not speak HTTP/1.1 ({error})"))
        except Garbled as error:
            self._fail(error)

    def eof_received(self) -> None:
        self.open = False
        if self._status >= _INFORMATIONAL and self._to_the_end:
            self._done(again=False)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self.open = False
        if self._waiting is not None and not self._waiting.done():
            if self._kept and not self._heard:
                self._waiting.set_exception(Stale())
            else:
                where = "in the middle of its answer" if self._heard else "before it answered"
                self._waiting.set_exception(Unreached(f"it closed the connection {where}"))
        self._transport = None

    # From the parser.

    def on_message_begin(self) -> None:
        if self._waiting is None or self._waiting.done():
            raise Garbled("it sent more than it was asked for")  # which belongs to nobody: this connection ends

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        if self._head > _HEAD:
            raise Garbled(f"its headers have more than {_HEAD} bytes")
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        headers = self._headers
        self._to_the_end = b"content-length" not in headers and b"transfer-encoding" not in headers
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._largest:
            raise self._oversize()

    def on_body(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._largest:
            raise self._oversize()
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if self._status < _INFORMATIONAL:  # 100 Continue and the like: the answer is still to come
            self._headers = {}
            self._status = self._head = 0
            return
        self._done(again=self._parser.should_keep_alive())

    def _done(self, *, again: bool) -> None:
        pieces = self._pieces
        answer = Answer(self._status, self._headers, pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if not again:
            self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers = {}
        self._pieces: list[bytes] = []
        self._status = self._size = self._head = 0
        self._to_the_end = False

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self.close()

    def _oversize(self) -> Garbled:
        return Garbled(f"its answer has more than {self._largest} bytes")
