"""The records that a model, a call and a reply are made of.

Arrays: a tensor is a numpy array in row-major order. BYTES tensors are object arrays whose elements are ``str``
(``bytes`` where the value is not UTF-8). In a batched model the first dimension of every tensor counts rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

Tensors = dict[str, np.ndarray[Any, Any]]
"""Tensor name to array."""

Parameters = Mapping[str, str | int | float | bool]
"""Request parameters of the Open Inference Protocol: flat, scalars only."""


class DataType(StrEnum):
    """Datatypes of the Open Inference Protocol V2, plus Triton's BF16 (binary only)."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    BYTES = "BYTES"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype that holds it (BYTES: object; BF16: uint16 bit patterns are widened to float32)."""
        return _NUMPY[self]

    @property
    def is_float(self) -> bool:
        return self in (DataType.FP16, DataType.FP32, DataType.FP64, DataType.BF16)

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> DataType:
        """The datatype of an array. Raises ValueError for a dtype the protocol cannot name."""
        if dtype.kind in "OUS":
            return cls.BYTES
        try:
            return _DATATYPE[dtype.newbyteorder("=")]
        except KeyError:
            raise ValueError(f"numpy dtype {dtype} has no datatype in the Open Inference Protocol") from None


_NUMPY: dict[DataType, np.dtype[Any]] = {
    DataType.BOOL: np.dtype(np.bool_),
    DataType.UINT8: np.dtype(np.uint8),
    DataType.UINT16: np.dtype(np.uint16),
    DataType.UINT32: np.dtype(np.uint32),
    DataType.UINT64: np.dtype(np.uint64),
    DataType.INT8: np.dtype(np.int8),
    DataType.INT16: np.dtype(np.int16),
    DataType.INT32: np.dtype(np.int32),
    DataType.INT64: np.dtype(np.int64),
    DataType.FP16: np.dtype(np.float16),
    DataType.FP32: np.dtype(np.float32),
    DataType.FP64: np.dtype(np.float64),
    DataType.BF16: np.dtype(np.float32),
    DataType.BYTES: np.dtype(object),
}
_DATATYPE = {dtype: name for name, dtype in _NUMPY.items() if name not in (DataType.BYTES, DataType.BF16)}


class Missing(StrEnum):
    """What a null, a blank or an absent value becomes before the model sees it."""

    UNKNOWN = "unknown"  # nobody said: null is refused, NaN in a float tensor passes as it is
    FORBID = "forbid"  # the model cannot take it: null and NaN are refused
    NAN = "nan"  # float NaN (in a BYTES tensor: float NaN inside the object array)
    NONE = "none"  # Python None (BYTES only)
    VALUE = "value"  # the token or number in ``TensorSpec.missing_value``


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output. ``shape``: -1 is a free dimension; the first one counts rows in a batched model.

    ``column`` marks one column of a table: shape [-1, 1], and [n] is accepted for it.
    """

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    column: bool = False
    required: bool = True
    missing: Missing = Missing.UNKNOWN
    missing_value: str | float | int | bool | None = None


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """A named inference parameter with its default (MLflow ``signature.params``)."""

    name: str
    datatype: DataType
    default: Any = None
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives.

    ``batched``: the first dimension of every input and output counts rows, so calls may ride together.
    ``prediction``: names of the outputs that MLflow's pyfunc would return (what /invocations and V1 answer);
    empty means all.
    ``tensor``: the pyfunc input is one unnamed tensor, not a table.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    params: tuple[ParamSpec, ...] = ()
    batched: bool = True
    prediction: tuple[str, ...] = ()
    tensor: bool = False

    @property
    def tabular(self) -> bool:
        """True when every input is a column of a table."""
        return bool(self.inputs) and all(spec.column for spec in self.inputs)


class Timing(NamedTuple):
    """What happened to a call, in seconds. ``rows`` is the size of the (last) batch it rode in.

    ``steps``: by name, where a graph answered.
    """

    queue: float = 0.0
    compute: float = 0.0
    rows: int = 0
    steps: tuple[tuple[str, float], ...] = ()


class Reply(NamedTuple):
    """The answer to one call: all rows of the call, in its own order.

    ``degraded``: what of it is a fallback's, and why, ``STEP=CODE, ...``; empty for nothing.
    """

    outputs: Tensors
    endpoint: str
    version: str
    timing: Timing = Timing()
    degraded: str = ""
