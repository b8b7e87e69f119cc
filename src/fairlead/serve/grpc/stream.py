"""One gRPC call on its connection: messages out of data frames, and the answer into frames as the windows allow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fairlead.serve.access.credentials import Certificate, peer
from fairlead.serve.grpc import frames, status
from fairlead.serve.grpc.frames import frame
from fairlead.serve.grpc.framing import PREFIX, Refused, Unframed, framed
from fairlead.serve.grpc.headers import OK_HEAD, literal
from fairlead.serve.settings import SLOWEST

if TYPE_CHECKING:
    from fairlead.serve.grpc.connection import Connection

_BUDGET: Final = 4
"""Times the largest message that a connection may hold in messages that are not whole."""
WINDOW: Final = 1 << 20
"""Bytes that a client may send on a stream before it is told to go on, which it is after half of them."""
_DONE: Final = literal(b"grpc-status", b"0")


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_body``: bytes of a message, inflated too.  ``read_timeout``, ``write_timeout``, ``idle``: seconds."""

    max_body: int
    read_timeout: float
    write_timeout: float
    idle: float


class Rpc(ABC):
    """What answers one stream. Its methods are called in order, on the event loop.

    ``patient``: whether a client may leave the stream open and send nothing.
    """

    __slots__ = ()
    patient = False

    @abstractmethod
    def message(self, data: bytes) -> None:
        """The next message, whole and inflated."""

    @abstractmethod
    def closed(self) -> None:
        """The client has sent all its messages."""

    def cancelled(self) -> None:  # noqa: B027 - most answer at once, and there is nothing to stop
        """The client does not want the answer any more, or cannot have it."""


class Stream:
    """``headers``: the request's.  ``window``: bytes that the client takes.  ``ended``: it sends no more, or nobody
    listens.  ``_over``: nothing more goes out."""

    __slots__ = (
        "_connection", "_counted", "_credit", "_eaten", "_messages", "_opened", "_over", "_pending", "_read_at",
        "_sent_at", "_trailers", "_until", "ended", "number", "rpc", "window",
    )  # fmt: skip

    def __init__(self, connection: Connection, number: int, window: int, headers: Mapping[bytes, bytes]) -> None:
        self._connection = connection
        self.number, self.window = number, window
        self.rpc: Rpc | None = None
        self.ended = self._over = False
        self._messages = Unframed(connection.limits.max_body, headers.get(b"grpc-encoding", b"identity"))
        self._counted = self._eaten = 0
        self._credit, self._opened = WINDOW, False
        self._pending = bytearray()
        self._trailers: bytes | None = None
        self._read_at = self._sent_at = self._until = connection.seen

    def certificate(self) -> Certificate | None:
        """What the client's connection showed."""
        return peer(self._connection.out.transport)

    def received(self, payload: bytes, size: int, end: bool) -> None:
        """A data frame; ``size``: what it counts in the window, padding too."""
        connection = self._connection
        self._read_at = connection.seen
        self._credit -= size
        if self._credit < 0:
            self._reset(frames.FLOW_CONTROL_ERROR)
            return
        self.ended = end
        if payload:
            self._take(payload)
        if end:
            if held := self._messages.held:
                self.refuse(status.INTERNAL, f"the stream ended within a message, after {held} bytes of it")
            elif self.rpc is not None:
                self.rpc.closed()
            return
        self._eaten += size
        if self._eaten >= WINDOW // 2 and not self._over:
            connection.out.write(frames.window_update(self.number, self._eaten))
            self._credit += self._eaten
            self._eaten = 0

    def _take(self, payload: bytes) -> None:
        """Hand on the messages that are whole."""
        connection = self._connection
        try:
            for data in self._messages.feed(payload, self._read_at):
                if self.rpc is None:  # it has answered
                    break
                self.rpc.message(data)
        except Refused as error:
            self.refuse(error.code, str(error))
        self._count()
        if connection.credit.buffered > _BUDGET * connection.limits.max_body + frames.DEFAULT_WINDOW:
            self.refuse(status.EXHAUSTED, "too many messages at once on this connection; send fewer at a time")

    def _count(self) -> None:
        """Tell the connection how many bytes of an unfinished message there are."""
        held = self._messages.held
        self._connection.credit.buffered += held - self._counted
        self._counted = held

    def owes(self, more: int) -> None:
        """So many bytes more, or fewer, wait here for others before the client gets its answer."""
        self._connection.credit.owes(more)

    def more(self, size: int) -> None:
        """The client takes so many bytes more."""
        self.window += size
        if not size or self.window > frames.MOST_WINDOW:
            self._reset(frames.FLOW_CONTROL_ERROR if size else frames.PROTOCOL_ERROR)
        else:
            self.pump()

    def send(self, message: bytes) -> None:
        """One message of several."""
        if self._over:
            return
        if not self._opened:
            self._opened = True
            self._connection.out.write(frame(frames.HEADERS, frames.END_HEADERS, self.number, OK_HEAD))
        if not self._pending:
            self._sent_at = self._connection.now()
            self._until = self._sent_at + self._connection.limits.write_timeout
        self._pending += framed(message)
        self._connection.credit.owes(len(message) + PREFIX)
        self.pump()

    def answer(self, message: bytes, trailers: bytes = b"") -> None:
        """The one message and the end, well. ``trailers``: fields as ``headers.literal`` writes them."""
        size, number, out = len(message) + PREFIX, self.number, self._connection.out
        if not self._opened and not self._over and self._trailers is None and self.window >= size and out.grant(size):
            out.write(frames.answered(number, OK_HEAD, framed(message), _DONE + trailers))
            self._finished()
            return
        self.send(message)
        self.finish(status.OK, "", trailers)

    def finish(self, code: int, message: str = "", trailers: bytes = b"") -> None:
        """The status, after all that was sent."""
        if self._over or self._trailers is not None:
            return
        fields = literal(b"grpc-status", b"%d" % code) if code else _DONE
        if message:
            fields += literal(b"grpc-message", status.percent_encoded(message))
        self._trailers = fields + trailers
        if not self._opened:
            self._trailers = OK_HEAD + self._trailers  # one block that is head and trailers
        self.pump()

    def refuse(self, code: int, message: str) -> None:
        """End a stream whose request cannot be read on."""
        rpc, self.rpc = self.rpc, None
        if self._trailers is not None and not self._over:
            self._reset(frames.CANCEL)  # it waits with an answer, and its client sends on
        self.finish(code, message)
        if rpc is not None:
            rpc.cancelled()

    def refuse_http(self, code: int, why: str) -> None:
        """An answer to what is no gRPC: a status of HTTP."""
        fields = literal(b":status", b"%d" % code) + literal(b"content-type", b"text/plain")
        body, out = why.encode(), self._connection.out
        out.write(frame(frames.HEADERS, frames.END_HEADERS, self.number, fields))
        fits = self.window >= len(body) and out.grant(len(body))
        out.write(frame(frames.DATA, frames.END_STREAM, self.number, body if fits else b""))
        self._finished()

    def pump(self) -> None:
        """Send what the windows allow."""
        connection = self._connection
        while self._pending:
            size = connection.out.take(min(len(self._pending), max(0, self.window)))
            if not size:
                connection.streams.waiting[self.number] = self
                return
            self.window -= size
            self._until += size / SLOWEST
            self._sent_at = connection.now()
            connection.out.write(frame(frames.DATA, 0, self.number, bytes(self._pending[:size])))
            del self._pending[:size]
            connection.credit.owes(-size)
        connection.streams.waiting.pop(self.number, None)
        if self._trailers is not None:
            for piece in _blocks(self.number, self._trailers):
                connection.out.write(piece)
            self._finished()

    # The end.

    def drop(self) -> None:
        """End the whole connection without an answer."""
        self._connection.out.abort()

    def lost(self) -> None:
        """The client reset it, or is gone."""
        self._emptied()
        rpc, self.rpc = self.rpc, None
        if rpc is not None:
            rpc.cancelled()

    def _reset(self, code: int) -> None:
        self._connection.out.write(frames.reset(self.number, code))
        self.lost()
        self._connection.forget(self)

    def _finished(self) -> None:
        connection = self._connection
        connection.patience.answered()
        if not self.ended:  # the client may stop sending: nobody reads it
            connection.out.write(frames.reset(self.number, frames.NO_ERROR))
        self._emptied()
        self.rpc = None
        connection.forget(self)

    def _emptied(self) -> None:
        self.ended = self._over = True
        self._messages.drop()
        self._count()
        self._connection.credit.owes(-len(self._pending))
        self._pending.clear()
        self._connection.streams.waiting.pop(self.number, None)

    def look(self, now: float) -> None:
        """Called once a second: a message that does not come on, an answer that is not taken."""
        limits, rpc = self._connection.limits, self.rpc
        awaited = self._messages.held or (rpc is not None and not rpc.patient and not self.ended)
        if self._pending and (now > self._until or now - self._sent_at > limits.write_timeout):
            self._reset(frames.CANCEL)
        elif awaited and not self._pending and now - self._read_at > limits.read_timeout:
            self.refuse(status.DEADLINE, f"no byte of the message came for {limits.read_timeout:g} s")
        elif self._messages.slow(now, limits.read_timeout):
            self.refuse(status.DEADLINE, f"the message came slower than {SLOWEST:g} bytes a second")


def _blocks(number: int, block: bytes) -> list[bytes]:
    """Trailers as one header frame, continued where they are long."""
    size = frames.SMALLEST_FRAME
    pieces = [block[start : start + size] for start in range(0, len(block), size)]
    kinds = [(frames.HEADERS, frames.END_STREAM), *[(frames.CONTINUATION, 0)] * (len(pieces) - 1)]
    ends = [0] * (len(pieces) - 1) + [frames.END_HEADERS]
    return [
        frame(kind, flags | end, number, piece) for (kind, flags), end, piece in zip(kinds, ends, pieces, strict=True)
    ]
