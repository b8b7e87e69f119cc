"""What comes in on a connection: bytes into whole frames, header blocks put together, a count of what is useless."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from fairlead.serve.grpc import frames
from fairlead.serve.grpc.headers import LARGEST

LARGEST_FRAME: Final = 1 << 18
MOST_RESETS: Final = 20_000
"""Streams that a client may reset in ``SPELL`` seconds."""
MOST_IDLE: Final = 2_000
"""Other frames that ask for nothing, in ``SPELL`` seconds and since the last answer: clients measure with pings."""
SPELL: Final = 10.0


_OF_CONNECTION: Final = (frames.SETTINGS, frames.PING, frames.GOAWAY)
_OF_STREAM: Final = (frames.PRIORITY, frames.RST_STREAM, frames.PUSH_PROMISE)
_SIZES: Final = {frames.PING: 8, frames.RST_STREAM: 4, frames.WINDOW_UPDATE: 4}


class Broken(Exception):
    """The peer broke the protocol: code and why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Frame(NamedTuple):
    """``payload``: without padding and priority; of headers the whole block.  ``size``: what it counts in a window."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    size: int


class Incoming:
    """The frames of one connection, in order."""

    def __init__(self) -> None:
        self.greeted = False
        self._begun = False
        self._held = bytearray()
        self._block: tuple[int, int, bytearray] | None = None
        self.whole = 0
        """Frames so far, a block of headers being one."""

    @property
    def partial(self) -> int:
        """Bytes of a frame, or a block of headers, that is not whole."""
        return len(self._held) + (len(self._block[2]) + 1 if self._block is not None else 0)

    def frames(self, data: bytes) -> Iterator[Frame]:
        """Every frame that is whole now. Raises Broken."""
        held = self._held
        if held:
            held += data
            data = bytes(held)
            held.clear()
        at, end = 0, len(data)
        if not self.greeted:
            if not data.startswith(frames.PREFACE[:end]):
                raise Broken(frames.PROTOCOL_ERROR, "this port speaks gRPC (HTTP/2 with prior knowledge)")
            if end < len(frames.PREFACE):
                held += data
                return
            self.greeted, at = True, len(frames.PREFACE)
        while end - at >= frames.HEAD:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > LARGEST_FRAME:
                raise Broken(frames.FRAME_SIZE_ERROR, f"a frame of {length} bytes; at most {LARGEST_FRAME} are taken")
            after = at + frames.HEAD + length
            if after > end:
                break
            number = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFF_FFFF
            found = self._whole(data[at + 3], data[at + 4], number, data[at + frames.HEAD : after])
            at = after
            if found is not None:
                self.whole += 1
                yield found
        held += data[at:] if at else data

    def _whole(self, kind: int, flags: int, number: int, payload: bytes) -> Frame | None:
        size = len(payload)
        if not self._begun:
            self._begun = True
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise Broken(frames.PROTOCOL_ERROR, "the first frame is not the settings")
        if self._block is not None:
            return self._more(kind, flags, number, payload)
        if kind == frames.CONTINUATION:
            raise Broken(frames.PROTOCOL_ERROR, "a continuation of nothing")
        if kind > frames.HEADERS:
            _checked(kind, number, size)
            return Frame(kind, flags, number, payload, size)
        if not number:
            raise Broken(frames.PROTOCOL_ERROR, "data or headers of no stream")
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        if kind == frames.HEADERS:
            if flags & frames.PRIORITISED:
                if len(payload) < 5:
                    raise Broken(frames.FRAME_SIZE_ERROR, "a priority that is cut short")
                payload = payload[5:]
            if not flags & frames.END_HEADERS:
                self._block = (number, flags, bytearray(payload))
                return None
        return Frame(kind, flags, number, payload, size)

    def _more(self, kind: int, flags: int, number: int, payload: bytes) -> Frame | None:
        assert self._block is not None  # noqa: S101 - the caller asked
        first, begun, block = self._block
        if kind != frames.CONTINUATION or number != first:
            raise Broken(frames.PROTOCOL_ERROR, "a header block was interrupted")
        block += payload
        if len(block) > LARGEST:
            raise Broken(frames.CALM, f"a header block of more than {LARGEST} bytes")
        if not payload and not flags & frames.END_HEADERS:
            raise Broken(frames.CALM, "a continuation without a byte")
        if not flags & frames.END_HEADERS:
            return None
        self._block = None
        return Frame(frames.HEADERS, begun, number, bytes(block), len(block))


class Patience:
    """How much a client may send that asks for nothing."""

    def __init__(self) -> None:
        self._since = 0.0
        self._resets = self._idle = 0

    def spend(self, kind: int, now: float) -> None:
        """Raises Broken when it is at an end."""
        if now - self._since > SPELL:
            self._since, self._resets, self._idle = now, 0, 0
        if kind == frames.RST_STREAM:
            self._resets += 1
        else:
            self._idle += 1
        if self._resets > MOST_RESETS or self._idle > MOST_IDLE:
            raise Broken(frames.CALM, "too many frames that ask for nothing")

    def answered(self) -> None:
        """An answer went out, and whatever belongs to it is welcome."""
        self._idle = 0


def _checked(kind: int, number: int, size: int) -> None:
    if kind in _OF_CONNECTION and number:
        raise Broken(frames.PROTOCOL_ERROR, f"a frame of kind {kind} on stream {number}")
    if kind in _OF_STREAM and not number:
        raise Broken(frames.PROTOCOL_ERROR, f"a frame of kind {kind} on no stream")
    if size != _SIZES.get(kind, size):
        raise Broken(frames.FRAME_SIZE_ERROR, f"a frame of kind {kind} has {_SIZES[kind]} bytes, found {size}")


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise Broken(frames.PROTOCOL_ERROR, "padding that is longer than its frame")
    return payload[1 : len(payload) - payload[0]]
