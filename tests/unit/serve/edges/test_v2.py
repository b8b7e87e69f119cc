from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from samples import MATRIX, TABLE, WORDS

from fairlead.contracts.errors import FairleadError, InvalidTensor, ModelFailed, QueueFull
from fairlead.contracts.types import DataType, Reply, Signature, TensorSpec
from fairlead.kit.codec import v2
from fairlead.serve.edges.edge import Request
from fairlead.serve.edges.v2 import V2

EDGE = V2()
REPLY = Reply(
    {"label": np.array([1, 0]), "probabilities": np.array([[0.25, 0.75], [0.5, math.nan]], np.float32)}, "churn", "3"
)


def read(message: Any, signature: Signature = MATRIX, tail: bytes | None = None) -> Request:
    head = json.dumps(message).encode()
    if tail is None:
        return EDGE.read(head, {}, signature)
    return EDGE.read(head + tail, {b"inference-header-content-length": str(len(head)).encode()}, signature)


def tensor(data: Any, shape: list[int], datatype: str = "FP32", name: str = "x") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


@pytest.mark.parametrize("data", [[1, 2.5, 3, 4, 5, 6], [[1, 2.5, 3], [4, 5, 6]]])
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BF16"])
def test_flat_and_nested(data: Any, datatype: str) -> None:
    array = read({"inputs": [tensor(data, [2, 3], datatype)]}).inputs["x"]
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2.5, 3], [4, 5, 6]]


def test_integers_are_floats_when_the_model_wants_floats() -> None:
    assert read({"inputs": [tensor([1, 2, 3], [1, 3], "INT64")]}).inputs["x"].dtype == np.float32


def test_strings_and_booleans() -> None:
    message = {"inputs": [tensor(["a", "ü"], [2], "BYTES", "text"), tensor([True, False], [2], "BOOL", "flag")]}
    inputs = read(message, WORDS).inputs
    assert inputs["text"].tolist() == ["a", "ü"]
    assert inputs["flag"].tolist() == [True, False]


def test_nulls_become_what_the_signature_says() -> None:
    message = {
        "inputs": [
            tensor([3], [1], "INT64", "age"),
            tensor([None], [1], "FP64", "income"),
            tensor([None], [1], "BYTES", "city"),
            tensor([None], [1], "BOOL", "member"),
        ]
    }
    inputs = read(message, TABLE).inputs
    assert math.isnan(inputs["income"][0, 0])
    assert inputs["city"].tolist() == [["unknown"]]
    assert inputs["member"].tolist() == [[False]]
    assert inputs["note"].tolist() == [[None]]


def test_raw_and_json_side_by_side() -> None:
    raw = struct.pack("<I", 2) + b"hi"
    text = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    inputs = read({"inputs": [text, tensor([True], [1], "BOOL", "flag")]}, WORDS, raw).inputs
    assert inputs["text"].tolist() == ["hi"]
    assert inputs["flag"].tolist() == [True]


def test_raw_floats_are_not_copied() -> None:
    values = np.arange(3, dtype=np.float32)
    item = {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
    head = json.dumps({"inputs": [item]}).encode()
    head += b" " * (-len(head) % 16)
    body = head + values.tobytes()
    array = EDGE.read(body, {b"inference-header-content-length": str(len(head)).encode()}, MATRIX).inputs["x"]
    assert np.array_equal(array, values.reshape(1, 3))
    assert not array.flags.owndata


def test_id_parameters_and_outputs_are_kept() -> None:
    message = {
        "id": "42",
        "parameters": {"priority": 3, "fast": True},
        "inputs": [tensor([1, 2, 3], [1, 3])],
        "outputs": [{"name": "probabilities"}, {"name": "label"}],
    }
    request = read(message)
    assert request.id == "42"
    assert request.parameters == {"priority": 3, "fast": True}
    assert request.outputs == ("probabilities", "label")
    answer = json.loads(EDGE.write(REPLY, request, MATRIX).body)
    assert answer["id"] == "42"
    assert [output["name"] for output in answer["outputs"]] == ["probabilities", "label"]


def test_json_answer() -> None:
    answer = EDGE.write(REPLY, read({"inputs": [tensor([1, 2, 3], [1, 3])]}), MATRIX)
    assert answer.status == 200
    assert answer.headers == [(b"content-type", b"application/json")]
    assert json.loads(answer.body) == {
        "model_name": "churn",
        "model_version": "3",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [2], "data": [1, 0]},
            {"name": "probabilities", "datatype": "FP32", "shape": [2, 2], "data": [0.25, 0.75, 0.5, None]},
        ],
    }


@pytest.mark.parametrize(
    ("parameters", "outputs", "expected"),
    [
        ({"binary_data_output": True}, None, {"label": True, "probabilities": True}),
        ({"binary_data_output": True}, [{"name": "label", "parameters": {"binary_data": False}}], {"label": False}),
        ({}, [{"name": "label", "parameters": {"binary_data": True}}], {"label": True}),
        (
            {"binary_data_output": False},
            [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": True}}],
            {"label": False, "probabilities": True},
        ),
        ({}, [], {"label": False, "probabilities": False}),
    ],
)
def test_which_outputs_go_raw(parameters: Any, outputs: Any, expected: dict[str, bool]) -> None:
    message = {"inputs": [tensor([1, 2, 3], [1, 3])], "parameters": parameters}
    if outputs is not None:
        message["outputs"] = outputs
    request = read(message)
    assert "binary_data_output" not in request.parameters
    answer = EDGE.write(REPLY, request, MATRIX)
    headers = dict(answer.headers)
    length = headers.get(b"inference-header-content-length")
    head = json.loads(answer.body if length is None else answer.body[: int(length)])
    found = {output["name"]: "data" not in output for output in head["outputs"]}
    assert found == expected
    assert headers[b"content-type"] == (b"application/octet-stream" if any(expected.values()) else b"application/json")
    _, arrays_back = v2.decode_response(answer.body, None if length is None else length.decode())
    for name, array in arrays_back.items():
        assert np.array_equal(array, REPLY.outputs[name], equal_nan=array.dtype.kind == "f")


@pytest.mark.parametrize("name", list(DataType))
def test_every_datatype_both_ways(name: DataType) -> None:
    signature = Signature((TensorSpec("x", name, (-1, 2)),), (TensorSpec("y", name, (-1, 2)),))
    array = np.array([["a", "bü"]], object) if name is DataType.BYTES else np.array([[0, 1]], name.numpy)
    for as_json in (["x"], []):
        body, length = v2.encode_request({"x": array}, datatypes={"x": name}, as_json=as_json)
        request = EDGE.read(body, {b"inference-header-content-length": str(length).encode()}, signature)
        assert request.inputs["x"].dtype == name.numpy
        assert request.inputs["x"].tolist() == array.tolist()
        request.memo = request.memo if not as_json else None
        answer = EDGE.write(Reply({"y": request.inputs["x"]}, "m", "1"), request, signature)
        back_length = dict(answer.headers).get(b"inference-header-content-length")
        response, outputs = v2.decode_response(answer.body, back_length.decode() if back_length else None)
        assert outputs["y"].tolist() == array.tolist()
        if not as_json:
            assert response.outputs[0].datatype == name.value


@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 4), st.just(3)), elements=st.floats(width=32)))
def test_any_floats_round_trip_raw(array: np.ndarray[Any, Any]) -> None:
    body, length = v2.encode_request({"x": array})
    request = EDGE.read(body, {b"inference-header-content-length": str(length).encode()}, MATRIX)
    assert request.inputs["x"].tobytes() == array.tobytes()


def test_an_output_that_json_cannot_hold() -> None:
    signature = Signature(MATRIX.inputs, (TensorSpec("y", DataType.BYTES, (-1,)),))
    reply = Reply({"y": np.array([b"\xff"], object)}, "m", "1")
    with pytest.raises(InvalidTensor, match="'y'.*binary_data"):
        EDGE.write(reply, read({"inputs": [tensor([1, 2, 3], [1, 3])]}), signature)


@pytest.mark.parametrize(
    ("error", "status"), [(QueueFull("full"), 429), (ModelFailed("oops"), 500), (FairleadError("bug"), 500)]
)
def test_refusals(error: FairleadError, status: int) -> None:
    answer = EDGE.refuse(error, "r-7")
    assert answer.status == status
    assert json.loads(answer.body) == {"error": str(error), "code": error.code, "request_id": "r-7"}


@pytest.mark.parametrize(
    ("model", "sent", "value"),
    [
        (DataType.FP64, "UINT64", 2**64 - 1),
        (DataType.FP64, "INT64", 2**63 - 1),
        (DataType.FP32, "FP64", 0.1),
        (DataType.FP32, "FP32", 3.4028235e38),
        (DataType.FP64, "FP64", -0.0),
    ],
)
def test_a_float_model_takes_what_other_datatypes_hold(model: DataType, sent: str, value: float) -> None:
    signature = Signature((TensorSpec("x", model, (-1,)),))
    body = b'{"inputs":[{"name":"x","shape":[1],"datatype":"%b","data":[%b]}]}' % (sent.encode(), repr(value).encode())
    array = EDGE.read(body, {}, signature).inputs["x"]
    expected = np.array([value], model.numpy)
    assert array.tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [[0, 10**30], [0, 2**62], [10**30]])
@pytest.mark.parametrize("datatype", [DataType.FP32, DataType.INT8, DataType.BYTES])
@pytest.mark.parametrize("raw", [True, False])
def test_a_shape_that_no_machine_holds_is_the_callers_mistake(shape: list[int], datatype: DataType, raw: bool) -> None:
    signature = Signature((TensorSpec("x", datatype, (-1,) * len(shape)),))
    item = {"name": "x", "shape": shape, "datatype": datatype.value}
    item |= {"parameters": {"binary_data_size": 0}} if raw else {"data": []}
    body = json.dumps({"inputs": [item]}).encode()
    headers = {b"inference-header-content-length": str(len(body)).encode()} if raw else {}
    with pytest.raises(InvalidTensor, match="'x': no machine holds the shape"):
        EDGE.read(body, headers, signature)
