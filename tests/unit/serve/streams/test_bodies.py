"""The shape of a body says what it is."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from samples import MATRIX, STRICT, TABLE

from fairlead.contracts.errors import InvalidTensor, MalformedBody
from fairlead.contracts.types import DataType, Reply, Signature, TensorSpec
from fairlead.serve.streams.bodies import Bodies

EDGE = Bodies()
V2 = {"id": "7", "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
ROW = {"age": 3, "income": 1.5, "city": "Oslo", "member": True}
REPLY = Reply({"label": np.array([1]), "probabilities": np.array([[0.25, 0.75]], np.float32)}, "churn", "3")
TWO = Reply({"label": np.array([1, 0]), "probabilities": np.array([[0.25, 0.75], [1, 0]], np.float32)}, "churn", "3")


def asked(body: Any, signature: Signature = MATRIX) -> Any:
    return EDGE.read(body if isinstance(body, bytes) else json.dumps(body).encode(), {}, signature)


def answered(body: Any, reply: Reply, signature: Signature) -> Any:
    return json.loads(EDGE.write(reply, asked(body, signature), signature).body)


def test_tensors_are_a_v2_request_and_get_a_v2_response() -> None:
    request = asked(V2)
    assert request.inputs["x"].tolist() == [[1, 2, 3]]
    answer = json.loads(EDGE.write(REPLY, request, MATRIX).body)
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "churn", "3")
    assert [one["name"] for one in answer["outputs"]] == ["label", "probabilities"]


def test_an_object_of_columns_is_a_row_and_gets_an_object_of_outputs() -> None:
    request = asked(ROW, TABLE)
    assert {name: array.shape for name, array in request.inputs.items()}["age"] == (1, 1)
    assert answered(ROW, REPLY, TABLE) == {"label": 1, "probabilities": [0.25, 0.75]}


def test_a_row_of_a_tensor_is_its_values() -> None:
    assert asked({"x": [1, 2, 3]}).inputs["x"].tolist() == [[1, 2, 3]]


def test_a_list_is_rows_and_gets_a_list() -> None:
    assert asked([ROW, {**ROW, "age": 4}], TABLE).inputs["age"].tolist() == [[3], [4]]
    assert answered([ROW, ROW], TWO, TABLE) == [
        {"label": 1, "probabilities": [0.25, 0.75]},
        {"label": 0, "probabilities": [1, 0]},
    ]
    assert asked([[1, 2, 3], [4, 5, 6]]).inputs["x"].shape == (2, 3)


def test_a_column_named_inputs_is_a_column() -> None:
    signature = Signature((TensorSpec("inputs", DataType.FP32, (-1, 2)),))
    assert asked({"inputs": [1, 2]}, signature).inputs["inputs"].tolist() == [[1, 2]]
    tensors = {"inputs": [{"name": "inputs", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    assert asked(tensors, signature).inputs["inputs"].tolist() == [[1, 2]]


def test_a_text_that_looks_like_tensors_is_a_text() -> None:
    assert asked({**ROW, "city": '{"inputs":[{"name":"x"}]}'}, TABLE).inputs["city"].shape == (1, 1)


@pytest.mark.parametrize(
    "body", [{"inputs": []}, {"inputs": [{"name": "x", "shape": [1, 3], "data": [1, 2, 3]}]}], ids=["none", "no type"]
)
def test_a_v2_request_with_a_fault_is_told_so(body: Any) -> None:
    with pytest.raises((MalformedBody, InvalidTensor)) as error:
        asked(body)
    assert "unknown input 'inputs'" not in str(error.value)


@pytest.mark.parametrize("body", [b"", b"{", b"3", b'"x"', b"null", b'{"inputs": [', b"\xff\xfe"])
def test_what_is_no_request_is_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        asked(body)


def test_missing_and_unknown_columns_are_named() -> None:
    with pytest.raises(InvalidTensor, match="age"):
        asked({"income": 1.0, "city": "x", "member": True}, TABLE)
    with pytest.raises(InvalidTensor, match="agee"):
        asked({**ROW, "agee": 1}, TABLE)
    with pytest.raises(InvalidTensor):
        asked({"x": [1, None, 3]}, STRICT)


def test_a_model_that_knows_no_rows_takes_an_object_whole() -> None:
    signature = Signature(
        (TensorSpec("x", DataType.FP32, (2,)),), (TensorSpec("y", DataType.FP32, (2,)),), batched=False
    )
    reply = Reply({"y": np.array([1, 2], np.float32)}, "m", "1")
    assert asked({"x": [1, 2]}, signature).inputs["x"].shape == (2,)
    assert answered({"x": [1, 2]}, reply, signature) == {"y": [1, 2]}


def test_raw_tensors_come_behind_the_json() -> None:
    head = json.dumps(
        {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}]}
    ).encode()
    headers = {b"inference-header-content-length": str(len(head)).encode()}
    request = EDGE.read(head + np.array([1, 2, 3], np.float32).tobytes(), headers, MATRIX)
    assert request.inputs["x"].tolist() == [[1, 2, 3]]
