"""The header of a safetensors file: what is read of a good one, and that a bad one is a typed error."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.adapters.engines.openvino.convert.header import LARGEST, Entry, length, parse
from fairlead.contracts.errors import BrokenModel

GOOD = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
    "empty": {"dtype": "F16", "shape": [0, 7], "data_offsets": [32, 32]},
}


def read(header: Any, numbers: int) -> dict[str, Entry]:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return parse(text, 8 + len(text) + numbers, "m.safetensors")


def changed(**more: Any) -> dict[str, Any]:
    return {**GOOD, "a": {**GOOD["a"], **more}}


def test_every_tensor_has_its_place() -> None:
    found = read(GOOD, 32)
    base = 8 + len(json.dumps(GOOD))
    assert found == {
        "a": Entry("F32", (2, 3), base, base + 24),
        "b": Entry("BF16", (4,), base + 24, base + 32),
        "empty": Entry("F16", (0, 7), base + 32, base + 32),
    }


@pytest.mark.parametrize(
    ("head", "size", "said"),
    [
        (b"", 0, "has 0 bytes"),
        (b"\x02\0\0\0", 4, "has 4 bytes"),
        ((LARGEST + 1).to_bytes(8, "little"), 1 << 40, "would have 100000001 bytes"),
        ((1 << 63).to_bytes(8, "little"), 1 << 20, "is no safetensors file"),
        ((1000).to_bytes(8, "little"), 1007, "cut short inside its header"),
    ],
)
def test_a_length_that_cannot_be(head: bytes, size: int, said: str) -> None:
    with pytest.raises(BrokenModel, match=said):
        length(head, size, "m.safetensors")


@pytest.mark.parametrize(
    ("header", "numbers", "said"),
    [
        (b"{", 0, "is no JSON"),
        (b"[" * 100_000, 0, "is no JSON"),
        (b"[]", 0, "no JSON object"),
        (b"\xff\xfe{}", 0, "is no JSON"),
        (b'{"a": 1, "a": 2}', 0, "'a' stands twice"),
        ({"a": 1}, 0, "tensor 'a' is not described"),
        (changed(dtype=7), 32, "tensor 'a' has no dtype"),
        (changed(shape=[2, -3]), 32, "tensor 'a' has no shape"),
        (changed(shape=[2, True]), 32, "tensor 'a' has no shape"),
        (changed(shape=[1 << 62]), 32, "tensor 'a' has no shape"),
        (changed(shape=[2, 4]), 32, "tensor 'a' has 24 bytes, and its shape"),
        (changed(data_offsets=[0]), 32, "tensor 'a' has no data_offsets"),
        (changed(data_offsets=[24, 0]), 32, "tensor 'a' has no data_offsets"),
        (changed(data_offsets=[4, 28]), 32, "tensor 'a' begins after bytes that no tensor has"),
        (changed(data_offsets=[8, 32]), 32, "begins after bytes"),
        ({**GOOD, "c": GOOD["a"]}, 32, "tensor 'c' overlaps another"),
        (GOOD, 31, "tensor 'b' ends at byte .*: it is cut short"),
        (GOOD, 33, "has 1 bytes more than its tensors"),
    ],
)
def test_what_is_wrong_is_said_with_the_tensor(header: Any, numbers: int, said: str) -> None:
    with pytest.raises(BrokenModel, match=said):
        read(header, numbers)


def test_numbers_of_an_unknown_kind_are_told_and_not_measured() -> None:
    header = {"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}
    assert read(header, 2)["a"].dtype == "F4"


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_entries_or_an_error(header: bytes, more: int) -> None:
    with contextlib.suppress(BrokenModel):
        parse(header, 8 + len(header) + more, "m.safetensors")


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.fixed_dictionaries(
            {},
            optional={
                "dtype": st.sampled_from(["F32", "BF16", "F4", "", 3]),
                "shape": st.lists(st.integers(-2, 1 << 70), max_size=3) | st.none(),
                "data_offsets": st.lists(st.integers(-8, 1 << 70), max_size=3) | st.text(max_size=2),
            },
        ),
        max_size=4,
    ),
    st.integers(0, 64),
)
def test_any_description_is_entries_within_the_file_or_an_error(header: dict[str, Any], numbers: int) -> None:
    try:
        found = read(header, numbers)
    except BrokenModel:
        return
    size = 8 + len(json.dumps(header).encode()) + numbers
    assert all(0 <= entry.start <= entry.stop <= size for entry in found.values())
