"""One HTTP/2 connection of a gRPC client, from its bytes to its streams and back.

What a client may make the server hold is bounded: streams, header blocks, unfinished messages, and what is owed to it
(answers that it does not take, calls that wait behind others). A client that goes beyond that is not allowed to send
more until it has taken some. One that resets, pings or trickles without end is told to go. What several calls answer
in one turn of the loop is one write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from fairlead.serve.grpc import credit, frames, status, streams
from fairlead.serve.grpc.ending import Ending
from fairlead.serve.grpc.frames import frame
from fairlead.serve.grpc.headers import LARGEST, BadHeaders, HeaderReader
from fairlead.serve.grpc.incoming import LARGEST_FRAME, Broken, Frame, Incoming, Patience
from fairlead.serve.grpc.outgoing import Outgoing
from fairlead.serve.grpc.stream import WINDOW, Limits, Rpc, Stream
from fairlead.serve.grpc.streams import Streams

log = logging.getLogger("fairlead.serve")

DRIBBLE: Final = 64
"""Bytes of a window update below which it asks for next to nothing."""

_GREETING: Final = frames.settings(
    (frames.MAX_STREAMS, streams.MOST),
    (frames.INITIAL_WINDOW, WINDOW),
    (frames.MAX_FRAME, LARGEST_FRAME),
    (frames.MAX_HEADERS, LARGEST),
) + frames.window_update(0, credit.WINDOW - frames.DEFAULT_WINDOW)
Start = Callable[[Stream, Mapping[bytes, bytes]], Rpc | None]
"""What answers a new stream, by its headers; None when it was answered at once."""


class Connection(asyncio.Protocol):
    """``start``: makes what answers a stream.  ``known``: the listener's connections.  ``leaving``: does it end?"""

    def __init__(
        self, start: Start, limits: Limits, known: set[Connection], leaving: Callable[[], bool] = lambda: False
    ) -> None:
        self._start, self.limits, self._known, self._leaving = start, limits, known, leaving
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._incoming, self._headers = Incoming(), HeaderReader()
        self.patience = Patience()
        self.out = Outgoing(self._loop)
        self.credit, self._ending = credit.Credit(self.out), Ending(self.out)
        self.streams = Streams(self._loop)
        self._last, self._stuck = 0, 0.0
        self.seen = self._loop.time()

    # The transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.out.transport = transport
        self._known.add(self)
        self.out.write(_GREETING)
        if self._leaving():
            self.leave()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        self._known.discard(self)
        self.out.transport = None
        self.streams.lose()

    def pause_writing(self) -> None:
        """A client that takes no bytes sends none either."""
        self._stuck = self.now()
        self.out.transport.pause_reading()

    def resume_writing(self) -> None:
        self._stuck = 0.0
        if self.out.transport is not None:
            self.out.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.seen = self.now()
        try:
            for one in self._incoming.frames(data) if not self._ending.closed else ():
                self._frame(one)
        except Broken as error:
            log.info("grpc connection broken", extra={"fields": {"code": error.code, "why": str(error)}})
            self._ending.go(self._last, self.seen, error.code, str(error))
            self.streams.lose()

    # Frames.

    def _frame(self, one: Frame) -> None:
        if one.kind == frames.DATA:
            self._data(one)
        elif one.kind == frames.HEADERS:
            self._open(one)
        elif one.kind == frames.WINDOW_UPDATE:
            self._more_window(one)
        else:
            self._control(one)

    def _data(self, one: Frame) -> None:
        if one.stream > self._last:
            raise Broken(frames.PROTOCOL_ERROR, "data on a stream that was not opened")
        end = bool(one.flags & frames.END_STREAM)
        if not one.payload and not end:
            self.patience.spend(one.kind, self.seen)
        self.credit.spend(one.size)
        stream = self.streams.open.get(one.stream)
        if stream is not None and not stream.ended:  # else it was answered or reset, and the client does not know yet
            self._safely(stream, Stream.received, one.payload, one.size, end)

    def _open(self, one: Frame) -> None:
        try:
            headers = self._headers.read(one.payload)
        except BadHeaders as error:
            raise Broken(frames.COMPRESSION_ERROR, f"a header block that cannot be read: {error}") from None
        number, end = one.stream, bool(one.flags & frames.END_STREAM)
        if number <= self._last:
            stream = self.streams.open.get(number)
            if stream is not None and not stream.ended:
                self._safely(stream, Stream.received, b"", 0, True)  # trailers: gRPC has nothing in them
            return
        if not number % 2:
            raise Broken(frames.PROTOCOL_ERROR, "clients open streams of odd numbers")
        self._last = number
        if self._ending.going or self.streams.full:
            self.out.write(frames.reset(number, frames.REFUSED_STREAM))
            return
        if b"" in headers or not headers.keys() >= {b":method", b":path", b":scheme"}:
            self.out.write(frames.reset(number, frames.PROTOCOL_ERROR))
            return
        stream = self.streams.open[number] = Stream(self, number, self.streams.initial, headers)
        stream.ended = end
        self._safely(stream, self._begin, headers)

    def _begin(self, stream: Stream, headers: Mapping[bytes, bytes]) -> None:
        rpc = stream.rpc = self._start(stream, headers)
        if rpc is not None and stream.ended:
            rpc.closed()

    def _safely(self, stream: Stream, work: Callable[..., None], *given: Any) -> None:
        """One call that goes wrong in here is that call's end, and of no other."""
        try:
            work(stream, *given)
        except Broken:
            raise
        except Exception:
            log.exception("grpc call failed", extra={"fields": {"stream": stream.number}})
            stream.refuse(status.INTERNAL, "the server failed; its log has the cause")

    def _control(self, one: Frame) -> None:
        kind, acknowledges = one.kind, bool(one.flags & frames.ACK)
        if kind == frames.PING and acknowledges:
            if self._ending.answers(one.payload):
                self.go_away()
            return
        self.patience.spend(kind, self.seen)
        if kind == frames.SETTINGS:
            self._settings(one)
        elif kind == frames.PING:
            self.out.write(frame(frames.PING, frames.ACK, 0, one.payload))
        elif kind == frames.RST_STREAM:
            if one.stream > self._last:
                raise Broken(frames.PROTOCOL_ERROR, "a reset of a stream that was not opened")
            stream = self.streams.open.get(one.stream)
            if stream is not None:
                stream.lost()
                self.forget(stream)
        elif kind == frames.PUSH_PROMISE:
            raise Broken(frames.PROTOCOL_ERROR, "clients do not push")
        elif kind == frames.GOAWAY:
            self._ending.going = True
            self._end_if_done()

    def _settings(self, one: Frame) -> None:
        acknowledges = one.flags & frames.ACK
        if len(one.payload) % 6 or (acknowledges and one.payload):
            raise Broken(frames.FRAME_SIZE_ERROR, "a setting is 6 bytes")
        if acknowledges:
            return
        for name, value in frames.settings_of(one.payload):
            if name == frames.INITIAL_WINDOW:
                self.streams.resize(value)
            elif name == frames.MAX_FRAME:
                self.out.frame_size(value)
        self.out.write(frame(frames.SETTINGS, frames.ACK, 0))
        self.streams.pump_soon()

    def _more_window(self, one: Frame) -> None:
        more = frames.word(one.payload)
        if more < DRIBBLE:
            self.patience.spend(one.kind, self.seen)
        if not one.stream:
            self.out.more(more)
            self.streams.pump_soon()
        elif one.stream > self._last:
            raise Broken(frames.PROTOCOL_ERROR, "a window for a stream that was not opened")
        elif (stream := self.streams.open.get(one.stream)) is not None:
            stream.more(more)

    # The end.

    @property
    def busy(self) -> bool:
        """Whether something is half sent, one way or the other."""
        return bool(self.credit.buffered or self.streams.waiting or self._stuck)

    def forget(self, stream: Stream) -> None:
        """The stream has ended."""
        self.streams.open.pop(stream.number, None)
        self._end_if_done()

    def leave(self) -> None:
        """Ask the client to go. What it has sent until it knows of it is answered."""
        self._ending.ask(self.now())

    def go_away(self) -> None:
        """Take no new stream; those that are open are answered."""
        self._ending.go(self._last, self.now())
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._ending.going and not self.streams.open:
            self._ending.close(self.now())

    def look(self, now: float) -> None:
        """Called once a second: close what keeps the server waiting."""
        limits, silent = self.limits, now - self.seen
        stuck = bool(self._stuck) and now - self._stuck > limits.write_timeout
        if stuck or self._ending.overdue(now) or (not self._incoming.greeted and silent > limits.read_timeout):
            self.out.abort()
        elif self._ending.unheard(now):
            self.go_away()
        elif not self.streams.open and silent > limits.idle:
            self.leave()
        for stream in list(self.streams.open.values()):
            stream.look(now)
