"""Weights in fewer bits, against plain numpy on the whole matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fairlead.adapters.engines.openvino.convert import quantizing
from fairlead.contracts.errors import BrokenModel, UsageError

Array = np.ndarray[Any, Any]


def rows(x: Array) -> quantizing.Rows:
    return lambda first, last: x[first:last].copy()


def unpacked(packed: Array) -> Array:
    """Two integers of four bits with a sign out of each byte, the low one first."""
    both = np.stack([packed & 15, packed >> 4], -1).reshape(len(packed), -1).astype(np.int16)
    return np.where(both > 7, both - 16, both)


def restored(x: Array, precision: str) -> Array:
    count, width = x.shape
    if precision == "int8":
        integers, scales = quantizing.int8(rows(x), count, width, "w")
        return integers * scales.astype(np.float32)
    packed, scales = quantizing.int4(rows(x), count, width, "w")
    assert packed.shape == (count, width // 2)
    groups = unpacked(packed).reshape(count, width // 64, 64)
    return np.asarray((groups * scales.astype(np.float32)).reshape(count, width))


def noise(count: int, width: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def test_int8_is_off_by_half_a_step_at_most() -> None:
    x = noise(300, 96)
    step = np.abs(x).max(1, keepdims=True) / 127
    assert (np.abs(restored(x, "int8") - x) <= step * 0.57).all()  # half a step, and what float16 adds at the edges


def test_int4_keeps_the_largest_of_each_group() -> None:
    x = noise(40, 192)
    found = restored(x, "int4")
    groups, kept = x.reshape(40, 3, 64), found.reshape(40, 3, 64)
    largest = np.abs(groups).argmax(2)[..., None]
    np.testing.assert_allclose(np.take_along_axis(kept, largest, 2), np.take_along_axis(groups, largest, 2), rtol=1e-3)
    step = np.abs(groups).max(2, keepdims=True) / 8
    assert (np.abs(kept - groups) <= step * 1.01).all()


def test_int4_is_nearer_than_with_a_symmetric_scale() -> None:
    x = noise(64, 256)
    groups = x.reshape(64, 4, 64)
    scale = np.abs(groups).max(2, keepdims=True) / 7
    plain = (np.clip(np.rint(groups / scale), -8, 7) * scale).reshape(x.shape)
    assert ((restored(x, "int4") - x) ** 2).mean() < 0.9 * ((plain - x) ** 2).mean()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_rows_of_zeros_and_tiny_numbers(precision: str) -> None:
    x = np.zeros((3, 64), np.float32)
    x[1] = 1e-8
    x[2] = 1e-4
    found = restored(x, precision)
    assert (found[0] == 0).all()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[2], x[2], rtol=0.05)  # scales near the end of float16


@pytest.mark.parametrize("width", [64, 1 << 19])
def test_blocks_do_not_show(width: int) -> None:
    x = noise(3, width)
    one = [quantizing.int8(rows(x[i : i + 1]), 1, width, "w")[0][0] for i in range(3)]
    np.testing.assert_array_equal(quantizing.int8(rows(x), 3, width, "w")[0], one)


@given(arrays(np.float32, (2, 64), elements=st.floats(-65504, 65504, width=32)))
def test_any_numbers_give_finite_ones(x: Array) -> None:
    for precision in ("int8", "int4"):
        assert np.isfinite(restored(x, precision)).all()


def test_bfloat16_is_rounded_to_the_nearest_and_ties_to_even() -> None:
    x = np.array([[1.0, 1.00390625, 1.01171875, -1.005, 3.0e38, 1e-40]], np.float32)
    bits = quantizing.bf16(rows(x), 1, 6, "w")
    found = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(found[0, :4], np.array([1.0, 1.0, 1.015625, -1.0078125], np.float32))
    np.testing.assert_allclose(found[0, 4:], x[0, 4:], rtol=0.01, atol=1e-40)


def test_every_number_of_bfloat16_in_float16() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    numbers = (bits.astype(np.uint32) << 16).view(np.float32)
    fits = np.abs(numbers) < 65_520
    bits, numbers = bits[fits].reshape(1, -1), numbers[fits].reshape(1, -1)
    found = quantizing.f16_of_bf16(bits, "w")
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, numbers.astype(np.float16))


def test_numbers_of_bfloat16_that_float16_lacks() -> None:
    for number, kind in ((1e6, UsageError), (np.inf, BrokenModel), (np.nan, BrokenModel)):
        bits = (np.array([[1.0, number]], np.float32).view(np.uint32) >> 16).astype(np.uint16)
        with pytest.raises(kind, match="tensor 'w' has numbers"):
            quantizing.f16_of_bf16(bits, "w")


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_halves_that_are_not_finite(kind: str) -> None:
    bits = np.arange(64, dtype=np.uint16).reshape(2, 32)
    quantizing.finite(bits, kind, "w")
    bits[1, 3] = 0x7F80
    with pytest.raises(BrokenModel, match="tensor 'w' has numbers that are not finite"):
        quantizing.finite(bits, kind, "w")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_name_the_tensor(bad: float) -> None:
    x = noise(4, 64)
    x[2, 5] = bad
    for make in (quantizing.int8, quantizing.int4, quantizing.f16, quantizing.bf16):
        with pytest.raises(BrokenModel, match="tensor 'w' has numbers that are not finite"):
            make(rows(x), 4, 64, "w")


def test_numbers_that_float16_lacks_ask_for_bfloat16() -> None:
    x = noise(4, 64)
    x[2, 5] = 1e6
    with pytest.raises(UsageError, match="over 65,504, which float16 lacks; take the precision bf16"):
        quantizing.f16(rows(x), 4, 64, "w")
    quantizing.bf16(rows(x), 4, 64, "w")
