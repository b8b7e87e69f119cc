"""A constant as an answer: checked against what the model gives, filled up to the rows of a call. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fairlead.contracts.errors import UsageError
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec

Constants = Mapping[str, Any]
"""By output: one value, or a list of them where a row has several."""


def one_row(signature: Signature, value: Constants) -> Tensors:
    """Each output for one row (for all, where the model knows no rows). Raises UsageError that names the output."""
    names = [spec.name for spec in signature.outputs]
    if not names:
        raise UsageError("value cannot be checked: the model does not say what it gives; declare its outputs")
    if sorted(value) != sorted(names):
        raise UsageError(f"value names {', '.join(value) or 'nothing'}; the model gives {', '.join(names)}")
    return {spec.name: _row(spec, value[spec.name], signature.batched) for spec in signature.outputs}


def filled(row: Tensors, rows: int, batched: bool) -> Tensors:
    """The same for so many rows."""
    if not batched:
        return {name: array.copy() for name, array in row.items()}
    return {name: np.broadcast_to(array, (rows, *array.shape)).copy() for name, array in row.items()}


def _row(spec: TensorSpec, value: Any, batched: bool) -> np.ndarray[Any, Any]:
    shape = spec.shape[1:] if batched else spec.shape
    what = f"value.{spec.name} is {value!r}, and the output is {spec.datatype.value} {list(spec.shape)}"
    one = np.array(value, object)
    if not all(_holds(spec.datatype, element) for element in one.reshape(-1).tolist()):
        raise UsageError(what)
    if one.ndim == 0 and -1 not in shape:
        return np.full(shape, value, spec.datatype.numpy)
    fits = one.ndim == len(shape) and all(has in (size, -1) for size, has in zip(one.shape, shape, strict=True))
    if not fits:
        free = "; say each value of its free dimension, in a list" if one.ndim == 0 else ""
        raise UsageError(f"{what}{free}")
    return one if spec.datatype is DataType.BYTES else one.astype(spec.datatype.numpy)


def _holds(datatype: DataType, value: Any) -> bool:
    """Whether an element of that type can be this value."""
    if datatype is DataType.BYTES:
        return isinstance(value, str)
    if datatype is DataType.BOOL:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if datatype.is_float:
        return bool(np.isfinite(np.float64(value)) and abs(value) <= float(np.finfo(datatype.numpy).max))
    bounds = np.iinfo(datatype.numpy)
    return float(value).is_integer() and bounds.min <= value <= bounds.max
