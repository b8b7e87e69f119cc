"""Answers that were given, to be given again when the model cannot: bounded in bytes and age, least used out first.

The key is everything that an answer depends on: each input exactly, the parameters, the version, and for whom it was.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, Final

import numpy as np

from fairlead.contracts.types import Parameters, Tensors

OVERHEAD: Final = 320
"""Bytes of an entry beside its arrays."""
_ELEMENT: Final = 64
"""Bytes of one text beside its letters."""


class Answers:
    """``ttl``: seconds that an answer may be old.  ``limit``: bytes of all together."""

    def __init__(self, ttl: float, limit: int) -> None:
        self._ttl, self._limit = ttl, limit
        self._kept: OrderedDict[bytes, tuple[Tensors, float, int]] = OrderedDict()
        self.size = 0
        """Bytes."""

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, key: bytes, outputs: Tensors, now: float) -> None:
        """Keep a copy: the answer itself may be a part of a whole batch."""
        self._drop(key)
        size = OVERHEAD + sum(map(_size, outputs.values()))
        if size > self._limit:
            return
        self._kept[key] = ({name: _copy(array) for name, array in outputs.items()}, now, size)
        self.size += size
        while self.size > self._limit:
            self._drop(next(iter(self._kept)))

    def get(self, key: bytes, now: float) -> Tensors | None:
        """What was answered, not to be written to; None where that is not known, or too long ago."""
        found = self._kept.get(key)
        if found is None:
            return None
        if now - found[1] > self._ttl:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return dict(found[0])

    def _drop(self, key: bytes) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self.size -= found[2]


def key_of(inputs: Tensors, parameters: Parameters, version: str, whom: str) -> bytes:
    """Two calls have one key only where everything is the same, to the bit and the type."""
    told: list[Any] = [version, whom]
    pieces = []
    for name in sorted(inputs) if len(inputs) > 1 else inputs:
        array = inputs[name]
        told += name, array.dtype.str, array.shape
        if array.dtype == object:
            told.append([(type(one).__name__, one) for one in array.reshape(-1).tolist()])
        else:  # its length follows from type and shape
            pieces.append(array.tobytes())
    if parameters:
        told.append([(name, type(value).__name__, value) for name, value in sorted(parameters.items())])
    head = repr(told).encode("utf-8", "surrogatepass")  # no two different values of these types are written alike
    return hashlib.blake2b(b"%d:%b%b" % (len(head), head, b"".join(pieces)), digest_size=32).digest()


def _copy(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    kept = array.copy()
    kept.flags.writeable = False
    return kept


def _size(array: np.ndarray[Any, Any]) -> int:
    if array.dtype != object:
        return array.nbytes
    return array.nbytes + sum(_ELEMENT + len(one) if isinstance(one, str | bytes) else _ELEMENT for one in array.flat)
