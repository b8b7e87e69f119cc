from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairlead.adapters.runtimes.mlflow import MlflowModel, MlflowRuntime
from fairlead.contracts.errors import BrokenModel, ModelFailed, Untrusted
from fairlead.contracts.runtime import Artefact, RuntimeOptions
from fairlead.contracts.types import DataType, ParamSpec, Signature, Tensors, TensorSpec

COLUMNS = (
    TensorSpec("n", DataType.INT64, (-1, 1), column=True),
    TensorSpec("s", DataType.BYTES, (-1, 1), column=True),
)
OUTPUT = (TensorSpec("output", DataType.FP64, (-1,)),)
ROWS: Tensors = {"n": np.array([[1], [2]]), "s": np.array([["a"], [None]], object)}


class PyFunc:
    """Answers what it was made with and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.data: Any = None
        self.params: Any = None

    def predict(self, data: Any, params: Any = None) -> Any:
        self.data, self.params = data, params
        return self.answer


def test_columns_become_a_frame() -> None:
    pyfunc = PyFunc([1, 2])
    model = MlflowModel(pyfunc, Signature(COLUMNS, OUTPUT))
    assert model.predict(ROWS, {})["output"].tolist() == [1.0, 2.0]
    assert pyfunc.data["n"].dtype == np.int64
    assert pyfunc.data["s"].tolist() == ["a", None]


def test_one_unnamed_tensor_stays_an_array_and_named_ones_a_dict() -> None:
    pyfunc = PyFunc(np.zeros((2, 1)))
    matrix = (TensorSpec("input", DataType.FP64, (-1, 2)),)
    x = np.ones((2, 2))
    assert MlflowModel(pyfunc, Signature(matrix, OUTPUT, tensor=True)).predict({"input": x}, {})["output"].shape == (2,)
    assert isinstance(pyfunc.data, np.ndarray)
    MlflowModel(pyfunc, Signature(matrix, OUTPUT)).predict({"input": x}, {})
    assert list(pyfunc.data) == ["input"]


def test_only_declared_parameters_are_passed() -> None:
    pyfunc = PyFunc([1.0, 2.0])
    params = (ParamSpec("temperature", DataType.FP64, 1.0),)
    MlflowModel(pyfunc, Signature(COLUMNS, OUTPUT, params)).predict(ROWS, {"temperature": 0.5, "binary": True})
    assert pyfunc.params == {"temperature": 0.5}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), {"a": [1, 2], "b": ["x", "y"]}),
        ({"a": [1, 2]}, {"a": [1, 2]}),
        ([{"a": 1}, {"a": 2}], {"a": [1, 2]}),
        (pd.Series([1, 2]), {"output": [1, 2]}),
        (["x", "y"], {"output": ["x", "y"]}),
        ((np.array([1, 2]), np.array([3, 4])), {"output_0": [1, 2], "output_1": [3, 4]}),
    ],
)
def test_any_answer_becomes_named_tensors(answer: Any, expected: dict[str, Any]) -> None:
    found = MlflowModel(PyFunc(answer), None).predict({"x": np.zeros(2)}, {})
    assert {name: array.tolist() for name, array in found.items()} == expected


def test_a_table_takes_the_names_of_the_signature() -> None:
    outputs = (TensorSpec("p", DataType.FP32, (-1,)), TensorSpec("q", DataType.BYTES, (-1,)))
    model = MlflowModel(PyFunc(pd.DataFrame({0: [1.0, 2.0], 1: ["x", "y"]})), Signature(COLUMNS, outputs))
    found = model.predict(ROWS, {})
    assert [*found] == ["p", "q"]
    assert found["p"].dtype == np.float32
    assert found["q"].dtype == object


def folder(path: Path, loader: str, **more: str) -> Artefact:
    (path / "MLmodel").write_text("flavors: {}\n")
    return Artefact(
        "mlflow", path, details={"mlmodel": {"flavors": {"python_function": {"loader_module": loader, **more}}}}
    )


@pytest.mark.parametrize(
    ("loader", "more"), [("mlflow.sklearn", {}), ("own.code", {}), ("", {}), ("mlflow.onnx", {"code": "code"})]
)
def test_code_needs_somebody_who_vouches(tmp_path: Path, loader: str, more: dict[str, str]) -> None:
    with pytest.raises(Untrusted, match="which may run code"):
        MlflowRuntime().load(folder(tmp_path, loader, **more), RuntimeOptions())


def test_a_folder_that_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match=r"cannot be loaded by mlflow\.pyfunc"):
        MlflowRuntime().load(folder(tmp_path, "mlflow.onnx"), RuntimeOptions())


def test_a_closed_model_does_not_answer() -> None:
    model = MlflowModel(PyFunc([1]), None)
    model.close()
    with pytest.raises(ModelFailed, match="closed"):
        model.predict(ROWS, {})
