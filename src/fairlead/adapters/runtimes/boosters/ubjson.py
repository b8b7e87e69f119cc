"""Reads UBJSON, as far as XGBoost writes it: objects, arrays, typed arrays (as numpy arrays), strings, numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

_DTYPES = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_INTEGERS = ("i", "U", "I", "l", "L")
_CONSTANTS = {"T": True, "F": False, "Z": None}
_DEEPEST = 32


def decode(data: bytes) -> Any:
    """The document. Raises ValueError, for the end of a sentence, where ``data`` is not one whole document."""
    found, end = _value(data, 0, _DEEPEST)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow its end")
    return found


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    marker = _marker(data, at)
    if marker in _CONSTANTS:
        return _CONSTANTS[marker], at + 1
    if marker == "S":
        return _string(data, at + 1)
    if marker in _DTYPES:
        numbers, at = _numbers(data, at + 1, marker, 1)
        return numbers[0].item(), at
    if marker not in ("{", "["):
        raise ValueError(f"byte {at} is no UBJSON marker")
    if not depth:
        raise ValueError(f"it nests more than {_DEEPEST} deep")
    kind, count, at = _header(data, at + 1)
    if kind:
        if marker == "{" or kind not in _DTYPES:
            raise ValueError(f"a container of type {kind!r} ends before byte {at}")
        return _numbers(data, at, kind, count)
    return (_object if marker == "{" else _array)(data, at, count, depth - 1)


def _object(data: bytes, at: int, count: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while not _done(data, at, "}", count):
        key, at = _string(data, at)
        found[key], at = _value(data, at, depth)
        count -= 1
    return found, at + (count < 0)


def _array(data: bytes, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    found = []
    while not _done(data, at, "]", count):
        one, at = _value(data, at, depth)
        found.append(one)
        count -= 1
    return found, at + (count < 0)


def _done(data: bytes, at: int, closes: str, left: int) -> bool:
    """``left``: values still to come; below 0 where only the closing marker tells."""
    return left == 0 or (left < 0 and _marker(data, at) == closes)


def _header(data: bytes, at: int) -> tuple[str, int, int]:
    """Type, count and where the values begin: ``$`` type ``#`` count, each of which may be absent (count: -1)."""
    kind, count = "", -1
    if _marker(data, at) == "$":
        kind, at = _marker(data, at + 1), at + 2
    if _marker(data, at) == "#":
        count, at = _count(data, at + 1)
    elif kind:
        raise ValueError(f"a type without a count stands at byte {at}")
    return kind, count, at


def _numbers(data: bytes, at: int, kind: str, count: int) -> tuple[np.ndarray[Any, Any], int]:
    dtype = np.dtype(_DTYPES[kind])
    end = at + dtype.itemsize * count
    if end > len(data):
        raise ValueError("it ends in the middle")
    return np.frombuffer(data, dtype, count, at) if count else np.empty(0, dtype), end


def _string(data: bytes, at: int) -> tuple[str, int]:
    length, at = _count(data, at)
    if at + length > len(data):
        raise ValueError("it ends in the middle")
    return data[at : at + length].decode(), at + length


def _count(data: bytes, at: int) -> tuple[int, int]:
    marker = _marker(data, at)
    if marker not in _INTEGERS:
        raise ValueError(f"byte {at} is no integer marker")
    numbers, end = _numbers(data, at + 1, marker, 1)
    if numbers[0] < 0:
        raise ValueError(f"a length below 0 stands at byte {at}")
    return int(numbers[0]), end


def _marker(data: bytes, at: int) -> str:
    if at >= len(data):
        raise ValueError("it ends in the middle")
    return chr(data[at])
