from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from samples import MATRIX, STRICT, TABLE, WORDS, column

from fairlead.contracts.errors import (
    BodyTooLarge,
    Cancelled,
    DeadlineExceeded,
    FairleadError,
    InvalidTensor,
    ModelFailed,
    NotFound,
    QueueFull,
    Unavailable,
)
from fairlead.contracts.types import DataType, Missing, Reply, Signature, TensorSpec
from fairlead.serve.edges.edge import Request
from fairlead.serve.edges.invocations import Invocations
from fairlead.serve.edges.v1 import V1

ROW = {"age": 41, "income": 5.5, "city": "Oslo", "member": True}
NAMES = list(ROW)
CELLS = list(ROW.values())
EXPECTED = {"age": [[41]], "income": [[5.5]], "city": [["Oslo"]], "member": [[True]], "note": [[None]]}


def v1(message: Any, signature: Signature = TABLE) -> dict[str, list[Any]]:
    return listed(V1().read(json.dumps(message).encode(), {}, signature))


def mlflow(message: Any, signature: Signature = TABLE) -> dict[str, list[Any]]:
    return listed(Invocations().read(json.dumps(message).encode(), {}, signature))


def csv(
    text: str, signature: Signature = TABLE, content_type: bytes = b"text/csv; charset=UTF-8"
) -> dict[str, list[Any]]:
    return listed(Invocations().read(text.encode(), {b"content-type": content_type}, signature))


def listed(request: Request) -> dict[str, list[Any]]:
    return {name: array.tolist() for name, array in request.inputs.items()}


@pytest.mark.parametrize(
    "message",
    [
        {"instances": [ROW]},
        {"instances": [[*CELLS, None]]},
        {"inputs": {name: [value] for name, value in ROW.items()}},
        {"inputs": {name: [[value]] for name, value in ROW.items()}},
        {"inputs": ROW},
        {"inputs": [ROW]},
    ],
)
def test_one_row_in_every_shape(message: Any) -> None:
    assert v1(message) == EXPECTED
    assert mlflow(message) == EXPECTED


@pytest.mark.parametrize(
    "message",
    [
        {"dataframe_records": [ROW]},
        {"dataframe_split": {"columns": NAMES, "data": [CELLS]}},
        {"dataframe_split": {"columns": NAMES, "index": [7], "data": [CELLS]}},
        {"dataframe_split": {"columns": NAMES[::-1], "data": [CELLS[::-1]]}},
        {"dataframe_split": {"data": [[*CELLS, None]]}},
        {"dataframe_records": [ROW], "params": {"threshold": 0.5}},
    ],
)
def test_one_row_in_mlflow_s_shapes(message: Any) -> None:
    assert mlflow(message) == EXPECTED


def test_csv() -> None:
    assert csv("age,income,city,member\n41,5.5,Oslo,true\n") == EXPECTED
    assert csv('city,age,income,member\r\n"Oslo",41,5.5,1\r\n\r\n') == EXPECTED
    assert csv("\ufeffage,income,city,member\n41.0,5.5,Oslo,True\n", content_type=b"text/csv") == EXPECTED


def test_csv_cells_that_are_missing() -> None:
    assert csv("age,income,city,member,note\n1,NaN,NA,,\n")["city"] == [["unknown"]]
    assert math.isnan(csv("age,income,city,member\n1,,a,1\n")["income"][0][0])


def test_csv_words_stay_words_where_nothing_stands_for_missing() -> None:
    signature = Signature((column("country", DataType.BYTES),))
    assert csv("country\nNA\n", signature) == {"country": [["NA"]]}


def test_csv_for_one_matrix() -> None:
    assert csv("a,b,c\n1,2,3\n4,5.5,6\n", MATRIX) == {"x": [[1, 2, 3], [4, 5.5, 6]]}


@pytest.mark.parametrize("gap", [{"income": None}, {"income": ""}, {"income": "  "}, {}])
def test_missing_numbers(gap: dict[str, Any]) -> None:
    rows = [ROW, {**{name: value for name, value in ROW.items() if name != "income"}, **gap}]
    assert math.isnan(v1({"instances": rows})["income"][1][0])


@pytest.mark.parametrize("gap", [{"city": None}, {"city": ""}, {}])
def test_missing_strings(gap: dict[str, Any]) -> None:
    rows = [ROW, {**{name: value for name, value in ROW.items() if name != "city"}, **gap}]
    assert v1({"instances": rows})["city"][1] == ["unknown"]


def test_coercions_that_lose_nothing() -> None:
    row = {"age": 41.0, "income": True, "city": 7, "member": 0, "note": 1.5}
    assert v1({"instances": [row]}) == {
        "age": [[41]],
        "income": [[1.0]],
        "city": [["7"]],
        "member": [[False]],
        "note": [["1.5"]],
    }
    assert v1({"instances": [{**ROW, "age": True, "city": False}]})["city"] == [["False"]]


def test_integers_keep_every_digit() -> None:
    assert v1({"instances": [{**ROW, "age": 9007199254740993}]})["age"] == [[9007199254740993]]
    assert csv("age,income,city,member\n9007199254740993,1,a,1\n")["age"] == [[9007199254740993]]


def test_one_matrix() -> None:
    rows = [[1, 2, 3], [4, 5, 6]]
    assert v1({"instances": rows}, MATRIX) == {"x": rows}
    assert v1({"inputs": rows}, MATRIX) == {"x": rows}
    assert v1({"inputs": {"x": rows}}, MATRIX) == {"x": rows}
    assert v1({"instances": [{"x": row} for row in rows]}, MATRIX) == {"x": rows}
    assert mlflow({"dataframe_split": {"columns": ["a", "b", "c"], "data": rows}}, MATRIX) == {"x": rows}
    assert mlflow({"dataframe_records": [dict(zip("abc", row, strict=True)) for row in rows]}, MATRIX) == {"x": rows}


def test_several_tensors() -> None:
    rows = [{"text": "a", "flag": True}, {"text": "b", "flag": False}]
    assert v1({"instances": rows}, WORDS) == {"text": ["a", "b"], "flag": [True, False]}


def test_one_column_takes_plain_values() -> None:
    signature = Signature((column("t", DataType.FP64),))
    assert v1({"instances": [1, 2]}, signature) == {"t": [[1.0], [2.0]]}
    assert mlflow({"inputs": 5}, signature) == {"t": [[5.0]]}


def test_null_in_a_matrix() -> None:
    signature = Signature((TensorSpec("x", DataType.FP32, (-1, 3), missing=Missing.NAN),))
    assert math.isnan(v1({"instances": [[1, None, 3]]}, signature)["x"][0][1])


@pytest.mark.parametrize("message", [{"instances": []}, {"inputs": []}])
def test_no_rows(message: Any) -> None:
    assert v1(message, STRICT) == {"x": []}
    assert v1(message) == {name: [] for name in EXPECTED}


def test_no_rows_in_a_frame() -> None:
    assert mlflow({"dataframe_split": {"columns": NAMES, "data": []}}) == {name: [] for name in EXPECTED}
    assert mlflow({"dataframe_records": []}) == {name: [] for name in EXPECTED}
    assert csv("age,income,city,member\n") == {name: [] for name in EXPECTED}
    assert csv("a,b,c\n", MATRIX) == {"x": []}


def test_params_reach_the_call() -> None:
    body = json.dumps({"inputs": ROW, "params": {"threshold": 1, "mode": "slow"}}).encode()
    assert Invocations().read(body, {}, TABLE).parameters == {"threshold": 1, "mode": "slow"}


OUTPUTS = {
    "label": np.array([1, 0]),
    "probabilities": np.array([[0.25, 0.75], [0.5, math.nan]]),
    "score": np.array([[0.5], [1.5]]),
    "word": np.array(["a", None], object),
}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("label",), [1, 0]),
        (("probabilities",), [[0.25, 0.75], [0.5, None]]),
        (("score",), [[0.5], [1.5]]),
        (("word",), ["a", None]),
        (
            ("label", "score", "probabilities"),
            [
                {"label": 1, "score": 0.5, "probabilities": [0.25, 0.75]},
                {"label": 0, "score": 1.5, "probabilities": [0.5, None]},
            ],
        ),
    ],
)
def test_predictions(names: tuple[str, ...], expected: Any) -> None:
    signature = Signature(MATRIX.inputs, MATRIX.outputs, prediction=names)
    reply = Reply(OUTPUTS, "m", "1")
    for edge in (V1(), Invocations()):
        answer = edge.write(reply, Request({}), signature)
        assert answer.status == 200
        assert json.loads(answer.body) == {"predictions": expected}


def test_predictions_of_a_model_without_rows() -> None:
    signature = Signature(MATRIX.inputs, batched=False)
    reply = Reply({"a": np.array(1.5), "b": np.array([1, 2])}, "m", "1")
    assert json.loads(V1().write(reply, Request({}), signature).body) == {"predictions": {"a": 1.5, "b": [1, 2]}}


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (NotFound("no"), 404, "RESOURCE_DOES_NOT_EXIST"),
        (BodyTooLarge("no"), 413, "RESOURCE_LIMIT_EXCEEDED"),
        (QueueFull("no"), 429, "REQUEST_LIMIT_EXCEEDED"),
        (Cancelled("no"), 499, "CANCELLED"),
        (ModelFailed("no"), 500, "INTERNAL_ERROR"),
        (FairleadError("no"), 500, "INTERNAL_ERROR"),
        (Unavailable("no"), 503, "TEMPORARILY_UNAVAILABLE"),
        (DeadlineExceeded("no"), 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_mlflow_s_error_codes(error: FairleadError, status: int, name: str) -> None:
    answer = Invocations().refuse(error, "r")
    assert answer.status == status
    assert json.loads(answer.body) == {"error_code": name, "message": "no", "code": error.code, "request_id": "r"}
    assert json.loads(V1().refuse(error, "r").body) == {"error": "no", "code": error.code, "request_id": "r"}


@pytest.mark.parametrize("cell", ["1_000", "\u0663", "0x10", "1e", "+-1", "infinit"])
def test_a_cell_is_a_number_only_where_other_readers_of_csv_say_so(cell: str) -> None:
    text = f"age,income,city,member\n1,{cell},Oslo,true\n"
    with pytest.raises(InvalidTensor, match="'income': expected FP64, found a string"):
        Invocations().read(text.encode(), {b"content-type": b"text/csv"}, TABLE)


@pytest.mark.parametrize("cell", ["1.", ".5", "-1E3", "+7", "inf", "-Infinity"])
def test_every_way_to_write_a_number_is_read(cell: str) -> None:
    text = f"age,income,city,member\n1,{cell},Oslo,true\n"
    request = Invocations().read(text.encode(), {b"content-type": b"text/csv"}, TABLE)
    assert request.inputs["income"].tolist() == [[float(cell)]]


def test_a_number_over_every_range_is_the_callers_mistake() -> None:
    body = json.dumps({"dataframe_records": [{**ROW, "income": 10**400}]}).encode()
    with pytest.raises(InvalidTensor, match=r"'income': value 0 \(1000.*401 characters.*out of range for FP64"):
        Invocations().read(body, {}, TABLE)
