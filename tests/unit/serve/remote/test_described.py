"""A server's description becomes a signature, and answers are held against it."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, Tensors
from fairlead.contracts.upstream import Described, Garbled, Told
from fairlead.serve.remote.described import checking, difference, signature_of

MODEL = Described(
    "onnxruntime_onnx", (Told("x", "FP32", (-1, 3)), Told("s", "BYTES", (-1, 1), False)), (Told("y", "FP32", (-1,)),)
)


def test_a_batched_model_with_a_column() -> None:
    found = signature_of(MODEL, "here")
    assert found.batched
    assert [(spec.datatype, spec.column, spec.required) for spec in found.inputs] == [
        (DataType.FP32, False, True),
        (DataType.BYTES, True, False),
    ]


@pytest.mark.parametrize("shape", [(1, 3), (3,), ()], ids=str)
def test_one_fixed_first_dimension_and_every_call_goes_alone(shape: tuple[int, ...]) -> None:
    assert not signature_of(MODEL._replace(outputs=(Told("y", "FP32", shape),)), "here").batched


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (MODEL._replace(inputs=()), "here does not say which inputs its model has"),
        (MODEL._replace(outputs=()), "here does not say which outputs"),
        (MODEL._replace(inputs=MODEL.inputs[:1] * 2), "two inputs of one name"),
        (MODEL._replace(inputs=(Told("x", "FP8", (-1,)),)), "unknown datatype 'FP8'"),
        (MODEL._replace(inputs=(Told("x", "FP32", (-2, 1)),)), "which is none"),
        (MODEL._replace(inputs=(Told("x", "FP32", (-1, 10**30)),)), "is larger than 1024 MiB"),
        (MODEL._replace(inputs=(Told("x", "BYTES", (-1, 2**27 + 1)),)), "is larger than 1024 MiB"),
    ],
    ids=["no inputs", "no outputs", "twice", "datatype", "shape", "huge", "huge text"],
)
def test_what_cannot_be_served_is_said(model: Described, words: str) -> None:
    with pytest.raises(BrokenModel, match=words):
        signature_of(model, "here")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (MODEL, ""),
        (MODEL._replace(inputs=MODEL.inputs[::-1], platform="other"), ""),
        (MODEL._replace(inputs=MODEL.inputs[:1]), "its inputs are x, not x, s"),
        (MODEL._replace(outputs=(Told("z", "FP32", (-1,)),)), "its outputs are z, not y"),
        (MODEL._replace(outputs=(Told("y", "FP64", (-1,)),)), "its output 'y' is FP64 [-1], not FP32 [-1]"),
        (MODEL._replace(outputs=(Told("y", "FP32", (-1, 2)),)), "its output 'y' is FP32 [-1, 2], not FP32 [-1]"),
    ],
    ids=["same", "other order", "fewer", "names", "datatype", "shape"],
)
def test_what_differs_is_named(other: Described, words: str) -> None:
    assert difference(signature_of(MODEL, "a"), signature_of(other, "b")) == words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({}, "it gave the outputs none, and its model has y"),
        ({"z": np.zeros(2, np.float32)}, "gave the outputs z"),
        ({"y": np.zeros(2, np.float32), "z": np.zeros(2)}, "gave the outputs y, z"),
        ({"y": np.zeros(2)}, "is float64"),
        ({"y": np.zeros((2, 1), np.float32)}, r"float32 \[2, 1\], not FP32 \[-1\]"),
        ({"y": np.zeros(3, np.float32)}, "has 3 rows, and 2 were sent"),
    ],
    ids=["none", "name", "more", "datatype", "shape", "rows"],
)
def test_an_answer_that_is_another_models_is_garbled(answer: Tensors, words: str) -> None:
    with pytest.raises(Garbled, match=words):
        checking(signature_of(MODEL, "here"))(answer, 2)


def test_a_right_answer_passes_in_the_signatures_order() -> None:
    two = MODEL._replace(outputs=(Told("a", "FP32", (-1,)), Told("b", "BOOL", (-1, -1))))
    check = checking(signature_of(two, "here"))
    assert list(check({"b": np.zeros((2, 5), bool), "a": np.zeros(2, np.float32)}, 2)) == ["a", "b"]
