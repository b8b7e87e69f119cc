"""Just enough protobuf and ONNX to know an ONNX file, its opsets and whether it was cut short. No library of either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Buffer = Any
"""bytes or mmap: what can be indexed and sliced without reading all of it."""

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_MODEL_FIELDS = {1: _VARINT, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _VARINT, 6: _BYTES, 7: _BYTES, 8: _BYTES}
_MODEL_FIELDS |= dict.fromkeys((14, 20, 25, 26), _BYTES)
_NEWEST_IR = 64  # a byte that cannot be an IR version is no ONNX file; today's is below 20


class Cut(ValueError):
    """The bytes end inside a field."""


@dataclass(slots=True)
class OnnxHeader:
    """``opsets``: domain to version (the default domain is ``ai.onnx``).  ``flaw``: why it is broken, or empty."""

    ir_version: int = 0
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    flaw: str = ""


def onnx_header(data: Buffer) -> OnnxHeader | None:
    """What the top-level fields of an ONNX ``ModelProto`` say; None when the bytes are something else."""
    header = OnnxHeader()
    seen: set[int] = set()
    try:
        for number, wire, start, end in fields(data, 0, len(data)):
            if _MODEL_FIELDS.get(number) != wire:
                return None
            seen.add(number)
            _take(header, data, number, start, end)
            if number == 1 and not 0 < header.ir_version <= _NEWEST_IR:
                return None
    except Cut:
        header.flaw = "it ends in the middle"
    except ValueError:
        return None
    if 1 not in seen or (len(seen) == 1 and not header.flaw):
        return None
    missing = [name for number, name in ((7, "graph"), (8, "opset_import")) if number not in seen]
    if missing and not header.flaw:
        header.flaw = f"it has no {' and no '.join(missing)}"
    return header


def external_files(data: Buffer) -> set[str]:
    """Where the tensors of an ONNX ``ModelProto`` say that their values lie, relative to the file.

    Raises ValueError for bytes that do not parse.
    """
    found: set[str] = set()
    stack = [("model", 0, len(data))]
    while stack:
        kind, start, end = stack.pop()
        for number, wire, begin, stop in fields(data, start, end):
            if wire != _BYTES:
                continue
            if kind == "tensor" and number == 13:
                entry = {inner: bytes(data[a:b]).decode() for inner, _, a, b in fields(data, begin, stop)}
                if entry.get(1) == "location":
                    found.add(entry.get(2, ""))
            elif inside := _HOLDS.get((kind, number)):
                stack.append((inside, begin, stop))
    return found


_HOLDS = {
    ("model", 7): "graph",
    ("model", 25): "function",
    ("function", 7): "node",
    ("graph", 1): "node",
    ("graph", 5): "tensor",
    ("graph", 15): "sparse tensor",
    ("sparse tensor", 1): "tensor",
    ("sparse tensor", 2): "tensor",
    ("node", 5): "attribute",
    **{("attribute", number): "tensor" for number in (5, 10)},
    **{("attribute", number): "graph" for number in (6, 11)},
    **{("attribute", number): "sparse tensor" for number in (22, 23)},
}
"""Which messages hold which, where a tensor may lie."""


def _take(header: OnnxHeader, data: Buffer, number: int, start: int, end: int) -> None:
    if number == 1:
        header.ir_version = _varint(data, start, end)[0]
    elif number == 2:
        header.producer = bytes(data[start : min(end, start + 200)]).decode("utf-8", "replace")
    elif number == 8:
        domain, version = "ai.onnx", 0
        for inner, wire, begin, stop in fields(data, start, end):
            if (inner, wire) == (1, _BYTES):
                domain = bytes(data[begin:stop]).decode("utf-8", "replace") or "ai.onnx"
            elif (inner, wire) == (2, _VARINT):
                version = _varint(data, begin, stop)[0]
        header.opsets[domain] = version


def fields(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Field number, wire type, and where its value begins and ends. Raises Cut, ValueError."""
    while start < end:
        tag, start = _varint(data, start, end)
        wire = tag & 7
        if wire == _VARINT:
            stop = _varint(data, start, end)[1]
        elif wire == _BYTES:
            length, start = _varint(data, start, end)
            stop = start + length
        elif wire in (_EIGHT, _FOUR):
            stop = start + (8 if wire == _EIGHT else 4)
        else:
            raise ValueError(f"wire type {wire}")
        if tag >> 3 == 0:
            raise ValueError("field number 0")
        yield tag >> 3, wire, start, stop if stop <= end else _cut()
        start = stop


def _cut() -> int:
    raise Cut


def _varint(data: Buffer, start: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while start < end:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
        if shift > 63:
            raise ValueError("varint over 64 bits")
    raise Cut
