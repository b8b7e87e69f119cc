from __future__ import annotations

import json as stdlib
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fairlead.contracts.errors import InvalidTensor
from fairlead.contracts.types import DataType
from fairlead.kit.codec import json, tensors

NUMERIC = [name for name in DataType if name not in (DataType.BYTES, DataType.BF16)]
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
TEXT = st.text(max_size=12)


def bits(array: np.ndarray[Any, Any]) -> bytes:
    return array.tobytes()


@st.composite
def numeric(draw: st.DrawFn, finite: bool) -> tuple[DataType, np.ndarray[Any, Any]]:
    name = draw(st.sampled_from(NUMERIC))
    elements = {"allow_nan": not finite, "allow_infinity": not finite} if name.is_float else None
    return name, draw(arrays.arrays(name.numpy, draw(SHAPES), elements=elements))


@given(numeric(finite=False))
def test_binary_round_trip(case: tuple[DataType, np.ndarray[Any, Any]]) -> None:
    name, array = case
    raw = tensors.to_binary(array, name)
    back = tensors.from_binary(memoryview(raw), name, array.shape, "t")
    assert back.dtype == name.numpy
    assert back.shape == array.shape
    assert bits(back) == bits(array)


@given(numeric(finite=True))
def test_json_round_trip(case: tuple[DataType, np.ndarray[Any, Any]]) -> None:
    name, array = case
    flat = json.encode(tensors.to_json(array, "t"))
    nested = json.encode(array.tolist())
    back = tensors.from_json(flat, name, array.shape, "t")
    assert back.dtype == name.numpy
    assert back.shape == array.shape
    assert bits(back) == bits(array)
    if array.ndim:
        assert bits(tensors.from_json(nested, name, array.shape, "t")) == bits(array)
        assert bits(tensors.from_values(stdlib.loads(flat), name, "t").reshape(array.shape)) == bits(array)


@given(st.lists(TEXT, max_size=6))
def test_strings_round_trip(words: list[str]) -> None:
    array = np.empty(len(words), object)
    array[:] = words
    raw = tensors.to_binary(array, DataType.BYTES)
    assert tensors.from_binary(memoryview(raw), DataType.BYTES, (len(words),), "t").tolist() == words
    text = json.encode(tensors.to_json(array, "t"))
    assert tensors.from_json(text, DataType.BYTES, (len(words),), "t").tolist() == words


@given(st.binary(max_size=12))
def test_bytes_that_are_no_text_stay_bytes(item: bytes) -> None:
    raw = struct.pack("<I", len(item)) + item
    (value,) = tensors.from_binary(memoryview(raw), DataType.BYTES, (1,), "t")
    assert (value if isinstance(value, bytes) else value.encode()) == item
    assert tensors.to_binary(np.array([value], object), DataType.BYTES) == raw


@given(st.integers(0, 0xFFFF))
def test_bf16_survives_every_pattern(pattern: int) -> None:
    array = tensors.from_binary(memoryview(struct.pack("<H", pattern)), DataType.BF16, (1,), "t")
    assert array.dtype == np.float32
    back = struct.unpack("<H", tensors.to_binary(array, DataType.BF16))[0]
    assert back == pattern or math.isnan(array[0])
    assert math.isnan(array[0]) == ((pattern & 0x7F80) == 0x7F80 and (pattern & 0x7F) != 0)


@pytest.mark.parametrize(
    ("value", "pattern"), [(1.0, 0x3F80), (1.00390625, 0x3F80), (1.01171875, 0x3F82), (-2.5, 0xC020)]
)
def test_bf16_rounds_to_even(value: float, pattern: int) -> None:
    raw = tensors.to_binary(np.array([value], np.float32), DataType.BF16)
    assert struct.unpack("<H", raw)[0] == pattern


def test_binary_is_little_endian_and_row_major() -> None:
    array = np.array([[1, 2], [3, 4]], ">u2").T
    assert tensors.to_binary(array, DataType.UINT16) == b"\1\0\3\0\2\0\4\0"


def test_binary_is_a_view_where_it_can_be() -> None:
    body = memoryview(np.arange(4, dtype=np.float32).tobytes())
    array = tensors.from_binary(body, DataType.FP32, (2, 2), "t")
    assert not array.flags.owndata
    assert not array.flags.writeable
    shifted = memoryview(b"\0" + bytes(body))[1:]
    unaligned = tensors.from_binary(shifted, DataType.FP32, (2, 2), "t")
    assert unaligned.flags.aligned
    assert np.array_equal(unaligned, array)


@pytest.mark.parametrize("name", list(DataType))
def test_null_is_what_the_caller_says(name: DataType) -> None:
    with pytest.raises(InvalidTensor, match="value 0 is null"):
        tensors.from_json(b"[null]", name, (1,), "t")
    stand_in = {DataType.BYTES: "x", DataType.BOOL: True}.get(name, 7)
    assert tensors.from_json(b"[null]", name, (1,), "t", stand_in).tolist() == [stand_in]


def test_whole_floats_are_integers_in_json() -> None:
    assert tensors.from_json(b"[1.0, 2e3]", DataType.INT16, (2,), "t").tolist() == [1, 2000]


@pytest.mark.parametrize("name", [DataType.INT8, DataType.UINT64, DataType.INT64])
def test_integers_have_limits(name: DataType) -> None:
    info = np.iinfo(name.numpy)
    text = f"[{info.min}, {info.max}]".encode()
    assert tensors.from_json(text, name, (2,), "t").tolist() == [info.min, info.max]
    with pytest.raises(InvalidTensor, match=f"value 1 .{info.max + 1}. is out of range for {name.value}"):
        tensors.from_json(f"[0, {info.max + 1}]".encode(), name, (2,), "t")


@pytest.mark.parametrize(
    ("name", "text"),
    [(DataType.FP16, "65520"), (DataType.FP32, "3.5e38"), (DataType.BF16, "3.4e38"), (DataType.FP64, "1" + "0" * 400)],
)
def test_floats_never_become_infinite(name: DataType, text: str) -> None:
    with pytest.raises(InvalidTensor, match="out of range"):
        tensors.from_json(f"[{text}]".encode(), name, (1,), "t")


@pytest.mark.parametrize("name", [DataType.FP16, DataType.FP32])
def test_a_number_that_rounds_to_the_largest_float_is_one(name: DataType) -> None:
    largest = np.finfo(name.numpy).max
    over = tensors.LIMIT[name]
    text = f"[{largest!s}, {over!r}, -{over!r}]".encode()
    assert tensors.from_json(text, name, (3,), "t").tolist() == [largest, largest, -largest]
    with pytest.raises(InvalidTensor, match="out of range"):
        tensors.from_json(f"[{math.nextafter(over, math.inf)!r}]".encode(), name, (1,), "t")


@pytest.mark.parametrize("text", ["1e400", "1" + "0" * 5000])
def test_a_number_over_every_range_is_told_with_its_tensor_and_in_short(text: str) -> None:
    with pytest.raises(InvalidTensor, match="tensor 't'") as told:
        tensors.from_json(f"[{text}]".encode(), DataType.FP64, (1,), "t")
    assert len(str(told.value)) < 200


def test_a_scalar_tensor() -> None:
    assert tensors.from_json(b"[5]", DataType.INT32, (), "t").shape == ()


def test_deep_shapes_are_refused() -> None:
    with pytest.raises(InvalidTensor, match="at most 32 dimensions"):
        tensors.from_json(b"[1]", DataType.INT32, (1,) * 64, "t")


def test_bytes_output_that_is_no_text_needs_binary() -> None:
    with pytest.raises(InvalidTensor, match="binary_data"):
        tensors.to_json(np.array([b"\xff"], object), "t")


def test_missing_strings_are_null() -> None:
    array = np.array(["a", None, math.nan, b"b"], object)
    assert json.encode(tensors.to_json(array, "t")) == b'["a",null,null,"b"]'
