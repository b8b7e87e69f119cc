"""Is a UBJSON document whole? Walks it without building it.

XGBoost's own reader ends the process on some files that are cut short (3.2.0: a length read beyond the end), so nothing
reaches it that does not end where it says.
"""

from __future__ import annotations

_SIZES = {"i": 1, "U": 1, "I": 2, "l": 4, "L": 8, "d": 4, "D": 8, "C": 1, "T": 0, "F": 0, "Z": 0, "N": 0}
"""Bytes after the marker."""
_INTEGERS = ("i", "U", "I", "l", "L")


def flaw(data: bytes) -> str:
    """Why ``data`` is no whole UBJSON document, for the end of a sentence; empty when it is one."""
    try:
        end = _walk(data)
    except (IndexError, ValueError) as error:
        return str(error) or "it ends in the middle"
    return "" if end == len(data) else f"{len(data) - end} bytes follow its end"


def _walk(data: bytes) -> int:
    """Where the document ends. Raises ValueError."""
    open_: list[
        tuple[str, int]
    ] = []  # each ``{`` or ``[``, and how many values are still to come (-1: until it closes)
    at = 0
    while True:
        marker = _marker(data, at)
        if marker in "{[":
            kind, count, at = _header(data, at + 1)
            if kind and marker == "[" and kind in _SIZES:
                at += _SIZES[kind] * count  # a typed array: its values stand side by side
            elif kind:
                raise ValueError(f"a container of type {kind!r} stands at byte {at}")
            else:
                open_.append((marker, count))
        else:
            at = _value(data, at)
        if at > len(data):
            raise ValueError("it ends in the middle")
        at = _next(data, at, open_)
        if not open_:
            return at


def _next(data: bytes, at: int, open_: list[tuple[str, int]]) -> int:
    """Close what is complete, and step over the key of the next value."""
    while open_:
        kind, left = open_[-1]
        closes = "}" if kind == "{" else "]"
        if left == 0 or (left < 0 and _marker(data, at) == closes):
            at += left < 0
            open_.pop()
            continue
        if left > 0:
            open_[-1] = (kind, left - 1)
        return _string(data, at) if kind == "{" else at
    return at


def _header(data: bytes, at: int) -> tuple[str, int, int]:
    """Type, count and where the values begin: ``$`` type ``#`` count, each of which may be absent (count: -1)."""
    kind, count = "", -1
    if _marker(data, at) == "$":
        kind, at = _marker(data, at + 1), at + 2
    if _marker(data, at) == "#":
        count, at = _integer(data, at + 1)
    elif kind:
        raise ValueError(f"a type without a count stands at byte {at}")
    return kind, count, at


def _value(data: bytes, at: int) -> int:
    marker = _marker(data, at)
    if marker == "S":
        return _string(data, at + 1)
    if marker not in _SIZES:
        raise ValueError(f"byte {at} is no UBJSON marker")
    return at + 1 + _SIZES[marker]


def _string(data: bytes, at: int) -> int:
    length, at = _integer(data, at)
    return at + length


def _integer(data: bytes, at: int) -> tuple[int, int]:
    marker = _marker(data, at)
    if marker not in _INTEGERS:
        raise ValueError(f"byte {at} is no integer marker")
    end = at + 1 + _SIZES[marker]
    number = int.from_bytes(data[at + 1 : end], "big", signed=marker != "U")
    if end > len(data) or number < 0:
        raise ValueError("it ends in the middle" if end > len(data) else f"a length below 0 stands at byte {at}")
    return number, end


def _marker(data: bytes, at: int) -> str:
    if at >= len(data):
        raise ValueError("it ends in the middle")
    return chr(data[at])
