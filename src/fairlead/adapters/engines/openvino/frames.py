"""Messages on a stream of bytes: four bytes of length, then MessagePack."""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec

LARGEST: Final = 64 << 20
"""Bytes of a message: more than any prompt or step; a longer one is a broken stream."""

_LENGTH: Final = struct.Struct("!I")
_encode = msgspec.msgpack.Encoder().encode


def framed(message: msgspec.Struct) -> bytes:
    """Raises ValueError for a message that is too long."""
    data = _encode(message)
    if len(data) > LARGEST:
        raise ValueError(f"a message of {len(data)} bytes; at most {LARGEST} cross")
    return _LENGTH.pack(len(data)) + data


class Cutter:
    """Cuts a stream into messages of ``kinds``."""

    def __init__(self, kinds: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(kinds).decode
        self._left = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The messages that are whole now. Raises ValueError (msgspec's errors are) for what is none."""
        self._left += data
        found, at = [], 0
        while len(self._left) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._left, at)
            if length > LARGEST:
                raise ValueError(f"a message of {length} bytes")
            end = at + _LENGTH.size + length
            if len(self._left) < end:
                break
            found.append(self._decode(bytes(self._left[at + _LENGTH.size : end])))
            at = end
        if at:
            del self._left[:at]
        return found
