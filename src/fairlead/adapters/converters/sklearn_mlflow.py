"""Fitted scikit-learn estimator to an MLflow folder: skops inside, a signature, an example, pinned requirements."""

from __future__ import annotations

import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io

from fairlead.contracts.errors import BrokenModel, StorageFull
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.kit.files import unwritable
from fairlead.kit.sentences import cause

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # mlflow warns of its own type hints when it is imported
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, Schema
    from mlflow.types import DataType as ColumnType
    from mlflow.types import ParamSpec as Param
    from mlflow.types import TensorSpec as Tensor

_LIBRARIES = ("scikit-learn", "skops", "numpy", "scipy", "pandas", "mlflow-skinny")
_METHOD = {"label": "predict", "prediction": "predict", "probabilities": "predict_proba"}


class SklearnToMlflow:
    """Entry point ``sklearn-mlflow``. ``into`` becomes the folder; it must be empty or absent."""

    def convert(self, model: Any, signature: Signature, into: Path, example: Tensors | None = None) -> Path:
        """Raises BrokenModel when a part of the estimator cannot be written as skops (lambdas, generators)."""
        mlflow_log = logging.getLogger("mlflow")
        level = mlflow_log.level
        mlflow_log.setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mlflow.sklearn.save_model(
                    model,
                    str(into),
                    serialization_format="skops",
                    signature=_signature(signature),
                    input_example=None if example is None else _table(example, signature),
                    pip_requirements=[f"{name}=={version(name)}" for name in _LIBRARIES],
                    pyfunc_predict_fn=_METHOD.get(next(iter(signature.prediction), "prediction"), "predict"),
                    skops_trusted_types=skops.io.get_untrusted_types(data=skops.io.dumps(model)),
                )
        except Exception as error:  # any part of a pipeline may refuse to be written
            if said := unwritable(error):  # MLflow takes a full disk for a model that skops cannot write
                raise StorageFull(f"a {type(model).__name__} cannot be saved: {said}; free some space") from error
            raise BrokenModel(f"a {type(model).__name__} cannot be saved as skops: {cause(error)}") from error
        finally:
            mlflow_log.setLevel(level)
        return into


_COLUMN = {
    DataType.INT64: ColumnType.long,
    DataType.UINT32: ColumnType.long,
    DataType.FP64: ColumnType.double,
    DataType.FP32: ColumnType.float,
    DataType.FP16: ColumnType.float,
    DataType.BF16: ColumnType.float,
    DataType.BOOL: ColumnType.boolean,
    DataType.BYTES: ColumnType.string,
    DataType.UINT64: ColumnType.long,
}


def _signature(signature: Signature) -> ModelSignature:
    answered = [spec for spec in signature.outputs if spec.name in signature.prediction] or list(signature.outputs)
    return ModelSignature(
        inputs=Schema([_input(spec, signature.tensor) for spec in signature.inputs]),
        outputs=Schema([_output(spec, len(answered) == 1) for spec in answered]) if answered else None,
        params=ParamSchema([Param(p.name, _column(p.datatype), p.default, p.shape) for p in signature.params])
        if signature.params
        else None,
    )


def _input(spec: TensorSpec, unnamed: bool) -> ColSpec | Tensor:
    if spec.column:
        return ColSpec(_column(spec.datatype), spec.name, required=spec.required)
    return Tensor(_dtype(spec), spec.shape, None if unnamed else spec.name)


def _output(spec: TensorSpec, alone: bool) -> ColSpec | Tensor:
    return Tensor(_dtype(spec), spec.shape, None if alone else spec.name)


def _column(datatype: DataType) -> ColumnType:
    return _COLUMN.get(datatype, ColumnType.integer)


def _dtype(spec: TensorSpec) -> np.dtype[Any]:
    return np.dtype("O") if spec.datatype is DataType.BYTES else spec.datatype.numpy


def _table(example: Tensors, signature: Signature) -> Any:
    if signature.tabular:
        return pd.DataFrame({spec.name: _values(example[spec.name], spec) for spec in signature.inputs})
    return next(iter(example.values())) if len(example) == 1 else dict(example)


def _values(array: np.ndarray[Any, Any], spec: TensorSpec) -> pd.Series[Any]:
    return pd.Series(array.reshape(-1), dtype=spec.datatype.numpy)
