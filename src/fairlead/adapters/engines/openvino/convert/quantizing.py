"""Weights in fewer bits. Pure numpy, block by block, so that what is under way stays small.

``int8``: a scale for each row, symmetric: ``row = scale * integers`` with integers from -127 to 127 (the scheme of
LLM.int8 without outliers, arXiv 2208.07339). ``int4``: a scale for each 64 numbers of a row, integers from -8 to 7; the
number of the largest magnitude becomes -8, so the scale has a sign (as in llama.cpp's Q4_0). Scales are float16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fairlead.contracts.errors import BrokenModel, UsageError

Array = np.ndarray[Any, Any]
Rows = Callable[[int, int], Array]
"""Rows from the first to before the last, in float32; each call gives an array of its own."""

GROUP = 64
"""Numbers that share a scale in int4."""

_BLOCK = 1 << 18
"""Numbers in hand at a time: 1 MiB in float32, which stays in a core's cache."""

_TINY = np.float16(2.0**-24)
_BF16, _F16 = 0x7F80, 0x7C00
"""The bits of the exponent."""


def int8(rows: Rows, count: int, width: int, name: str) -> tuple[Array, Array]:
    """Integers (count, width) and scales (count, 1). Raises BrokenModel for numbers that are not finite."""
    integers, scales = np.empty((count, width), np.int8), np.empty((count, 1), np.float16)
    for first, last in _blocks(count, width):
        block = rows(first, last)
        largest = np.maximum(block.max(1, keepdims=True), -block.min(1, keepdims=True))
        scale = _half(largest / 127, name)
        scale[scale == 0] = _TINY
        np.divide(block, scale, out=block, dtype=np.float32)
        np.rint(block, out=block)
        np.clip(block, -127, 127, out=block)  # the scale was rounded
        integers[first:last] = block
        scales[first:last] = scale
    return integers, scales


def int4(rows: Rows, count: int, width: int, name: str) -> tuple[Array, Array]:
    """Bytes (count, width / 2) with two integers each, the first in the low half, and scales (count, width / 64, 1).

    Raises BrokenModel for numbers that are not finite. ``width`` is a multiple of 64.
    """
    packed = np.empty((count, width // 2), np.uint8)
    scales = np.empty((count, width // GROUP, 1), np.float16)
    for first, last in _blocks(count, width):
        groups = rows(first, last).reshape(last - first, width // GROUP, GROUP)
        high, low = groups.max(2, keepdims=True), groups.min(2, keepdims=True)
        scale = _half(np.where(high > -low, high, low) / -8, name)
        scale[scale == 0] = _TINY
        np.divide(groups, scale, out=groups, dtype=np.float32)
        np.rint(groups, out=groups)
        np.clip(groups, -8, 7, out=groups)
        integers = groups.astype(np.int8).view(np.uint8).reshape(last - first, width)
        packed[first:last] = (integers[:, 0::2] & 15) | (integers[:, 1::2] << 4)
        scales[first:last] = scale
    return packed, scales


def f16(rows: Rows, count: int, width: int, name: str) -> Array:
    """(count, width). Raises BrokenModel for numbers that are not finite, UsageError for those that float16 lacks."""
    halves = np.empty((count, width), np.float16)
    for first, last in _blocks(count, width):
        halves[first:last] = _half(rows(first, last), name)
    return halves


def bf16(rows: Rows, count: int, width: int, name: str) -> Array:
    """The bits, in uint16: (count, width); to the nearest, ties to even. Raises BrokenModel for what is not finite."""
    halves = np.empty((count, width), np.uint16)
    for first, last in _blocks(count, width):
        bits = np.ascontiguousarray(rows(first, last)).view(np.uint32)
        rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
        if _infinite_bits(rounded, _BF16):
            raise _infinite(name)
        halves[first:last] = rounded
    return halves


def f16_of_bf16(bits: Array, name: str) -> Array:
    """The same for bfloat16, by its bits in uint16: each of its 65,536 numbers is looked up, five times as fast."""
    halves = np.empty(bits.shape, np.uint16)
    for first, last in _blocks(*bits.shape):
        np.take(_HALVES, bits[first:last], out=halves[first:last])
        if _infinite_bits(halves[first:last], _F16):
            _half((bits[first:last].astype(np.uint32) << 16).view(np.float32), name)
    return halves.view(np.float16)


def finite(bits: Array, kind: str, name: str) -> None:
    """Raises BrokenModel where ``bits``, in uint16, of BF16 or F16 have a number that is not finite."""
    for first, last in _blocks(*bits.shape):
        if _infinite_bits(bits[first:last], {"BF16": _BF16, "F16": _F16}[kind]):
            raise _infinite(name)


def _infinite_bits(bits: Array, exponent: int) -> bool:
    """Infinity and NaN have all bits of the exponent set."""
    return bool(((bits & exponent) == exponent).any())


def _blocks(count: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK // max(width, 1))
    for first in range(0, count, step):
        yield first, min(first + step, count)


def _half(numbers: Array, name: str) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        halves = numbers.astype(np.float16)
    if _infinite_bits(halves.view(np.uint16), _F16):
        if np.isfinite(numbers).all():
            raise UsageError(f"tensor {name!r} has numbers over 65,504, which float16 lacks; take the precision bf16")
        raise _infinite(name)
    return halves


def _infinite(name: str) -> BrokenModel:
    return BrokenModel(f"tensor {name!r} has numbers that are not finite (NaN or infinity); fetch the checkpoint again")


def _table() -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        every = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32).astype(np.float16)
    return every.view(np.uint16)


_HALVES = _table()
"""The bits of each number of bfloat16 in float16."""
