from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from fairlead.adapters.converters.file_mlflow import OnnxToMlflow
from fairlead.adapters.converters.sklearn_mlflow import SklearnToMlflow
from fairlead.adapters.converters.sklearn_onnx import SklearnToOnnx
from fairlead.contracts.errors import BrokenModel, StorageFull
from fairlead.contracts.runtime import Artefact, RuntimeOptions
from fairlead.contracts.types import DataType, Missing, Signature, Tensors, TensorSpec
from fairlead.kit import plugins
from fairlead.package import examples
from fairlead.package.signature import from_mlmodel

SIGNATURE = Signature(
    inputs=(
        TensorSpec("size", DataType.FP64, (-1, 1), column=True),
        TensorSpec("colour", DataType.BYTES, (-1, 1), column=True),
    ),
    outputs=(TensorSpec("label", DataType.BYTES, (-1,)), TensorSpec("probabilities", DataType.FP64, (-1, 2))),
    prediction=("label",),
)
SIZE = np.linspace(-1, 1, 20)
COLOUR = np.array(["red", "blue"] * 10, object)
ROWS: Tensors = {"size": SIZE.reshape(-1, 1), "colour": COLOUR.reshape(-1, 1)}
FRAME = pd.DataFrame({"size": SIZE, "colour": pd.Series(COLOUR, dtype=object)})
LABEL = np.where(SIZE > 0.3, "big", "small")


def as_mlflow_says(signature: Signature) -> tuple[TensorSpec, ...]:
    """An MLmodel cannot say what stands for a missing value, but that columns of floats have NaN."""
    return tuple(
        replace(spec, missing=Missing.NAN) if spec.column and spec.datatype.is_float else spec
        for spec in signature.inputs
    )


def pipeline(*text_steps: Any) -> Any:
    encode = make_pipeline(*text_steps, OneHotEncoder(handle_unknown="ignore"))
    columns = make_column_transformer((encode, ["colour"]), ("passthrough", ["size"]))
    return make_pipeline(columns, LogisticRegression()).fit(FRAME, LABEL)


def test_a_pipeline_becomes_onnx_with_the_names_of_its_signature(tmp_path: Path) -> None:
    model = pipeline()
    path = SklearnToOnnx().convert(model, SIGNATURE, tmp_path)
    loaded = plugins.load("fairlead.runtimes", "onnx")().load(
        Artefact("onnx", path, signature=SIGNATURE), RuntimeOptions()
    )
    answer = loaded.predict(ROWS, {})
    assert loaded.signature == SIGNATURE
    assert answer["label"].tolist() == model.predict(FRAME).tolist()
    assert answer["probabilities"] == pytest.approx(model.predict_proba(FRAME), abs=1e-6)


def test_columns_keep_names_that_no_identifier_has(tmp_path: Path) -> None:
    names = ["it's", "a b", "Stra\u00dfe/1"]
    signature = Signature(
        inputs=tuple(TensorSpec(name, DataType.FP64, (-1, 1), column=True) for name in names),
        outputs=(TensorSpec("prediction", DataType.FP64, (-1,)),),
    )
    frame = pd.DataFrame({name: SIZE**power for power, name in enumerate(names, 1)})
    model = make_pipeline(make_column_transformer(("passthrough", names)), LinearRegression()).fit(frame, 2 * SIZE)
    path = SklearnToOnnx().convert(model, signature, tmp_path)
    loaded = plugins.load("fairlead.runtimes", "onnx")().load(
        Artefact("onnx", path, signature=signature), RuntimeOptions()
    )
    rows = {name: frame[name].to_numpy().reshape(-1, 1) for name in names}
    assert loaded.predict(rows, {})["prediction"] == pytest.approx(2 * SIZE, abs=1e-6)


def test_a_column_named_like_an_output_does_no_harm(tmp_path: Path) -> None:
    signature = Signature(
        inputs=(TensorSpec("label", DataType.FP64, (-1, 1), column=True),),
        outputs=(TensorSpec("prediction", DataType.FP64, (-1,)),),
    )
    model = LinearRegression().fit(pd.DataFrame({"label": SIZE}), 2 * SIZE)
    path = SklearnToOnnx().convert(model, signature, tmp_path)
    loaded = plugins.load("fairlead.runtimes", "onnx")().load(
        Artefact("onnx", path, signature=signature), RuntimeOptions()
    )
    assert loaded.predict({"label": SIZE.reshape(-1, 1)}, {})["prediction"] == pytest.approx(2 * SIZE, abs=1e-6)


def test_the_step_that_does_not_convert_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match=r"/ simpleimputer \(SimpleImputer\) cannot be converted to ONNX"):
        SklearnToOnnx().convert(pipeline(SimpleImputer(strategy="most_frequent")), SIGNATURE, tmp_path)


def test_a_newer_protobuf_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.adapters.converters.sklearn_onnx.version", lambda library: "7.34.1")
    with pytest.raises(BrokenModel, match=r"protobuf 7.34.1: pip install 'protobuf<7'"):
        SklearnToOnnx().convert(pipeline(), SIGNATURE, tmp_path)


def test_a_pipeline_becomes_an_mlflow_folder(tmp_path: Path) -> None:
    few = {name: array[:3] for name, array in ROWS.items()}
    folder = SklearnToMlflow().convert(pipeline(), SIGNATURE, tmp_path / "model", few)
    document = yaml.safe_load((folder / "MLmodel").read_text())
    found = from_mlmodel(document)
    assert found is not None
    assert found.inputs == as_mlflow_says(SIGNATURE)
    assert document["flavors"]["sklearn"]["serialization_format"] == "skops"
    assert all("==" in line for line in (folder / "requirements.txt").read_text().splitlines())
    example = examples.read(folder, document, SIGNATURE)
    assert example is not None
    assert example["colour"].tolist() == few["colour"].tolist()


def test_what_skops_cannot_write_is_told(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(lambda x: x), LinearRegression()).fit(SIZE.reshape(-1, 1), SIZE)
    signature = Signature((TensorSpec("input", DataType.FP64, (-1, 1)),))
    with pytest.raises(BrokenModel, match="a Pipeline cannot be saved as skops"):
        SklearnToMlflow().convert(model, signature, tmp_path / "model")


def test_a_full_disk_is_not_taken_for_a_wrong_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("skops does not support custom functions") from error

    monkeypatch.setattr("mlflow.sklearn.save_model", full)
    with pytest.raises(StorageFull, match="No space left on device; free some space"):
        SklearnToMlflow().convert(pipeline(), SIGNATURE, tmp_path / "model")


@pytest.mark.parametrize("table", [True, False])
def test_an_onnx_file_becomes_an_mlflow_folder(tmp_path: Path, table: bool) -> None:
    (tmp_path / "m.onnx").write_bytes(b"any bytes")
    signature, rows = SIGNATURE, ROWS
    if not table:
        signature = Signature((TensorSpec("x", DataType.FP32, (-1, 2)),), (TensorSpec("y", DataType.BYTES, (-1,)),))
        rows = {"x": np.array([[1, np.nan], [2, 3]], np.float32)}
    folder = OnnxToMlflow().convert(tmp_path / "m.onnx", signature, tmp_path / "model", rows)
    document = yaml.safe_load((folder / "MLmodel").read_text())
    found = from_mlmodel(document)
    assert found is not None
    assert found.inputs == as_mlflow_says(signature)
    assert (folder / "model.onnx").read_bytes() == b"any bytes"
    json.loads((folder / "input_example.json").read_text(), parse_constant=pytest.fail)
    example = examples.read(folder, document, signature)
    assert example is not None
    for name, array in rows.items():
        assert np.array_equal(example[name], array, equal_nan=array.dtype.kind == "f")


def test_an_onnx_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match="cannot be copied"):
        OnnxToMlflow().convert(tmp_path / "none.onnx", SIGNATURE, tmp_path / "model")
