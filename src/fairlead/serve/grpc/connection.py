"""One HTTP/2 connection of a gRPC client, from its bytes to its streams and back.

Bounded in every direction: streams, header blocks, bytes that wait for a model and bytes that wait for the client; a
peer that resets, pings or trickles without end is told to go. What several calls answer in one turn of the loop is one
write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fairlead.serve.grpc import frames
from fairlead.serve.grpc.frames import frame
from fairlead.serve.grpc.headers import LARGEST, BadHeaders, HeaderReader
from fairlead.serve.grpc.stream import Rpc, Stream

WINDOW: Final = 1 << 20
"""Bytes that a client may send on a stream before it is told to go on."""
CONNECTION_WINDOW: Final = 8 << 20
LARGEST_FRAME: Final = 1 << 18
MOST_STREAMS: Final = 1024
MOST_RESETS: Final = 20_000
"""Streams that a client may reset in ``SPELL`` seconds; of other frames that ask for nothing, a tenth as many."""
SPELL: Final = 10.0
_FRAME_WEIGHT = 10

Start = Callable[[Stream, Mapping[bytes, bytes]], Rpc | None]
"""What answers a new stream, by its headers; None when it was answered at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_body``: bytes of a message, inflated too.  ``read_timeout``, ``write_timeout``, ``idle``: seconds."""

    max_body: int
    read_timeout: float
    write_timeout: float
    idle: float


class Broken(Exception):
    """The peer broke the protocol: code and why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Connection(asyncio.Protocol):
    """``start``: makes what answers a stream.  ``known``: every connection of the listener, this one while it lives."""

    def __init__(self, start: Start, limits: Limits, known: set[Connection]) -> None:
        self._start, self.limits, self._known = start, limits, known
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._held = bytearray()
        self._greeted = False
        self._headers = HeaderReader()
        self._streams: dict[int, Stream] = {}
        self._block: tuple[int, bool, bytearray] | None = None
        self._last = 0
        self._out: list[bytes] = []
        self._flushing = False
        self._initial = frames.DEFAULT_WINDOW
        self._window = frames.DEFAULT_WINDOW
        self._largest = frames.SMALLEST_FRAME
        self._eaten = 0
        self._going = False
        self._spell, self._useless = 0.0, 0
        self._stuck = 0.0
        self.buffered = 0
        """Bytes of messages that are not whole yet, of all streams."""
        self.seen = self._loop.time()

    # The transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._known.add(self)
        self.write(
            frames.settings(
                (frames.MAX_STREAMS, MOST_STREAMS),
                (frames.INITIAL_WINDOW, WINDOW),
                (frames.MAX_FRAME, LARGEST_FRAME),
                (frames.MAX_HEADERS, LARGEST),
            )
            + frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        )

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        self._known.discard(self)
        self._transport = None
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.lost()

    def pause_writing(self) -> None:
        """A client that takes no bytes sends none either."""
        self._stuck = self._loop.time()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._stuck = 0.0
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.seen = self._loop.time()
        held = self._held
        if held:
            held += data
            data = bytes(held)
            held.clear()
        try:
            used = self._read(data)
        except Broken as error:
            self.go_away(error.code, str(error))
            self._close()
            return
        if used < len(data):
            held += data[used:] if used else data

    def _read(self, data: bytes) -> int:
        """Handle every whole frame; how many bytes that took."""
        at, end = 0, len(data)
        if not self._greeted:
            if not data.startswith(frames.PREFACE[:end]):
                raise Broken(frames.PROTOCOL_ERROR, "this port speaks gRPC (HTTP/2 with prior knowledge)")
            if end < len(frames.PREFACE):
                return 0
            self._greeted, at = True, len(frames.PREFACE)
        while end - at >= frames.HEAD and self._transport is not None:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > LARGEST_FRAME:
                raise Broken(frames.FRAME_SIZE_ERROR, f"a frame of {length} bytes; at most {LARGEST_FRAME} are taken")
            after = at + frames.HEAD + length
            if after > end:
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFF_FFFF
            self._frame(data[at + 3], data[at + 4], stream, data[at + frames.HEAD : after])
            at = after
        return at

    # Frames.

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or number != self._block[0]):
            raise Broken(frames.PROTOCOL_ERROR, "a header block was interrupted")
        if kind == frames.DATA:
            self._data(flags, number, payload)
        elif kind == frames.HEADERS:
            self._begin_headers(flags, number, payload)
        elif kind == frames.CONTINUATION:
            self._more_headers(flags, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._more_window(number, payload)
        else:
            self._count(1 if kind == frames.RST_STREAM else _FRAME_WEIGHT)
            self._control(kind, flags, number, payload)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        if not number or number > self._last:
            raise Broken(frames.PROTOCOL_ERROR, "data on a stream that was not opened")
        self._eaten += len(payload)
        if self._eaten >= CONNECTION_WINDOW // 2:
            self.write(frames.window_update(0, self._eaten))
            self._eaten = 0
        if not payload and not flags & frames.END_STREAM:
            self._count(_FRAME_WEIGHT)
        stream = self._streams.get(number)
        if stream is None or stream.ended:
            return  # it was answered or reset, and the client did not know yet
        size = len(payload)
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        stream.received(payload, size, end=bool(flags & frames.END_STREAM))

    def _begin_headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        if flags & frames.PRIORITISED:
            if len(payload) < 5:
                raise Broken(frames.FRAME_SIZE_ERROR, "a priority that is cut short")
            payload = payload[5:]
        end = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._open(number, end, payload)
        else:
            self._block = (number, end, bytearray(payload))

    def _more_headers(self, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise Broken(frames.PROTOCOL_ERROR, "a continuation of nothing")
        number, end, block = self._block
        block += payload
        self._count(_FRAME_WEIGHT)
        if len(block) > LARGEST:
            raise Broken(frames.CALM, f"a header block of more than {LARGEST} bytes")
        if flags & frames.END_HEADERS:
            self._block = None
            self._open(number, end, bytes(block))

    def _open(self, number: int, end: bool, block: bytes) -> None:
        try:
            headers = self._headers.read(block)
        except BadHeaders as error:
            raise Broken(frames.COMPRESSION_ERROR, f"a header block that cannot be read: {error}") from None
        if number <= self._last:
            stream = self._streams.get(number)
            if stream is not None and not stream.ended:
                stream.received(b"", 0, end=True)  # trailers of a request: nothing of gRPC is in them
            return
        if not number % 2:
            raise Broken(frames.PROTOCOL_ERROR, "clients open streams of odd numbers")
        self._last = number
        if self._going or len(self._streams) >= MOST_STREAMS:
            self.write(frames.reset(number, frames.REFUSED_STREAM))
            return
        stream = self._streams[number] = Stream(self, number, self._initial, headers)
        rpc = self._start(stream, headers)
        if rpc is None:
            return
        stream.rpc = rpc
        if end:
            stream.received(b"", 0, end=True)

    def _control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == frames.SETTINGS:
            self._settings(flags, payload)
        elif kind == frames.PING:
            if len(payload) != 8:
                raise Broken(frames.FRAME_SIZE_ERROR, "a ping is 8 bytes")
            if not flags & frames.ACK:
                self.write(frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.RST_STREAM:
            stream = self._streams.pop(number, None)
            if stream is not None:
                stream.lost()
            elif number > self._last:
                raise Broken(frames.PROTOCOL_ERROR, "a reset of a stream that was not opened")
        elif kind == frames.PUSH_PROMISE:
            raise Broken(frames.PROTOCOL_ERROR, "clients do not push")
        elif kind == frames.GOAWAY:
            self._going = True
            self._close_if_done()

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            return
        if len(payload) % 6:
            raise Broken(frames.FRAME_SIZE_ERROR, "a setting is 6 bytes")
        for name, value in frames.settings_of(payload):
            if name == frames.INITIAL_WINDOW:
                if value > frames.MOST_WINDOW:
                    raise Broken(frames.FLOW_CONTROL_ERROR, "a window of more than 2^31 - 1")
                more, self._initial = value - self._initial, value
                for stream in list(self._streams.values()):
                    stream.window += more
            elif name == frames.MAX_FRAME:
                if not frames.SMALLEST_FRAME <= value < 1 << 24:
                    raise Broken(frames.PROTOCOL_ERROR, "a largest frame outside 2^14 to 2^24 - 1")
                self._largest = min(value, LARGEST_FRAME)
        self.write(frame(frames.SETTINGS, frames.ACK, 0))
        self._pump()

    def _more_window(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Broken(frames.FRAME_SIZE_ERROR, "a window update is 4 bytes")
        more = frames.word(payload)
        if number:
            stream = self._streams.get(number)
            if stream is not None:
                stream.window += more
                if not more or stream.window > frames.MOST_WINDOW:
                    stream.reset(frames.PROTOCOL_ERROR if not more else frames.FLOW_CONTROL_ERROR)
                else:
                    stream.pump()
            return
        self._window += more
        if not more or self._window > frames.MOST_WINDOW:
            raise Broken(frames.FLOW_CONTROL_ERROR if more else frames.PROTOCOL_ERROR, "a window update out of range")
        self._pump()

    def _count(self, weight: int) -> None:
        if self.seen - self._spell > SPELL:
            self._spell, self._useless = self.seen, 0
        self._useless += weight
        if self._useless > MOST_RESETS:
            raise Broken(frames.CALM, "too many frames that ask for nothing")

    # What streams use.

    def write(self, data: bytes) -> None:
        """Send at the end of this turn of the loop, with all else that it brings."""
        self._out.append(data)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        out, self._out = self._out, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    def grant(self, size: int) -> bool:
        """Whether so many bytes may go out in one frame now; then they count as sent."""
        if size > self._window or size > self._largest:
            return False
        self._window -= size
        return True

    def take(self, size: int) -> int:
        """How many of so many bytes may go out on the connection now; they count as sent."""
        granted = max(0, min(size, self._window, self._largest))
        self._window -= granted
        return granted

    def forget(self, stream: Stream) -> None:
        """The stream has ended."""
        self._streams.pop(stream.number, None)
        self._close_if_done()

    def _pump(self) -> None:
        for stream in [one for one in self._streams.values() if one.waits]:
            stream.pump()

    # The end.

    def go_away(self, code: int = frames.NO_ERROR, why: str = "") -> None:
        """Take no new stream; those that are open are answered."""
        if not self._going:
            self._going = True
            self.write(frames.goaway(self._last, code, why.encode()))
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._going and not self._streams:
            self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def look(self, now: float) -> None:
        """Called once a second: close what keeps the server waiting."""
        limits = self.limits
        if self._stuck and now - self._stuck > limits.write_timeout:
            self.abort()
        elif not self._streams and now - self.seen > limits.idle:
            self.go_away()
        elif not self._greeted and now - self.seen > limits.read_timeout:
            self.abort()
        for stream in list(self._streams.values()):
            stream.look(now)


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise Broken(frames.PROTOCOL_ERROR, "padding that is longer than its frame")
    return payload[1 : len(payload) - payload[0]]
