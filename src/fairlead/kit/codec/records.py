"""Frozen records to JSON bodies and back: how the stages' plans are kept in the state store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import msgspec

from fairlead.contracts.errors import StateError
from fairlead.contracts.events import Window

T = TypeVar("T")


def to_body(record: Any) -> dict[str, Any]:
    """A dataclass as JSON builtins. Numbers that are not finite become None."""
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record))
    return body


def from_body(kind: type[T], body: dict[str, Any]) -> T:
    """The record back. Unknown keys, of a newer release, are left out. Raises StateError."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise StateError(f"a stored {kind.__name__} cannot be read: {error}; it may be of another release") from error


_COUNTS: Final = msgspec.json.Decoder(dict[str, int])
_COLUMNS: Final = msgspec.msgpack.Decoder(dict[str, bytes])
_TOTALS: Final = msgspec.msgpack.Decoder(list[Window])
_HISTOGRAMS: Final = msgspec.msgpack.Decoder(list[dict[str, bytes]])


def pack(columns: Mapping[str, bytes]) -> bytes:
    """Bytes by name as one string of bytes (MessagePack)."""
    return msgspec.msgpack.encode(dict(columns))


def read_counts(text: str) -> dict[str, int]:
    """Counts by name out of JSON. Raises StateError."""
    try:
        return _COUNTS.decode(text)
    except msgspec.DecodeError as error:
        raise StateError(f"stored counts cannot be read: {error}; they may be of another release") from error


def unpack(data: bytes) -> dict[str, bytes]:
    """What ``pack`` was given. Raises StateError."""
    try:
        return _COLUMNS.decode(data)
    except msgspec.DecodeError as error:
        raise StateError(f"stored columns cannot be read: {error}; they may be of another release") from error


def pack_windows(windows: Sequence[Window]) -> tuple[bytes, bytes]:
    """Windows without their histograms, and the histograms."""
    totals = [replace(one, columns={}) for one in windows]
    return msgspec.msgpack.encode(totals), msgspec.msgpack.encode([dict(one.columns) for one in windows])


def unpack_windows(totals: bytes, columns: bytes | None) -> tuple[Window, ...]:
    """What ``pack_windows`` was given; None: without histograms. Raises StateError."""
    try:
        windows = _TOTALS.decode(totals)
        if columns is None:
            return tuple(windows)
        histograms = _HISTOGRAMS.decode(columns)
        return tuple(replace(one, columns=each) for one, each in zip(windows, histograms, strict=True))
    except (msgspec.DecodeError, ValueError) as error:
        raise StateError(f"a stored hour cannot be read: {error}; it may be of another release") from error
