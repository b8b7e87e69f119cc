"""One HTTP/2 connection of a gRPC client, from its bytes to its streams and back.

Bounded in every direction: streams, header blocks, bytes that wait for a model and bytes that wait for the client; a
peer that resets, pings or trickles without end is told to go. What several calls answer in one turn of the loop is one
write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fairlead.serve.grpc import frames
from fairlead.serve.grpc.frames import frame
from fairlead.serve.grpc.headers import LARGEST, BadHeaders, HeaderReader
from fairlead.serve.grpc.incoming import LARGEST_FRAME, Broken, Frame, Incoming, Patience
from fairlead.serve.grpc.outgoing import Outgoing
from fairlead.serve.grpc.stream import Rpc, Stream

WINDOW: Final = 1 << 20
"""Bytes that a client may send on a stream before it is told to go on."""
CONNECTION_WINDOW: Final = 8 << 20
MOST_STREAMS: Final = 1024
_GREETING: Final = frames.settings(
    (frames.MAX_STREAMS, MOST_STREAMS),
    (frames.INITIAL_WINDOW, WINDOW),
    (frames.MAX_FRAME, LARGEST_FRAME),
    (frames.MAX_HEADERS, LARGEST),
) + frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)

Start = Callable[[Stream, Mapping[bytes, bytes]], Rpc | None]
"""What answers a new stream, by its headers; None when it was answered at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_body``: bytes of a message, inflated too.  ``read_timeout``, ``write_timeout``, ``idle``: seconds."""

    max_body: int
    read_timeout: float
    write_timeout: float
    idle: float


class Connection(asyncio.Protocol):
    """``start``: makes what answers a stream.  ``known``: every connection of the listener, this one while it lives."""

    def __init__(self, start: Start, limits: Limits, known: set[Connection]) -> None:
        self._start, self.limits, self._known = start, limits, known
        self._loop = asyncio.get_running_loop()
        self._incoming, self._patience, self._headers = Incoming(), Patience(), HeaderReader()
        self.out = Outgoing(self._loop)
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._initial = frames.DEFAULT_WINDOW
        self._eaten = 0
        self._going = False
        self._stuck = 0.0
        self.buffered = 0
        """Bytes of messages that are not whole yet, of all streams."""
        self.seen = self._loop.time()

    # The transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.out.transport = transport
        self._known.add(self)
        self.out.write(_GREETING)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        self._known.discard(self)
        self.out.transport = None
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.lost()

    def pause_writing(self) -> None:
        """A client that takes no bytes sends none either."""
        self._stuck = self._loop.time()
        self.out.transport.pause_reading()

    def resume_writing(self) -> None:
        self._stuck = 0.0
        if self.out.transport is not None:
            self.out.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.seen = self._loop.time()
        try:
            for one in self._incoming.frames(data):
                self._frame(one)
        except Broken as error:
            self.go_away(error.code, str(error))
            self.out.close()

    # Frames.

    def _frame(self, one: Frame) -> None:
        if one.kind == frames.DATA:
            self._data(one)
        elif one.kind == frames.HEADERS:
            self._open(one)
        elif one.kind == frames.WINDOW_UPDATE:
            self._more_window(one)
        else:
            self._patience.spend(one.kind, self.seen)
            self._control(one)

    def _data(self, one: Frame) -> None:
        if not one.stream or one.stream > self._last:
            raise Broken(frames.PROTOCOL_ERROR, "data on a stream that was not opened")
        end = bool(one.flags & frames.END_STREAM)
        if not one.payload and not end:
            self._patience.spend(one.kind, self.seen)
        self._eaten += one.size
        if self._eaten >= CONNECTION_WINDOW // 2:
            self.out.write(frames.window_update(0, self._eaten))
            self._eaten = 0
        stream = self._streams.get(one.stream)
        if stream is not None and not stream.ended:  # else it was answered or reset, and the client does not know yet
            stream.received(one.payload, one.size, end=end)

    def _open(self, one: Frame) -> None:
        try:
            headers = self._headers.read(one.payload)
        except BadHeaders as error:
            raise Broken(frames.COMPRESSION_ERROR, f"a header block that cannot be read: {error}") from None
        number = one.stream
        if number <= self._last:
            stream = self._streams.get(number)
            if stream is not None and not stream.ended:
                stream.received(b"", 0, end=True)  # trailers of a request: nothing of gRPC is in them
            return
        if not number % 2:
            raise Broken(frames.PROTOCOL_ERROR, "clients open streams of odd numbers")
        self._last = number
        if self._going or len(self._streams) >= MOST_STREAMS:
            self.out.write(frames.reset(number, frames.REFUSED_STREAM))
            return
        stream = self._streams[number] = Stream(self, number, self._initial, headers)
        stream.rpc = self._start(stream, headers)
        if stream.rpc is not None and one.flags & frames.END_STREAM:
            stream.received(b"", 0, end=True)

    def _control(self, one: Frame) -> None:
        kind, payload = one.kind, one.payload
        if kind == frames.SETTINGS:
            self._settings(one)
        elif kind == frames.PING:
            if len(payload) != 8:
                raise Broken(frames.FRAME_SIZE_ERROR, "a ping is 8 bytes")
            if not one.flags & frames.ACK:
                self.out.write(frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.RST_STREAM:
            if one.stream > self._last:
                raise Broken(frames.PROTOCOL_ERROR, "a reset of a stream that was not opened")
            stream = self._streams.pop(one.stream, None)
            if stream is not None:
                stream.lost()
                self._close_if_done()
        elif kind == frames.PUSH_PROMISE:
            raise Broken(frames.PROTOCOL_ERROR, "clients do not push")
        elif kind == frames.GOAWAY:
            self._going = True
            self._close_if_done()

    def _settings(self, one: Frame) -> None:
        if one.flags & frames.ACK:
            return
        if len(one.payload) % 6:
            raise Broken(frames.FRAME_SIZE_ERROR, "a setting is 6 bytes")
        for name, value in frames.settings_of(one.payload):
            if name == frames.INITIAL_WINDOW:
                if value > frames.MOST_WINDOW:
                    raise Broken(frames.FLOW_CONTROL_ERROR, "a window of more than 2^31 - 1")
                more, self._initial = value - self._initial, value
                for stream in self._streams.values():
                    stream.window += more
            elif name == frames.MAX_FRAME:
                self.out.frame_size(value)
        self.out.write(frame(frames.SETTINGS, frames.ACK, 0))
        self._pump()

    def _more_window(self, one: Frame) -> None:
        if len(one.payload) != 4:
            raise Broken(frames.FRAME_SIZE_ERROR, "a window update is 4 bytes")
        more = frames.word(one.payload)
        if not one.stream:
            self.out.more(more)
            self._pump()
        elif (stream := self._streams.get(one.stream)) is not None:
            stream.more(more)

    def _pump(self) -> None:
        for stream in [one for one in self._streams.values() if one.waits]:
            stream.pump()

    # The end.

    def forget(self, stream: Stream) -> None:
        """The stream has ended."""
        self._streams.pop(stream.number, None)
        self._close_if_done()

    def go_away(self, code: int = frames.NO_ERROR, why: str = "") -> None:
        """Take no new stream; those that are open are answered."""
        if not self._going:
            self._going = True
            self.out.write(frames.goaway(self._last, code, why.encode()))
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._going and not self._streams:
            self.out.close()

    def abort(self) -> None:
        if self.out.transport is not None:
            self.out.transport.abort()

    def look(self, now: float) -> None:
        """Called once a second: close what keeps the server waiting."""
        limits = self.limits
        if self._stuck and now - self._stuck > limits.write_timeout:
            self.abort()
        elif not self._streams and now - self.seen > limits.idle:
            self.go_away()
        elif not self._incoming.greeted and now - self.seen > limits.read_timeout:
            self.abort()
        for stream in list(self._streams.values()):
            stream.look(now)
