"""Messages of gRPC in a stream of bytes: a flag, a length and the message, which may be compressed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fairlead.contracts.errors import BodyTooLarge, FairleadError
from fairlead.serve.grpc import status
from fairlead.serve.inflating import Inflater
from fairlead.serve.settings import SLOWEST

PREFIX: Final = 5
"""Bytes before a message: whether it is compressed, and its length."""
_KNOWN: Final = (b"gzip", b"deflate")


class Refused(Exception):
    """The stream cannot be read on: a status code, and why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Unframed:
    """``limit``: bytes of a message, inflated too.  ``encoding``: what those are compressed by that say they are."""

    __slots__ = ("_body", "_encoding", "_limit", "_since")

    def __init__(self, limit: int, encoding: bytes) -> None:
        self._limit, self._encoding = limit, encoding
        self._body = bytearray()
        self._since = 0.0

    @property
    def held(self) -> int:
        """Bytes of a message that is not whole."""
        return len(self._body)

    def drop(self) -> int:
        """Forget them; how many there were."""
        held = len(self._body)
        self._body.clear()
        return held

    def slow(self, now: float, limit: float) -> bool:
        """Whether a message comes slower than it may, beyond so many seconds."""
        return bool(self._body) and now - self._since > limit + len(self._body) / SLOWEST

    def feed(self, data: bytes, now: float = 0.0) -> Iterator[bytes]:
        """Every message that is whole now. Raises Refused."""
        body = self._body
        size = len(data) - PREFIX
        if not body and 0 <= size <= self._limit and int.from_bytes(data[1:PREFIX], "big") == size:
            yield self._inflated(data[0], data[PREFIX:])  # one message in one piece: nearly all are
            return
        if not body:
            self._since = now
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
            self._since = now
            yield self._inflated(flag, message)

    def _inflated(self, flag: int, data: bytes) -> bytes:
        if not flag:
            return data
        name = self._encoding.decode("latin-1")
        if flag > 1 or self._encoding == b"identity":
            raise Refused(status.INTERNAL, "the message is marked as compressed, and the call names no grpc-encoding")
        if self._encoding not in _KNOWN:
            raise Refused(status.UNIMPLEMENTED, f"grpc-encoding {name!r} is not known; send identity, deflate or gzip")
        whole = Inflater(name, self._limit)
        try:
            plain = whole.feed(data)
            whole.end()
        except FairleadError as error:
            code = status.EXHAUSTED if isinstance(error, BodyTooLarge) else status.INVALID
            raise Refused(code, str(error)) from None
        return plain


def framed(message: bytes) -> bytes:
    return b"\x00" + len(message).to_bytes(4, "big") + message
