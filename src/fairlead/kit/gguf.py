"""The head of a GGUF file: which architecture, and how many tokens it takes. Nothing of its weights is read.

Source: the format's description in ggml's repository (docs/gguf.md): magic, version, counts, then keys with values.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from fairlead.contracts.errors import BrokenModel, SourceNotFound

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_TEXT, _LIST = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Types of values, by their number, as ``struct`` names them."""

_KEYS_AT_MOST = 100_000
_LONGEST = 64 << 20


@dataclass(frozen=True, slots=True)
class Head:
    """``architecture``: as llama.cpp names it, such as ``llama``.  ``context``: tokens, 0 where it does not say."""

    architecture: str
    context: int = 0
    name: str = ""


def head(path: Path) -> Head:
    """Raises SourceNotFound, BrokenModel (not GGUF, a version that is not known, cut short)."""
    try:
        with path.open("rb") as handle:
            if handle.read(4) != MAGIC:
                raise BrokenModel(f"{path} is no GGUF file: it does not begin with GGUF")
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _head(_Reader(data, path))
    except OSError as error:
        raise SourceNotFound(f"{path} cannot be read: {error.strerror or error}") from error


class _Reader:
    """Numbers and texts one after the other."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data, self._path, self._at = data, path, 4

    def broken(self, why: str) -> BrokenModel:
        return BrokenModel(f"{self._path} is a GGUF file that {why}; fetch it again")

    def number(self, code: str) -> int | float:
        size = struct.calcsize(f"<{code}")
        self._need(size)
        (found,) = struct.unpack_from(f"<{code}", self._data, self._at)
        self._at += size
        return cast("int | float", found)

    def count(self) -> int:
        return int(self.number("Q"))

    def text(self) -> str:
        size = self.count()
        if size > _LONGEST:
            raise self.broken(f"has a text of {size} bytes")
        self._need(size)
        found = self._data[self._at : self._at + size]
        self._at += size
        return found.decode("utf-8", "replace")

    def value(self, kind: int) -> str | int | float | None:
        """A text or a number; None for a list, which is passed over."""
        if kind == _TEXT:
            return self.text()
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind != _LIST:
            raise self.broken(f"has a value of the unknown type {kind}")
        self._pass_over(int(self.number("I")), self.count())
        return None

    def _pass_over(self, kind: int, count: int) -> None:
        if kind in _NUMBERS:
            size = count * struct.calcsize(f"<{_NUMBERS[kind]}")
            self._need(size)
            self._at += size
            return
        if kind != _TEXT:
            raise self.broken(f"has a list of the unknown type {kind}")
        self._need(8 * count)
        for _ in range(count):
            size = self.count()
            self._need(size)
            self._at += size

    def _need(self, size: int) -> None:
        if size > len(self._data) - self._at:
            raise self.broken("is cut short in its head")


def _head(reader: _Reader) -> Head:
    version = int(reader.number("I"))
    if version not in _VERSIONS:
        raise reader.broken(f"has the version {version}, and known are {_VERSIONS}")
    reader.count()  # tensors
    keys = reader.count()
    if keys > _KEYS_AT_MOST:
        raise reader.broken(f"would have {keys} keys")
    found: dict[str, str | int | float] = {}
    for _ in range(keys):
        key, kind = reader.text(), int(reader.number("I"))
        value = reader.value(kind)
        if value is not None:
            found[key] = value
        context = found.get(f"{found.get('general.architecture')}.context_length")
        if isinstance(context, int):
            return Head(str(found["general.architecture"]), context, str(found.get("general.name", "")))
    if "general.architecture" not in found:
        raise reader.broken("names no general.architecture")
    return Head(str(found["general.architecture"]), 0, str(found.get("general.name", "")))
