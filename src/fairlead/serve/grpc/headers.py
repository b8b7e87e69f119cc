"""HPACK (RFC 7541) as a gRPC server needs it: blocks read with a memory, answers written without a table.

A client repeats its headers call by call, so that from the second call on a block is the same bytes and, because
it only refers to what the table holds, changes no table. Such blocks are decoded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from hpack import Decoder, HPACKError

Headers = Mapping[bytes, bytes]

LARGEST: Final = 16 * 1024
"""Bytes of a decoded header list, as RFC 9113 counts them."""
_KEPT: Final = 64


class BadHeaders(Exception):
    """The block cannot be read, and no later one of this connection can be."""


class HeaderReader:
    """Decodes the header blocks of one connection, in order."""

    def __init__(self) -> None:
        self._decoder = Decoder(LARGEST)
        self._known: dict[bytes, Headers] = {}

    def read(self, block: bytes) -> Headers:
        """Names (lower-case, pseudo headers with their colon) and values; repeated ones joined by a comma. The same
        object for the same block: do not change it. Raises BadHeaders."""
        found = self._known.get(block)
        if found is not None:
            return found
        table = self._decoder.header_table.dynamic_entries
        before = (len(table), table[0] if table else None)
        try:
            pairs = self._decoder.decode(block, raw=True)
        except (HPACKError, IndexError, ValueError) as error:
            raise BadHeaders(str(error)) from None
        headers: dict[bytes, bytes] = {}
        for pair in pairs:
            name, value = bytes(pair[0]), bytes(pair[1])
            if name != name.lower():
                name = b""  # no client may send it, and no route has it
            headers[name] = headers[name] + b"," + value if name in headers else value
        after = (len(table), table[0] if table else None)
        if after[0] != before[0] or after[1] is not before[1] or b" " <= block[:1] < b"@":  # a change of its size
            self._known.clear()
        elif len(self._known) < _KEPT:
            self._known[block] = headers
        return headers


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that enters no table."""
    return b"\x00%b%b%b%b" % (_length(len(name)), name, _length(len(value)), value)


def named(name: bytes) -> bytes:
    """What a literal field begins with; ``short`` of its value follows."""
    return b"\x00%b%b" % (_length(len(name)), name)


def short(value: bytes) -> bytes:
    """A value of a literal field, written fast where it has fewer than 127 bytes."""
    return b"%c%b" % (len(value), value) if len(value) < 127 else _length(len(value)) + value


def written(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([literal(name, value) for name, value in fields])


def _length(number: int) -> bytes:
    if number < 127:
        return bytes((number,))
    out = bytearray(b"\x7f")
    number -= 127
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    out.append(number)
    return bytes(out)


OK_HEAD: Final = (
    b"\x88" + literal(b"content-type", b"application/grpc") + literal(b"grpc-accept-encoding", b"identity,deflate,gzip")
)
"""What an answer begins with: ``:status`` 200 is the static table's entry 8."""
