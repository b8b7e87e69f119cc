"""MLflow's own parser is the oracle: the same payload must give pyfunc the same values."""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models.utils import _enforce_schema
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.types import DataType as ColumnType
from samples import column

from fairlead.contracts.errors import InvalidTensor
from fairlead.contracts.types import DataType, Missing, Reply, Signature
from fairlead.contracts.types import TensorSpec as Spec
from fairlead.serve.edges.edge import Request
from fairlead.serve.edges.invocations import Invocations

with warnings.catch_warnings():  # mlflow warns about its own type hints when it is imported
    warnings.simplefilter("ignore")
    from mlflow.pyfunc import scoring_server

COLUMNS = [("age", ColumnType.long), ("small", ColumnType.integer), ("income", ColumnType.double)]
COLUMNS += [("ratio", ColumnType.float), ("city", ColumnType.string), ("member", ColumnType.boolean)]
OURS = {
    ColumnType.long: DataType.INT64,
    ColumnType.integer: DataType.INT32,
    ColumnType.double: DataType.FP64,
    ColumnType.float: DataType.FP32,
    ColumnType.string: DataType.BYTES,
    ColumnType.boolean: DataType.BOOL,
}
SCHEMA = Schema([ColSpec(kind, name) for name, kind in COLUMNS])
TABLE = Signature(
    tuple(
        column(name, OURS[kind], missing=Missing.NAN if OURS[kind].is_float else Missing.UNKNOWN)
        for name, kind in COLUMNS
    )
)
MATRIX_SCHEMA = Schema([TensorSpec(np.dtype(np.float32), (-1, 3))])
MATRIX = Signature((Spec("input", DataType.FP32, (-1, 3)),), tensor=True)
NAMED_SCHEMA = Schema([TensorSpec(np.dtype(np.float32), (-1, 2), "a"), TensorSpec(np.dtype(np.int64), (-1,), "b")])
NAMED = Signature((Spec("a", DataType.FP32, (-1, 2)), Spec("b", DataType.INT64, (-1,))))

ROWS = [
    {"age": 41, "small": 1, "income": 5.5, "ratio": 0.1, "city": "Oslo", "member": True},
    {"age": 2**40, "small": -3, "income": 7, "ratio": 2, "city": "", "member": False},
    {"age": 0, "small": 0, "income": None, "ratio": 1.5, "city": "Lima", "member": True},
]
NAMES = list(ROWS[0])
CELLS = [list(row.values()) for row in ROWS]
BY_NAME = {name: [row[name] for row in ROWS[:2]] for name in NAMES}

TABLES: list[Any] = [
    {"dataframe_records": ROWS},
    {"dataframe_split": {"columns": NAMES, "data": CELLS}},
    {"dataframe_split": {"columns": NAMES, "index": ["a", "b", "c"], "data": CELLS}},
    {"dataframe_split": {"columns": NAMES[::-1], "data": [row[::-1] for row in CELLS]}},
    {"instances": ROWS[:2]},
    {"inputs": BY_NAME},
    {"inputs": ROWS[0]},
    {"dataframe_records": [{**ROWS[0], "age": True, "income": False, "ratio": 3}]},
    {"dataframe_records": [{**ROWS[0], "age": 3.0}]},
]
CSV = [
    "age,small,income,ratio,city,member\n41,1,5.5,0.1,Oslo,True\n7,2,,1e-3,Lima,False\n",
    'member,city,ratio,income,small,age\nTrue,"a,b",0.5,NA,3,4\n',
]
MATRICES: list[Any] = [
    {"instances": [[1, 2.5, 3], [4, 5, 6]]},
    {"inputs": [[1, 2.5, 3]]},
    {"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2.5, 3], [4, 5, 6]]}},
    {"dataframe_split": {"data": [[1, 2.5, 3]]}},
    {"dataframe_records": [{"a": 1, "b": 2.5, "c": 3}]},
]
TENSORS: list[Any] = [
    {"instances": [{"a": [1, 2.5], "b": 1}, {"a": [3, 4], "b": 2}]},
    {"inputs": {"a": [[1, 2.5], [3, 4]], "b": [1, 2]}},
]


def theirs(message: Any, schema: Schema) -> dict[str, list[Any]]:
    """What pyfunc would hand to the model."""
    data, _ = scoring_server._split_data_and_params(json.dumps(message))
    return columns(_enforce_schema(scoring_server.infer_and_parse_data(data, schema), schema))


def columns(data: Any) -> dict[str, list[Any]]:
    if isinstance(data, np.ndarray):
        return {"input": data.tolist()}
    if isinstance(data, dict):
        return {name: np.asarray(values).tolist() for name, values in data.items()}
    return {name: data[name].tolist() for name in data.columns}


def ours(message: Any, signature: Signature) -> dict[str, list[Any]]:
    request = Invocations().read(json.dumps(message).encode(), {}, signature)
    return {
        name: array.ravel().tolist() if signature.tabular else array.tolist() for name, array in request.inputs.items()
    }


def same(first: dict[str, list[Any]], second: dict[str, list[Any]]) -> None:
    assert sorted(first) == sorted(second)
    for name, values in first.items():
        np.testing.assert_array_equal(np.array(values), np.array(second[name]), err_msg=name)


@pytest.mark.parametrize("message", TABLES, ids=lambda message: next(iter(message)))
def test_tables(message: Any) -> None:
    same(ours(message, TABLE), theirs(message, SCHEMA))


@pytest.mark.parametrize("text", CSV)
def test_csv(text: str) -> None:
    request = Invocations().read(text.encode(), {b"content-type": b"text/csv"}, TABLE)
    frame = _enforce_schema(scoring_server.parse_csv_input(io.StringIO(text), SCHEMA), SCHEMA)
    same({name: array.ravel().tolist() for name, array in request.inputs.items()}, columns(frame))


@pytest.mark.parametrize("message", MATRICES, ids=lambda message: next(iter(message)))
def test_one_tensor(message: Any) -> None:
    (values,) = ours(message, MATRIX).values()
    found = theirs(message, MATRIX_SCHEMA)
    np.testing.assert_array_equal(np.array(values), np.array(next(iter(found.values()))))


@pytest.mark.parametrize("message", TENSORS, ids=lambda message: next(iter(message)))
def test_named_tensors(message: Any) -> None:
    same(ours(message, NAMED), theirs(message, NAMED_SCHEMA))


@pytest.mark.parametrize(
    "raw",
    [
        np.array([1, 0]),
        np.array([[0.25, 0.75], [0.5, 0.5]]),
        np.array([[1.5], [2.5]]),
        np.array(["a", "b"], object),
        pd.DataFrame({"label": [1, 0], "score": [0.5, 0.25]}),
    ],
    ids=["vector", "matrix", "column", "strings", "frame"],
)
def test_replies(raw: Any) -> None:
    written = io.StringIO()
    scoring_server.predictions_to_json(raw, written)
    outputs = {name: raw[name].to_numpy() for name in raw.columns} if isinstance(raw, pd.DataFrame) else {"y": raw}
    answer = Invocations().write(Reply(outputs, "m", "1"), Request({}), Signature(TABLE.inputs))
    assert json.loads(answer.body) == json.loads(written.getvalue())


def test_a_fraction_is_refused_where_mlflow_cuts_it() -> None:
    message = {"dataframe_records": [{**ROWS[0], "age": 1.5}]}
    assert theirs(message, SCHEMA)["age"] == [1]
    with pytest.raises(InvalidTensor, match="'age'.*1.5"):
        ours(message, TABLE)


def test_a_number_for_a_string_column_is_its_text_where_mlflow_leaves_a_number() -> None:
    message = {"dataframe_records": [{**ROWS[0], "city": 12}]}
    assert theirs(message, SCHEMA)["city"] == [12]
    assert ours(message, TABLE)["city"] == ["12"]
