"""The header of a safetensors file: which tensors it holds, and where. Pure: bytes in, entries out.

Source: the format's own description (github.com/huggingface/safetensors): eight bytes with the length of the header,
little-endian; the header, a JSON object; then the numbers, without holes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from fairlead.contracts.errors import BrokenModel

LARGEST = 100_000_000
"""Bytes of a header at most, as the format says."""

SIZES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E5M2": 1,
    "F8_E4M3": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}
"""Bytes of a number."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor in a file. ``start``, ``stop``: bytes from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def length(head: bytes, size: int, file: str) -> int:
    """Bytes of the header, by the first eight bytes of a file of ``size`` bytes. Raises BrokenModel."""
    if len(head) < 8:
        raise BrokenModel(f"{file} has {size} bytes, and a safetensors file has at least 10; fetch it again")
    told = int.from_bytes(head[:8], "little")
    if told > LARGEST:
        raise BrokenModel(
            f"{file} is no safetensors file: its header would have {told} bytes, at most {LARGEST} may be"
        )
    if told > size - 8:
        raise BrokenModel(f"{file} is cut short inside its header ({told} bytes of {size}); fetch it again")
    return told


def parse(header: bytes, size: int, file: str) -> dict[str, Entry]:
    """Every tensor of a file of ``size`` bytes, by name. Raises BrokenModel, which names the tensor."""
    try:
        found = json.loads(header, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BrokenModel(f"{file} has a header that is no JSON: {str(error)[:200]}; fetch it again") from error
    if not isinstance(found, dict):
        raise BrokenModel(f"{file} has a header that is no JSON object; fetch it again")
    found.pop("__metadata__", None)
    base = 8 + len(header)
    entries = {name: _entry(name, told, base, size, file) for name, told in found.items()}
    _without_overlap(entries, base, size, file)
    return entries


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    known = dict(pairs)
    if len(known) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:100]!r} stands twice in it")
    return known


def _entry(name: str, told: Any, base: int, size: int, file: str) -> Entry:
    where = f"{file}: tensor {name[:200]!r}"
    if not isinstance(told, Mapping):
        raise BrokenModel(f"{where} is not described by an object")
    dtype, shape, offsets = told.get("dtype"), told.get("shape"), told.get("data_offsets")
    if not isinstance(dtype, str):
        raise BrokenModel(f"{where} has no dtype")
    if not _counts(shape):
        raise BrokenModel(f"{where} has no shape of whole numbers")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BrokenModel(f"{where} has no data_offsets [begin, end]")
    start, stop = base + offsets[0], base + offsets[1]
    if stop > size:
        raise BrokenModel(f"{where} ends at byte {stop} of a file that has {size}: it is cut short; fetch it again")
    if dtype in SIZES and stop - start != math.prod(shape) * SIZES[dtype]:
        raise BrokenModel(f"{where} has {stop - start} bytes, and its shape {shape} of {dtype} needs another number")
    return Entry(dtype, tuple(shape), start, stop)


def _counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 1 << 62 for one in value)


def _without_overlap(entries: Mapping[str, Entry], base: int, size: int, file: str) -> None:
    at = base
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != at:
            found = "overlaps another" if entry.start < at else "begins after bytes that no tensor has"
            raise BrokenModel(f"{file}: tensor {name[:200]!r} {found}: the file was not written as the format says")
        at = entry.stop
    if at != size:
        raise BrokenModel(f"{file} has {size - at} bytes more than its tensors: it was not written as the format says")
