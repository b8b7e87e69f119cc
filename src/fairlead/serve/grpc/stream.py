"""One gRPC call on its connection: messages out of data frames, and the answer into frames as the windows allow."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from fairlead.serve.grpc import frames, status
from fairlead.serve.grpc.frames import frame
from fairlead.serve.grpc.headers import OK_HEAD, literal

if TYPE_CHECKING:
    from fairlead.serve.grpc.connection import Connection

_PREFIX: Final = 5
"""Bytes before a message: whether it is compressed, and its length."""
_BUDGET: Final = 4
"""Times the largest message that a connection may hold in messages that are not whole."""
_DONE: Final = literal(b"grpc-status", b"0")


class Rpc(ABC):
    """What answers one stream. Its methods are called in order, on the event loop."""

    __slots__ = ()

    @abstractmethod
    def message(self, data: bytes) -> None:
        """The next message, whole and inflated."""

    @abstractmethod
    def closed(self) -> None:
        """The client has sent all its messages."""

    def cancelled(self) -> None:  # noqa: B027 - most answer at once, and there is nothing to stop
        """The client does not want the answer any more."""


class Stream:
    """``headers``: the request's.  ``window``: bytes that the client takes on this stream."""

    __slots__ = (
        "_body", "_connection", "_eaten", "_inflate", "_opened", "_pending", "_trailers", "_waiting_since",
        "ended", "number", "rpc", "window",
    )  # fmt: skip

    def __init__(self, connection: Connection, number: int, window: int, headers: Mapping[bytes, bytes]) -> None:
        self._connection = connection
        self.number = number
        self.window = window
        self.rpc: Rpc | None = None
        self.ended = False
        """The client sends no more, or nobody listens."""
        self._inflate = headers.get(b"grpc-encoding", b"identity")
        self._body = bytearray()
        self._eaten = 0
        self._opened = False
        self._pending = bytearray()
        self._trailers: bytes | None = None
        self._waiting_since = connection.seen

    @property
    def waits(self) -> bool:
        """Whether bytes wait for a window."""
        return bool(self._pending)

    # From the client.

    def received(self, payload: bytes, size: int, *, end: bool) -> None:
        """A data frame; ``size``: what it counts in the window, padding too."""
        connection, body = self._connection, self._body
        self._waiting_since = connection.seen
        if payload:
            connection.buffered += len(payload)
            body += payload
            self._messages()
            if self.ended:
                return
            if connection.buffered > _BUDGET * connection.limits.max_body + frames.DEFAULT_WINDOW:
                self.refuse(status.EXHAUSTED, "too many messages at once on this connection; send fewer at a time")
                return
        if end:
            self.ended = True
            if body:
                self.refuse(status.INTERNAL, f"the stream ended within a message, after {len(body)} bytes of it")
            elif self.rpc is not None:
                self.rpc.closed()
            return
        self._eaten += size
        if self._eaten >= 1 << 19:
            connection.write(frames.window_update(self.number, self._eaten))
            self._eaten = 0

    def _messages(self) -> None:
        body = self._body
        while len(body) >= _PREFIX and not self.ended and self.rpc is not None:
            length = int.from_bytes(body[1:_PREFIX], "big")
            limit = self._connection.limits.max_body
            if length > limit:
                self.refuse(
                    status.EXHAUSTED,
                    f"the message has {length} bytes; the limit is {limit} bytes (serve --max-body-mb): send fewer "
                    "rows at once",
                )
                return
            if len(body) < _PREFIX + length:
                return
            data = bytes(body[_PREFIX : _PREFIX + length])
            squeezed = body[0]
            del body[: _PREFIX + length]
            self._connection.buffered -= _PREFIX + length
            if squeezed:
                plain = self._inflated(data, limit)
                if plain is None:
                    return
                data = plain
            self.rpc.message(data)

    def _inflated(self, data: bytes, limit: int) -> bytes | None:
        bits = {b"gzip": 31, b"deflate": 15}.get(self._inflate)
        if bits is None:
            name = self._inflate.decode("latin-1")
            self.refuse(
                status.UNIMPLEMENTED, f"grpc-encoding {name!r} is not read here; send identity, deflate or gzip"
            )
            return None
        inflater = zlib.decompressobj(wbits=bits)
        try:
            plain = inflater.decompress(data, limit + 1)
        except zlib.error as error:
            self.refuse(status.INVALID, f"the message is no valid {self._inflate.decode()}: {error}")
            return None
        if len(plain) > limit:
            self.refuse(status.EXHAUSTED, f"the message has more than {limit} bytes once inflated; send fewer rows")
            return None
        return plain

    # To the client.

    def send(self, message: bytes) -> None:
        """One message of several."""
        head = b"" if self._opened else frame(frames.HEADERS, frames.END_HEADERS, self.number, OK_HEAD)
        self._opened = True
        if head:
            self._connection.write(head)
        self._pending += b"\x00" + len(message).to_bytes(4, "big") + message
        self.pump()

    def answer(self, message: bytes, trailers: bytes = b"") -> None:
        """The one message and the end, well. ``trailers``: fields as ``headers.literal`` writes them."""
        size, number, connection = len(message) + _PREFIX, self.number, self._connection
        if not self._opened and self.window >= size and connection.grant(size):
            connection.write(
                frame(frames.HEADERS, frames.END_HEADERS, number, OK_HEAD)
                + frame(frames.DATA, 0, number, b"\x00" + len(message).to_bytes(4, "big") + message)
                + frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, number, _DONE + trailers)
            )
            self._over()
            return
        self.send(message)
        self.finish(status.OK, "", trailers)

    def finish(self, code: int, message: str = "", trailers: bytes = b"") -> None:
        """The status, after all that was sent."""
        if self._trailers is not None:
            return
        fields = literal(b"grpc-status", b"%d" % code) if code else _DONE
        if message:
            fields += literal(b"grpc-message", status.percent_encoded(message))
        self._trailers = fields + trailers
        if not self._opened:
            self._trailers = OK_HEAD + self._trailers  # one block that is head and trailers
        self.pump()

    def refuse_http(self, code: int, why: str) -> None:
        """An answer to what is no gRPC: a status of HTTP."""
        fields = literal(b":status", b"%d" % code) + literal(b"content-type", b"text/plain")
        body, connection = why.encode(), self._connection
        connection.write(frame(frames.HEADERS, frames.END_HEADERS, self.number, fields))
        if connection.grant(len(body)):
            connection.write(frame(frames.DATA, frames.END_STREAM, self.number, body))
        else:
            connection.write(frame(frames.DATA, frames.END_STREAM, self.number))
        self._over()

    def refuse(self, code: int, message: str) -> None:
        """End a stream whose request cannot be read on."""
        rpc, self.rpc = self.rpc, None
        if rpc is not None:
            rpc.cancelled()
        self.finish(code, message)

    def pump(self) -> None:
        """Send what the windows allow."""
        connection = self._connection
        while self._pending:
            if self.window <= 0:
                return
            size = connection.take(min(len(self._pending), self.window))
            if not size:
                return
            self.window -= size
            connection.write(frame(frames.DATA, 0, self.number, bytes(self._pending[:size])))
            del self._pending[:size]
        if self._trailers is not None:
            flags = frames.END_HEADERS | frames.END_STREAM
            for start in range(0, len(self._trailers) or 1, frames.SMALLEST_FRAME):
                piece = self._trailers[start : start + frames.SMALLEST_FRAME]
                last = start + frames.SMALLEST_FRAME >= len(self._trailers)
                kind = frames.CONTINUATION if start else frames.HEADERS
                ends = (flags if last else frames.END_STREAM) if not start else (frames.END_HEADERS if last else 0)
                connection.write(frame(kind, ends, self.number, piece))
            self._over()

    def reset(self, code: int) -> None:
        """Give the stream up."""
        self._connection.write(frames.reset(self.number, code))
        self.lost()
        self._connection.forget(self)

    def lost(self) -> None:
        """The client reset it, or is gone."""
        self._connection.buffered -= len(self._body)
        self._body.clear()
        self._pending.clear()
        self.ended = True
        rpc, self.rpc = self.rpc, None
        if rpc is not None:
            rpc.cancelled()

    def _over(self) -> None:
        if not self.ended:  # the client may stop sending: nobody reads it
            self.ended = True
            self._connection.write(frames.reset(self.number, frames.NO_ERROR))
        self._connection.buffered -= len(self._body)
        self._body.clear()
        self.rpc = None
        self._connection.forget(self)

    def look(self, now: float) -> None:
        """Called once a second: a message that does not come on, an answer that is not taken."""
        limits = self._connection.limits
        if self._body and now - self._waiting_since > limits.read_timeout:
            self.refuse(status.DEADLINE, f"no byte of the message came for {limits.read_timeout:g} s")
        elif self._pending and now - self._connection.seen > limits.write_timeout:
            self.reset(frames.CANCEL)
