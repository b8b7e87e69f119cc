"""ONNX file to an MLflow model folder, written by hand: neither mlflow nor onnx need be installed."""

from __future__ import annotations

import json
import platform
import shutil
import time
import uuid
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec

_LIBRARIES = ("onnx", "onnxruntime", "numpy")
_COLUMN = {
    DataType.INT64: "long",
    DataType.UINT32: "long",
    DataType.UINT64: "long",
    DataType.FP64: "double",
    DataType.FP32: "float",
    DataType.FP16: "float",
    DataType.BF16: "float",
    DataType.BOOL: "boolean",
    DataType.BYTES: "string",
}


class OnnxToMlflow:
    """Entry point ``onnx-mlflow``. ``into`` becomes the folder; weights beside the graph are for the caller to copy."""

    def convert(self, model: Any, signature: Signature, into: Path, example: Tensors | None = None) -> Path:
        """``model``: path of the ``.onnx`` file. Raises BrokenModel when it cannot be read."""
        into.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(model, into / "model.onnx")
        except OSError as error:
            raise BrokenModel(f"{model} cannot be copied: {error.strerror or error}") from error
        requirements = [f"{name}=={found}" for name in _LIBRARIES if (found := _version(name))]
        (into / "requirements.txt").write_text("\n".join(requirements) + "\n")
        document = _mlmodel(signature)
        if example is not None:
            (into / "input_example.json").write_text(json.dumps(_example(example, signature)))
            table = signature.tabular
            document["saved_input_example_info"] = {
                "artifact_path": "input_example.json",
                "type": "dataframe" if table else "ndarray",
                **({"pandas_orient": "split"} if table else {"format": "tf-serving"}),
            }
        (into / "MLmodel").write_text(yaml.safe_dump(document, sort_keys=True))
        return into


def _mlmodel(signature: Signature) -> dict[str, Any]:
    return {
        "flavors": {
            "onnx": {"data": "model.onnx", "onnx_version": _version("onnx") or "0", "providers": None, "code": None},
            "python_function": {
                "loader_module": "mlflow.onnx",
                "data": "model.onnx",
                "env": {"virtualenv": "requirements.txt"},
                "python_version": platform.python_version(),
            },
        },
        "model_uuid": uuid.uuid4().hex,
        "signature": {
            "inputs": json.dumps([_spec(spec, signature.tensor) for spec in signature.inputs]),
            "outputs": json.dumps([_spec(spec, unnamed=False) for spec in signature.outputs]) or None,
            "params": None,
        },
        "utc_time_created": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
    }


def _spec(spec: TensorSpec, unnamed: bool) -> dict[str, Any]:
    if spec.column:
        return {"name": spec.name, "type": _COLUMN.get(spec.datatype, "integer"), "required": spec.required}
    dtype = "object" if spec.datatype is DataType.BYTES else spec.datatype.numpy.name
    named = {} if unnamed else {"name": spec.name}
    return {**named, "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(spec.shape)}}


def _example(example: Tensors, signature: Signature) -> dict[str, Any]:
    if not signature.tabular:
        values = {name: _values(array) for name, array in example.items()}
        return {"inputs": next(iter(values.values())) if signature.tensor else values}
    names = [spec.name for spec in signature.inputs]
    columns = [_values(example[name].reshape(-1)) for name in names]
    return {"columns": names, "data": [list(row) for row in zip(*columns, strict=True)]}


def _values(array: np.ndarray[Any, Any]) -> Any:
    """Lists for JSON: what is missing becomes null."""
    values = array.astype(object)
    values[array != array] = None  # noqa: PLR0124 - NaN is what differs from itself, in object arrays too
    return values.tolist()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
