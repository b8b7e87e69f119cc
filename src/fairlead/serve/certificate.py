"""When a certificate holds, read out of its bytes: the standard library tells it only of one that was verified."""

from __future__ import annotations

import binascii
import calendar
import re
import ssl
import time
from pathlib import Path
from typing import Final, NamedTuple

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _UTC_TIME, _TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
_BEFORE_VALIDITY: Final = 3
"""Serial number, algorithm and issuer."""


class Validity(NamedTuple):
    """Seconds since 1970."""

    since: float
    until: float


def validity(path: str) -> Validity:
    """Of the first certificate in a PEM file. Raises ValueError for what is none, and OSError."""
    found = _PEM.search(Path(path).read_text("latin-1"))
    if found is None:
        raise ValueError("no certificate in PEM")
    try:
        return _validity(ssl.PEM_cert_to_DER_cert(found[0]))
    except (IndexError, binascii.Error):
        raise ValueError("a certificate that ends too early") from None


def _validity(data: bytes) -> Validity:
    """RFC 5280, 4.1: the certificate, in it what is signed, in that the fields in their order."""
    at, _ = _enter(data, 0, _SEQUENCE)
    at, _ = _enter(data, at, _SEQUENCE)
    if data[at] == _VERSION:
        at = _after(data, at)
    for _ in range(_BEFORE_VALIDITY):
        at = _after(data, at)
    at, _ = _enter(data, at, _SEQUENCE)
    return Validity(_seconds(data, at), _seconds(data, _after(data, at)))


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, where the value begins, and where it ends."""
    tag, length, begin = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, begin = int.from_bytes(data[begin : begin + size], "big"), begin + size
    if begin + length > len(data):
        raise ValueError("a certificate that ends too early")
    return tag, begin, begin + length


def _enter(data: bytes, at: int, expected: int) -> tuple[int, int]:
    tag, begin, end = _head(data, at)
    if tag != expected:
        raise ValueError("no certificate of X.509")
    return begin, end


def _after(data: bytes, at: int) -> int:
    return _head(data, at)[2]


def _seconds(data: bytes, at: int) -> float:
    tag, begin, end = _head(data, at)
    text = data[begin:end].decode("latin-1")
    if tag == _UTC_TIME:  # two digits of the year: 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _TIME:
        raise ValueError("no certificate of X.509")
    return float(calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ")))
