"""Signatures: read from an ``MLmodel`` document, and to and from plain dictionaries (the manifest)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, Missing, ParamSpec, Signature, TensorSpec

_COLUMN = {
    "long": DataType.INT64,
    "integer": DataType.INT32,
    "double": DataType.FP64,
    "float": DataType.FP32,
    "string": DataType.BYTES,
    "boolean": DataType.BOOL,
    "datetime": DataType.BYTES,  # ISO 8601
    "binary": DataType.BYTES,
}


def from_mlmodel(document: Mapping[str, Any]) -> Signature | None:
    """The signature that an ``MLmodel`` document carries.

    Columns become one [-1, 1] input each; an output column is [-1]. Null in a column of floats is NaN, as pyfunc reads
    it; what stands for a missing string only who fitted the model knows, so there null is refused.

    None when there is no signature, or when an input has a type that no tensor can carry (MLflow's array, object, map,
    any). Raises BrokenModel when it does not parse.
    """
    raw = document.get("signature")
    if not isinstance(raw, Mapping):
        return None
    try:
        inputs = _specs(raw.get("inputs"), "input")
        outputs = _specs(raw.get("outputs"), "output")
        params = tuple(_param(entry) for entry in _entries(raw.get("params")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenModel(
            f"MLmodel: the signature does not parse ({error}); log the model again with a signature"
        ) from None
    if not inputs:
        return None
    return Signature(
        inputs=inputs,
        outputs=outputs or (),
        params=params,
        batched=all(spec.shape[:1] == (-1,) for spec in (*inputs, *(outputs or ()))),
        tensor=_is_one_unnamed_tensor(_entries(raw.get("inputs"))),
    )


def to_dict(signature: Signature) -> dict[str, Any]:
    """Plain JSON-able values; ``from_dict`` is its inverse."""
    return asdict(signature)


def from_dict(document: Mapping[str, Any]) -> Signature:
    """Raises BrokenModel when the dictionary is not one that ``to_dict`` gives."""
    try:
        return Signature(
            inputs=tuple(_spec_from(entry) for entry in document["inputs"]),
            outputs=tuple(_spec_from(entry) for entry in document["outputs"]),
            params=tuple(_param_from(entry) for entry in document["params"]),
            batched=bool(document["batched"]),
            prediction=tuple(str(name) for name in document["prediction"]),
            tensor=bool(document["tensor"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenModel(f"the signature does not parse ({error!r}); package the model again") from None


def _entries(raw: Any) -> list[Any]:
    return (json.loads(raw) if isinstance(raw, str) else raw) or []


def _specs(raw: Any, default_name: str) -> tuple[TensorSpec, ...] | None:
    entries = _entries(raw)
    specs = [_spec(entry, index, len(entries), default_name) for index, entry in enumerate(entries)]
    known = tuple(spec for spec in specs if spec is not None)
    return known if len(known) == len(specs) else None


def _spec(entry: Mapping[str, Any], index: int, count: int, default_name: str) -> TensorSpec | None:
    name = str(entry.get("name", default_name if count == 1 else index))
    required = bool(entry.get("required", not entry.get("optional", False)))
    if entry["type"] == "tensor":
        tensor = entry["tensor-spec"]
        datatype = DataType.of(np.dtype(tensor["dtype"]))
        return TensorSpec(name, datatype, tuple(int(size) for size in tensor["shape"]), required=required)
    column = _COLUMN.get(entry["type"])
    if column is None:
        return None
    if default_name == "output":
        return TensorSpec(name, column, (-1,), required=required)
    missing = Missing.NAN if column.is_float else Missing.UNKNOWN
    return TensorSpec(name, column, (-1, 1), column=True, required=required, missing=missing)


def _is_one_unnamed_tensor(entries: list[Any]) -> bool:
    return len(entries) == 1 and entries[0]["type"] == "tensor" and "name" not in entries[0]


def _param(entry: Mapping[str, Any]) -> ParamSpec:
    shape = entry.get("shape")
    datatype = _COLUMN[entry.get("type") or entry["dtype"]]
    return ParamSpec(str(entry["name"]), datatype, entry.get("default"), None if shape is None else tuple(shape))


def _spec_from(entry: Mapping[str, Any]) -> TensorSpec:
    typed = {"datatype": DataType(entry["datatype"]), "shape": tuple(int(size) for size in entry["shape"])}
    return TensorSpec(**{**entry, **typed, "missing": Missing(entry.get("missing", Missing.UNKNOWN))})


def _param_from(entry: Mapping[str, Any]) -> ParamSpec:
    shape = entry.get("shape")
    typed = {"datatype": DataType(entry["datatype"]), "shape": None if shape is None else tuple(shape)}
    return ParamSpec(**{**entry, **typed})
