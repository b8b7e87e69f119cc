"""A model file, as it is, to an MLflow model folder. Written by hand: neither mlflow nor the library is needed."""

from __future__ import annotations

import json
import platform
import shutil
import time
import uuid
import zipfile
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec

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
        said = {"onnx_version": _version("onnx") or "0", "providers": None, "code": None}
        flavor = _Flavor("onnx", "model.onnx", said, ("onnx", "onnxruntime", "numpy"))
        return _folder(flavor, model, signature, into, example)


class XgboostToMlflow:
    """Entry point ``xgboost-mlflow``. For MLflow a classifier is an ``XGBClassifier``, anything else a ``Booster``."""

    def convert(self, model: Any, signature: Signature, into: Path, example: Tensors | None = None) -> Path:
        """``model``: path of a file of ``save_model``. Raises BrokenModel when it cannot be read."""
        suffix = "json" if _is_json(model) else "ubj"
        labels = any(spec.name == "label" for spec in signature.outputs)
        said = {
            "model_class": "xgboost.sklearn.XGBClassifier" if labels else "xgboost.core.Booster",
            "model_format": suffix,
            "xgb_version": _version("xgboost") or _version("xgboost-cpu") or "0",
            "code": None,
        }
        libraries = ("xgboost", "xgboost-cpu", "scikit-learn", "numpy", "pandas")
        return _folder(_Flavor("xgboost", f"model.{suffix}", said, libraries), model, signature, into, example)


class LightgbmToMlflow:
    """Entry point ``lightgbm-mlflow``. For MLflow it is a ``Booster``: it answers what ``Booster.predict`` does."""

    def convert(self, model: Any, signature: Signature, into: Path, example: Tensors | None = None) -> Path:
        """``model``: path of a file of ``save_model``. Raises BrokenModel when it cannot be read."""
        said = {"model_class": "lightgbm.basic.Booster", "lgb_version": _version("lightgbm") or "0", "code": None}
        flavor = _Flavor("lightgbm", "model.lgb", said, ("lightgbm", "numpy", "pandas"))
        return _folder(flavor, model, signature, into, example)


class LitertToMlflow:
    """Entry point ``litert-mlflow``. MLflow has no flavor for it: the folder is kept there, and loaded here."""

    def convert(self, model: Any, signature: Signature, into: Path, example: Tensors | None = None) -> Path:
        """``model``: path of a ``.tflite`` file. Raises BrokenModel when it cannot be read."""
        said = {"litert_version": _version("ai-edge-litert") or "0"}
        flavor = _Flavor("litert", "model.tflite", said, ("ai-edge-litert", "numpy"), pyfunc=False)
        return _folder(flavor, model, signature, into, example)


class TorchToMlflow:
    """Entry point ``torch-mlflow``. MLflow's own flavor is a pickled module: the folder is kept there, loaded here."""

    def convert(self, model: Any, signature: Signature, into: Path, example: Tensors | None = None) -> Path:
        """``model``: path of a ``.pt2`` or TorchScript file. Raises BrokenModel when it cannot be read."""
        suffix = "pt" if _is_script(model) else "pt2"
        flavor = _Flavor("torch", f"model.{suffix}", {"torch_version": _version("torch") or "0"}, ("torch", "numpy"))
        return _folder(replace(flavor, pyfunc=False), model, signature, into, example)


@dataclass(frozen=True, slots=True)
class _Flavor:
    """``file``: the model's name in the folder.  ``said``: what the MLmodel says of it beside.

    ``libraries``: pinned in the requirements, those that are installed.  ``pyfunc``: MLflow has a loader for it.
    """

    name: str
    file: str
    said: dict[str, Any]
    libraries: tuple[str, ...]
    pyfunc: bool = True


def _folder(flavor: _Flavor, model: Any, signature: Signature, into: Path, example: Tensors | None) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(model, into / flavor.file)
    except OSError as error:
        raise BrokenModel(f"{model} cannot be copied: {error.strerror or error}") from error
    requirements = [f"{name}=={found}" for name in flavor.libraries if (found := _version(name))]
    (into / "requirements.txt").write_text("\n".join(requirements) + "\n")
    document = _mlmodel(flavor, signature)
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


def _mlmodel(flavor: _Flavor, signature: Signature) -> dict[str, Any]:
    pyfunc = {
        "loader_module": f"mlflow.{flavor.name}",
        "data": flavor.file,
        "env": {"virtualenv": "requirements.txt"},
        "python_version": platform.python_version(),
    }
    return {
        "flavors": {
            flavor.name: {"data": flavor.file, **flavor.said},
            **({"python_function": pyfunc} if flavor.pyfunc else {}),
        },
        "model_uuid": uuid.uuid4().hex,
        "signature": {
            "inputs": json.dumps([_spec(spec, signature.tensor) for spec in signature.inputs]),
            "outputs": json.dumps([_spec(spec, unnamed=False) for spec in signature.outputs]) or None,
            "params": None,
        },
        "utc_time_created": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
    }


def _is_json(model: Any) -> bool:
    """XGBoost's own text, not its UBJSON: a brace, and then white space or the first key."""
    try:
        with Path(model).open("rb") as handle:
            return handle.read(2)[1:] in (b'"', b" ", b"\n", b"\r", b"\t")
    except OSError as error:
        raise BrokenModel(f"{model} cannot be copied: {error.strerror or error}") from error


def _is_script(model: Any) -> bool:
    """TorchScript, not an archive of torch.export: there is code in it."""
    try:
        with zipfile.ZipFile(model) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise BrokenModel(f"{model} cannot be read: {error}") from error


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
