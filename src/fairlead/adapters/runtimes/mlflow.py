"""The ``mlflow`` runtime: any MLflow model folder through ``mlflow.pyfunc``.

It is the way for flavours that no other runtime reads. pyfunc may run code that lies in the folder and unpickles what
the folder holds, so it runs only for an artefact that somebody vouched for, or whose loader reads plain data.
"""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pandas as pd

from fairlead.contracts.errors import BrokenModel, MissingExtra, ModelFailed, Untrusted
from fairlead.contracts.runtime import Artefact, RuntimeOptions, Traits
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors, TensorSpec
from fairlead.kit.sentences import cause

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # mlflow warns of its own type hints when it is imported
    import mlflow.pyfunc

_PLAIN_LOADERS = ("mlflow.onnx", "mlflow.catboost")
"""Loaders of formats that hold no code: the rest unpickle, or believe a list of types in the folder itself."""


class MlflowRuntime:
    """Loads MLflow folders that have the ``python_function`` flavour."""

    def load(self, artefact: Artefact, options: RuntimeOptions) -> MlflowModel:  # noqa: ARG002 - it takes no options
        """Raises Untrusted when nobody vouched for the folder's code, BrokenModel or MissingExtra when it fails."""
        path = artefact.path
        if path is None or not (path / "MLmodel").is_file():
            raise BrokenModel(f"there is no MLflow model folder at {path}")
        flavor = artefact.details.get("mlmodel", {}).get("flavors", {}).get("python_function", {})
        loader = str(flavor.get("loader_module", ""))
        if not artefact.trusted and (loader not in _PLAIN_LOADERS or "code" in flavor):
            raise Untrusted(
                f"{path.name} is loaded by {loader or 'code of its own'}, which may run code that lies in the folder"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a version mismatch is told once, by the bundle's notes
                loaded = mlflow.pyfunc.load_model(str(path))
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"{path.name} needs the library {error.name!r}, which is not installed: pip install {error.name}"
            ) from error
        except Exception as error:  # a loader may raise anything
            raise BrokenModel(f"{path.name} cannot be loaded by mlflow.pyfunc: {cause(error)}") from error
        return MlflowModel(loaded, artefact.signature)


class MlflowModel:
    """A pyfunc behind the public signature; ``Signature.inputs`` is empty for a model that was logged without one.

    One call at a time: what a pyfunc does inside is not known to be thread-safe.
    """

    def __init__(self, loaded: Any, public: Signature | None) -> None:
        self.traits = Traits(platform="mlflow_pyfunc")
        self.signature = public or Signature((), batched=True)
        self._loaded: Any = loaded
        self._lock = threading.Lock()

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        if self._loaded is None:
            raise ModelFailed("the model was closed; load it again")
        data = _data(inputs, self.signature)
        declared = {spec.name for spec in self.signature.params}
        params = {name: value for name, value in parameters.items() if name in declared}
        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pyfunc repeats its hints on every call
            answer = self._loaded.predict(data, params=params or None)
        named = _named(answer, tuple(spec.name for spec in self.signature.outputs))
        specs = {spec.name: spec for spec in self.signature.outputs}
        return {name: _typed(value, specs.get(name)) for name, value in named.items()}

    def close(self) -> None:
        self._loaded = None


def _data(inputs: Tensors, signature: Signature) -> Any:
    """What pyfunc wants: a DataFrame for columns, an array for one unnamed tensor, a dict for named tensors."""
    if signature.tabular:
        return pd.DataFrame(
            {spec.name: _column(inputs[spec.name], spec) for spec in signature.inputs if spec.name in inputs}
        )
    arrays = {name: np.array(array) for name, array in inputs.items()}
    if len(arrays) == 1 and (signature.tensor or not signature.inputs):
        return next(iter(arrays.values()))
    if not signature.inputs and all(array.ndim == 1 or array.shape[1:] == (1,) for array in arrays.values()):
        return pd.DataFrame({name: array.reshape(-1) for name, array in arrays.items()})
    return arrays


def _column(array: np.ndarray[Any, Any], spec: TensorSpec) -> pd.Series[Any]:
    return pd.Series(array.reshape(-1), dtype=spec.datatype.numpy, copy=True)


def _named(answer: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Outputs by name, whatever pyfunc answers: a table, a dict of arrays, a list of records, an array, a list."""
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):
        answer = pd.DataFrame(answer)
    if isinstance(answer, pd.DataFrame):
        if len(names) == 1 and answer.shape[1] > 1:
            return {names[0]: answer.to_numpy()}
        columns = names if len(names) == answer.shape[1] else tuple(map(str, answer.columns))
        return {name: answer.iloc[:, place].to_numpy() for place, name in enumerate(columns)}
    if isinstance(answer, dict):
        return {str(name): np.asarray(value) for name, value in answer.items()}
    values = answer if isinstance(answer, tuple) else (answer,)
    if len(names) != len(values):
        names = ("output",) if len(values) == 1 else tuple(f"output_{index}" for index in range(len(values)))
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def _typed(array: np.ndarray[Any, Any], spec: TensorSpec | None) -> np.ndarray[Any, Any]:
    datatype = spec.datatype if spec else DataType.of(array.dtype)
    if spec and len(spec.shape) == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if datatype is DataType.BYTES and array.dtype.kind != "O":
        return array.astype(str).astype(object)
    return np.ascontiguousarray(array, datatype.numpy)
