"""Compressed bytes made plain, within bounds: a body must not grow out of a few bytes into what fills the memory.

Two bounds: the plain size, and how many times larger than the compressed bytes it may be. The second one is what a
bomb hits; a body of ordinary numbers compresses five to twenty times.
"""

from __future__ import annotations

import zlib
from typing import Final

from fairlead.contracts.errors import BodyTooLarge, InvalidParameter, MalformedBody

RATIO: Final = 200
"""Times that a body may grow; zlib's own limit is a thousand."""
FREE: Final = 2**20
"""Bytes that may come out of however few."""
MEMBERS: Final = 16
"""Parts of a gzip body, each with a head of its own."""

_BITS: Final = {"gzip": 31, "deflate": 15}


class Inflater:
    """One body. ``limit``: bytes, plain."""

    def __init__(self, encoding: str, limit: int) -> None:
        self._encoding, self._limit = encoding, limit
        self._zlib = zlib.decompressobj(_BITS[encoding])
        self._members = 1
        self._raw = self._plain = 0

    def feed(self, raw: bytes) -> bytes:
        """More of it, made plain. Raises BodyTooLarge or MalformedBody."""
        self._raw += len(raw)
        allowed = min(self._limit, max(FREE, RATIO * self._raw))
        out = []
        while raw:
            if self._zlib.eof:
                self._next()
            try:
                piece = self._zlib.decompress(raw, allowed - self._plain + 1)
            except zlib.error as error:
                raise MalformedBody(f"the body is not valid {self._encoding}: {error}") from None
            self._plain += len(piece)
            if self._plain > allowed:
                raise self._too_large()
            out.append(piece)
            raw = self._zlib.unused_data
        return out[0] if len(out) == 1 else b"".join(out)

    def end(self) -> None:
        """Nothing more comes. Raises MalformedBody when it should."""
        if not self._zlib.eof:
            raise MalformedBody(f"the {self._encoding} body ends early")

    def _next(self) -> None:
        """What comes behind the end: of gzip another member, else nothing that belongs to it."""
        if self._encoding != "gzip":
            raise MalformedBody(f"there are bytes behind the end of the {self._encoding} body")
        if self._members == MEMBERS:
            raise MalformedBody(f"the gzip body has more than {MEMBERS} members; send it as one")
        self._members += 1
        self._zlib = zlib.decompressobj(_BITS[self._encoding])

    def _too_large(self) -> BodyTooLarge:
        if self._plain > self._limit:
            return BodyTooLarge(
                f"the body has more than {self._limit} bytes once inflated; the limit is {self._limit} bytes "
                "(serve --max-body-mb): send fewer rows at once"
            )
        return BodyTooLarge(
            f"the {self._encoding} body grows to more than {RATIO} times its size; send it without compression"
        )


def inflater(encoding: str, limit: int) -> Inflater | None:
    """For a ``content-encoding``; None where there is nothing to do. Raises InvalidParameter for an unknown one."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in _BITS:
        raise InvalidParameter(f"content-encoding {name[:40]!r} is not supported; send identity, gzip or deflate")
    return Inflater(name, limit)
