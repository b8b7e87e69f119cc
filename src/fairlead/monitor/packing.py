"""Counts as few bytes: the filled places only, or all of them, in the smallest integers that hold them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from fairlead.contracts.errors import StateError

Array = np.ndarray[Any, Any]

_HEAD = struct.Struct("<BBII")  # sparse?, bytes a count, length, filled
_DTYPES = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}


def packed(counts: Array) -> bytes:
    """Counts of shape [n] as bytes."""
    places = np.flatnonzero(counts)
    largest = int(counts.max(initial=0))
    size = next(size for size in _DTYPES if largest < 1 << 8 * size or size == 8)
    if len(places) * (size + 4) < len(counts) * size:
        head = _HEAD.pack(1, size, len(counts), len(places))
        return head + places.astype("<u4").tobytes() + counts[places].astype(_DTYPES[size]).tobytes()
    return _HEAD.pack(0, size, len(counts), len(places)) + counts.astype(_DTYPES[size]).tobytes()


def unpacked(data: bytes, length: int) -> Array:
    """The counts, int64, shape [length]. Raises StateError for other bytes."""
    try:
        sparse, size, found, filled = _HEAD.unpack_from(data)
        if found != length:
            raise StateError(f"a histogram has {found} bins where {length} are expected; it is of another release")
        if not sparse:
            return np.frombuffer(data, _DTYPES[size], length, _HEAD.size).astype(np.int64)
        counts = np.zeros(length, np.int64)
        places = np.frombuffer(data, "<u4", filled, _HEAD.size)
        counts[places] = np.frombuffer(data, _DTYPES[size], filled, _HEAD.size + 4 * filled)
    except (struct.error, KeyError, ValueError, IndexError) as error:
        raise StateError(f"a histogram of {len(data)} bytes cannot be read: {error}") from error
    return counts
