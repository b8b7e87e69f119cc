"""The input example that MLflow keeps with a model, as tensors. No pandas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.package.manifest import inside

_LARGEST = 64 << 20


def read(folder: Path, mlmodel: Mapping[str, Any], signature: Signature) -> Tensors | None:
    """Arrays as ``signature`` wants them, rows on axis 0. None when there is no example or it does not fit."""
    info = mlmodel.get("saved_input_example_info")
    named = [info.get("artifact_path"), info.get("serving_input_path")] if isinstance(info, Mapping) else []
    for name in [*named, "input_example.json", "serving_input_example.json"]:
        try:
            path = inside(folder, str(name))
            if name and path.is_file() and path.stat().st_size <= _LARGEST:
                return tensors(json.loads(path.read_bytes()), signature)
        except (FairleadError, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError):
            continue
    return None


def tensors(document: Any, signature: Signature) -> Tensors:
    """Any of MLflow's example documents. Raises ValueError, TypeError, KeyError or IndexError when it does not fit."""
    if isinstance(document, dict):
        for wrapper in ("dataframe_split", "dataframe_records", "inputs", "instances"):
            if wrapper in document:
                return tensors(document[wrapper], signature)
        if set(document) >= {"columns", "data"}:
            return _columns(_transposed(document["columns"], document["data"]), signature)
        return _columns(document, signature)
    if isinstance(document, list) and document and all(isinstance(row, dict) for row in document):
        return _columns({name: [row.get(name) for row in document] for name in document[0]}, signature)
    if len(signature.inputs) == 1:
        return {signature.inputs[0].name: _array(document, signature.inputs[0])}
    return _columns(_transposed([spec.name for spec in signature.inputs], document), signature)


def _transposed(names: list[str], rows: list[list[Any]]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _columns(columns: Mapping[str, Any], signature: Signature) -> Tensors:
    if len(signature.inputs) == 1 and signature.inputs[0].name not in columns and not signature.tabular:
        only = signature.inputs[0]  # a table that a matrix signature was inferred from
        return {only.name: _array(np.column_stack([*columns.values()]).tolist(), only)}
    wanted = [spec for spec in signature.inputs if spec.required or spec.name in columns]
    return {spec.name: _array(columns[spec.name], spec) for spec in wanted}


def _array(values: Any, spec: TensorSpec) -> np.ndarray[Any, Any]:
    if spec.datatype is DataType.BYTES:
        array = np.asarray(values, dtype=object)
    elif spec.datatype.is_float:
        array = np.asarray(values, dtype=np.float64).astype(spec.datatype.numpy)  # None becomes NaN
    else:
        array = np.asarray(values).astype(spec.datatype.numpy, casting="same_kind")
    if spec.column or (array.ndim == 1 and len(spec.shape) == 2 and spec.shape[1] == 1):
        array = array.reshape(-1, 1)
    if array.ndim != len(spec.shape) or any(
        want not in (-1, got) for want, got in zip(spec.shape, array.shape, strict=True)
    ):
        raise ValueError(f"{spec.name}: shape {array.shape} is not {spec.shape}")
    return np.ascontiguousarray(array)
