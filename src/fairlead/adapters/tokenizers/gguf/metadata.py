"""The metadata of a GGUF file, read with bounds: a file that lies about its sizes is an error.

Source: ``docs/gguf.md`` of ggml-org/ggml. Versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import BrokenModel, SourceNotFound

_NUMBERS: Final = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "<u1", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
"""Forms of numbers, by GGUF's number of the type; 7 is a truth value."""
_TRUTH, _STRING, _ARRAY = 7, 8, 9
_KEYS: Final = 1 << 16
_ITEMS: Final = 1 << 22
"""Entries of the metadata, and of one list, at most."""
_TEXT: Final = 1 << 24
"""Bytes of one text, at most."""


def metadata(path: Path, prefixes: tuple[str, ...] = ()) -> dict[str, Any]:
    """Names and values; lists of numbers are arrays. ``prefixes``: only names that begin so; empty: all.

    Raises SourceNotFound, BrokenModel.
    """
    if not path.is_file():
        raise SourceNotFound(f"{path} is no file; name a .gguf file")
    with path.open("rb") as file:
        try:
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise BrokenModel(f"{path} is empty") from None
        with view:
            try:
                return _Reader(view).all(prefixes)
            except (ValueError, struct.error, UnicodeDecodeError) as error:
                raise BrokenModel(f"{path} is no sound GGUF file: {error}") from None


class _Reader:
    """Reads forward through a file."""

    def __init__(self, view: mmap.mmap) -> None:
        self._view = view
        self._place = 0

    def all(self, prefixes: tuple[str, ...]) -> dict[str, Any]:
        if self._take(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        (version,) = struct.unpack("<I", self._take(4))
        if version not in (2, 3):
            raise ValueError(f"version {version}; 2 and 3 are read, little-endian")
        _tensors, keys = struct.unpack("<QQ", self._take(16))
        if keys > _KEYS:
            raise ValueError(f"{keys} entries; at most {_KEYS} are read")
        found = {}
        for _ in range(keys):
            name = self._text().decode()
            (kind,) = struct.unpack("<I", self._take(4))
            wanted = not prefixes or name.startswith(prefixes)
            value = self._value(kind, wanted)
            if wanted:
                found[name] = value
        return found

    def _take(self, count: int) -> bytes:
        end = self._place + count
        if end > len(self._view):
            raise ValueError(f"it ends at byte {len(self._view)}, within its metadata")
        data = self._view[self._place : end]
        self._place = end
        return data

    def _text(self) -> bytes:
        (length,) = struct.unpack("<Q", self._take(8))
        if length > _TEXT:
            raise ValueError(f"a text of {length} bytes; at most {_TEXT} are read")
        return self._take(length)

    def _value(self, kind: int, wanted: bool) -> Any:
        if kind == _STRING:
            data = self._text()
            return data.decode() if wanted else None
        if kind == _ARRAY:
            return self._list(wanted)
        return self._numbers(kind, 1)[0].item() if kind != _TRUTH else bool(self._numbers(kind, 1)[0])

    def _numbers(self, kind: int, count: int) -> np.ndarray[Any, Any]:
        form = _NUMBERS.get(kind)
        if form is None:
            raise ValueError(f"a value of type {kind}")
        return np.frombuffer(self._take(np.dtype(form).itemsize * count), form)

    def _list(self, wanted: bool) -> Any:
        kind, count = struct.unpack("<IQ", self._take(12))
        if count > _ITEMS:
            raise ValueError(f"a list of {count}; at most {_ITEMS} are read")
        if kind == _STRING:
            texts = [self._text() for _ in range(count)]
            return [one.decode("utf-8", "replace") for one in texts] if wanted else None
        if kind == _ARRAY:
            raise ValueError("a list of lists")
        return self._numbers(kind, count)
