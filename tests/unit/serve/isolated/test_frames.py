"""Frames: what goes in comes out, whatever the tensors hold and however the stream is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.contracts.types import DataType, Tensors
from fairlead.serve.isolated import frames
from fairlead.serve.isolated.frames import Reader, Region, pack
from fairlead.serve.isolated.messages import Answer, Batch, ToProcess, ToServer

SAMPLES: dict[DataType, np.ndarray] = {
    datatype: np.array([[0, 1], [2, 100]]).astype(datatype.numpy)
    for datatype in DataType
    if datatype not in (DataType.BYTES, DataType.BF16)
} | {
    DataType.BF16: np.array([[1.5, math.nan], [-math.inf, 0.0]], np.float32),
    DataType.BYTES: np.array([["a", "", "é\0ü"], [b"\xff\x00", None, math.nan]], object),
}


def crossed(tensors: Tensors, cut: int = 1 << 30) -> Tensors:
    """What arrives, the stream cut into pieces."""
    data, descriptor = pack(Answer(), tensors, Region())
    assert descriptor == -1
    reader = Reader(ToServer, copy=True)
    found = [one for at in range(0, len(data), cut) for one in reader.feed(data[at : at + cut])]
    ((message, arrived),) = found
    assert message == Answer()
    return arrived


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
@pytest.mark.parametrize("datatype", DataType)
def test_every_datatype_crosses(datatype: DataType, cut: int) -> None:
    array = SAMPLES[datatype]
    arrived = crossed({"x": array, "again": array[:, :1]}, cut)
    assert list(arrived) == ["x", "again"]
    assert arrived["x"].dtype == array.dtype
    assert arrived["x"].shape == array.shape
    assert arrived["again"].shape == (2, 1)
    pairs = zip(arrived["x"].ravel().tolist(), array.ravel().tolist(), strict=True)
    assert all(same(one, other) for one, other in pairs)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3), np.float32),
        np.array(3.5),
        np.arange(12).reshape(3, 4).T,
        np.arange(6, dtype=">i4"),
        np.array(["ab", "c"]),
        np.array([b"ab", b"c"]),
        np.array(["2026-01-01"], "datetime64[D]"),
        np.empty((0, 2), object),
        np.array([np.str_("s"), np.float64(0.5), np.int64(3), np.True_], object),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_whatever_else_numpy_has_crosses(array: np.ndarray) -> None:
    arrived = crossed({"x": array})["x"]
    assert arrived.shape == array.shape
    assert arrived.dtype == array.dtype
    assert arrived.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.zeros(2, [("a", "f4")]), ValueError),
        (np.array([object()], object), TypeError),
        (np.array([2**70], object), OverflowError),
        (np.array(["\ud800"], object), UnicodeEncodeError),
    ],
    ids=["structured", "foreign", "large", "surrogate"],
)
def test_what_cannot_cross_is_refused(array: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        pack(Answer(), {"x": array}, Region())


def test_several_frames_in_one_piece_keep_their_order() -> None:
    frames_ = [pack(Batch({"n": number}), {"x": np.full(3, number)}, Region())[0] for number in range(4)]
    found = Reader(ToProcess, copy=False).feed(b"".join(frames_))
    assert [(message.parameters["n"], tensors["x"].tolist()) for message, tensors in found] == [
        (number, [number] * 3) for number in range(4)
    ]


def test_tensors_are_aligned() -> None:
    arrived = crossed({"a": np.zeros(1, np.uint8), "b": np.zeros(3, np.float64), "c": np.zeros(2, np.int32)})
    assert all(array.flags.aligned for array in arrived.values())


def test_a_region_is_given_once_and_again_when_it_grows() -> None:
    region = Region()
    large = {"x": np.zeros(frames.INLINE + 1, np.uint8)}
    first, second = pack(Answer(), large, region), pack(Answer(), large, region)
    assert first[1] >= 0
    assert second[1] == -1
    assert len(second[0]) < 200
    assert pack(Answer(), {"x": np.zeros(region.size + 1, np.uint8)}, region)[1] >= 0
    region.close()
    assert region.descriptor == -1


@pytest.mark.parametrize("new", [True, False])
def test_a_region_that_never_came_is_told(new: bool) -> None:
    data = frames._PREFIX.pack(1, 1, 8, 4096, new)
    head = frames._encode(Answer())
    layout = frames._encode([])
    data = frames._PREFIX.pack(len(head), len(layout), 8, 4096, new) + head + layout
    with pytest.raises(ValueError, match="region"):
        Reader(ToServer, copy=True).feed(data)


def test_a_frame_of_a_broken_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        Reader(ToServer, copy=True).feed(frames._PREFIX.pack(1, 1, frames.LARGEST, 0, False))
