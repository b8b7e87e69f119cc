"""Frames of HTTP/2 (RFC 9113): numbers, limits, and how they are written."""

from __future__ import annotations

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = 9
"""Bytes of a frame's head."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 3
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CALM = 6, 7, 8, 9, 11

MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADERS = 3, 4, 5, 6

DEFAULT_WINDOW: Final = 65_535
MOST_WINDOW: Final = 2**31 - 1
SMALLEST_FRAME: Final = 16_384
"""What every peer takes until it says otherwise."""

_HEAD: Final = struct.Struct(">HBBBI")
_SETTING: Final = struct.Struct(">HI")
_WORD: Final = struct.Struct(">I")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    length = len(payload)
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def answered(stream: int, head: bytes, data: bytes, trailers: bytes) -> bytes:
    """Headers, one frame of data and trailers: a whole answer."""
    a, b, c, pack = len(head), len(data), len(trailers), _HEAD.pack
    return b"".join(
        (
            pack(a >> 8, a & 0xFF, HEADERS, END_HEADERS, stream),
            head,
            pack(b >> 8, b & 0xFF, DATA, 0, stream),
            data,
            pack(c >> 8, c & 0xFF, HEADERS, END_HEADERS | END_STREAM, stream),
            trailers,
        )
    )


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in pairs))


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, _WORD.pack(more))


def reset(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, _WORD.pack(code))


def goaway(last: int, code: int, why: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, _WORD.pack(last) + _WORD.pack(code) + why)


def settings_of(payload: bytes) -> list[tuple[int, int]]:
    """Identifier and value of each; the length is a multiple of 6."""
    return list(_SETTING.iter_unpack(payload))


def word(payload: bytes, at: int = 0) -> int:
    """32 bits, without the reserved first one."""
    return int(_WORD.unpack_from(payload, at)[0]) & 0x7FFF_FFFF
