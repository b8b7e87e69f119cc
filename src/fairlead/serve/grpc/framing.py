"""Messages of gRPC in a stream of bytes: a flag, a length and the message, which may be compressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from fairlead.serve.grpc import status

PREFIX: Final = 5
"""Bytes before a message: whether it is compressed, and its length."""
_BITS: Final = {b"gzip": 31, b"deflate": 15}


class Refused(Exception):
    """The stream cannot be read on: a status code, and why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Unframed:
    """``limit``: bytes of a message, inflated too.  ``encoding``: what those are compressed by that say they are."""

    __slots__ = ("_body", "_encoding", "_limit")

    def __init__(self, limit: int, encoding: bytes) -> None:
        self._limit, self._encoding = limit, encoding
        self._body = bytearray()

    @property
    def held(self) -> int:
        """Bytes of a message that is not whole."""
        return len(self._body)

    def drop(self) -> int:
        """Forget them; how many there were."""
        held = len(self._body)
        self._body.clear()
        return held

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Every message that is whole now. Raises Refused."""
        body = self._body
        size = len(data) - PREFIX
        if not body and 0 <= size <= self._limit and int.from_bytes(data[1:PREFIX], "big") == size:
            yield self._inflated(data[0], data[PREFIX:])  # one message in one piece: nearly all are
            return
        body += data
        while len(body) >= PREFIX:
            length = int.from_bytes(body[1:PREFIX], "big")
            if length > self._limit:
                raise Refused(
                    status.EXHAUSTED,
                    f"the message has {length} bytes; the limit is {self._limit} bytes (serve --max-body-mb): send "
                    "fewer rows at once",
                )
            if len(body) < PREFIX + length:
                return
            flag, message = body[0], bytes(body[PREFIX : PREFIX + length])
            del body[: PREFIX + length]
            yield self._inflated(flag, message)

    def _inflated(self, flag: int, data: bytes) -> bytes:
        if not flag:
            return data
        name, limit = self._encoding.decode("latin-1"), self._limit
        bits = _BITS.get(self._encoding)
        if flag > 1 or self._encoding == b"identity":
            raise Refused(status.INTERNAL, "the message is marked as compressed, and the call names no grpc-encoding")
        if bits is None:
            raise Refused(status.UNIMPLEMENTED, f"grpc-encoding {name!r} is not known; send identity, deflate or gzip")
        plain = b""
        while data or not plain:
            inflater = zlib.decompressobj(wbits=bits)
            try:
                plain += inflater.decompress(data, limit - len(plain) + 1)
            except zlib.error as error:
                raise Refused(status.INVALID, f"the message is no valid {name}: {error}") from None
            if len(plain) > limit:
                raise Refused(status.EXHAUSTED, f"the message has over {limit} bytes once inflated; send fewer rows")
            if not inflater.eof:
                raise Refused(status.INVALID, f"the {name} message ends early")
            data = inflater.unused_data  # gzip may have several members
            if not data:
                break
        return plain


def framed(message: bytes) -> bytes:
    return b"\x00" + len(message).to_bytes(4, "big") + message
