"""One real row of an endpoint, written in every protocol: what the docs page and the OpenAPI document show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.kit.codec import tensors
from fairlead.kit.codec.tensors import Null
from fairlead.serve.validate import stand_in

Array = np.ndarray[Any, Any]

_SHORT: Final = (np.float16, np.float32)
LARGE: Final = 2_000
"""Values; a row with more is shown as raw zeros instead of JSON."""


@dataclass(frozen=True, slots=True)
class Described:
    """A live endpoint as its documentation needs it.

    ``version`` answers calls that name none; ``versions`` are all that are live.  ``platform``: the OIP string.
    ``example``: arrays per the signature, rows on axis 0; without one a row is made up from the signature.
    ``explained``: whether ``:explain`` answers.
    """

    name: str
    version: str
    versions: tuple[str, ...]
    platform: str
    signature: Signature
    example: Tensors | None = None
    explained: bool = False


def row(described: Described) -> Tensors:
    """One row, without missing values where there is such a row."""
    signature = described.signature
    given = described.example or {}
    made_up = {spec.name: _made_up(spec) for spec in signature.inputs}
    if set(given) != set(made_up) or any(array.size == 0 for array in given.values()):
        return made_up
    if not signature.batched:
        return dict(given)
    index = _whole_row(given)
    return {
        spec.name: _filled(given[spec.name][index : index + 1], made_up[spec.name], spec) for spec in signature.inputs
    }


def large(described: Described) -> bool:
    """Whether a row is too long to be shown as JSON."""
    return sum(array.size for array in row(described).values()) > LARGE


def v2(described: Described) -> dict[str, Any]:
    """The Open Inference Protocol V2 request."""
    inputs = [
        {
            "name": spec.name,
            "shape": list(array.shape),
            "datatype": spec.datatype.value,
            "data": _flat(array, spec.name),
        }
        for spec, array in _paired(described)
    ]
    return {"inputs": inputs}


def rows(described: Described) -> list[Any]:
    """The row as ``instances`` and ``dataframe_records`` take it."""
    signature = described.signature
    paired = _paired(described)
    if signature.tabular or len(paired) > 1:
        return [{spec.name: _nested(spec, array) for spec, array in paired}]
    return [_nested(spec, array) for spec, array in paired]


def v1(described: Described) -> dict[str, Any]:
    """The KServe V1 request."""
    return {"instances": rows(described)}


def invocations(described: Described) -> dict[str, Any]:
    """The MLflow request."""
    return {"dataframe_records" if described.signature.tabular else "instances": rows(described)}


def _paired(described: Described) -> list[tuple[TensorSpec, Array]]:
    arrays = row(described)
    return [(spec, arrays[spec.name]) for spec in described.signature.inputs]


def plain(array: Array, name: str) -> Any:
    """Nested lists of JSON values."""
    flat = np.empty(array.size, object)
    flat[:] = _flat(array, name)
    return flat.reshape(array.shape).tolist()


def _flat(array: Array, name: str) -> list[Any]:
    """JSON values; short floats as short as their own precision needs."""
    values = tensors.to_json(array, name)
    return [float(str(value)) for value in array.ravel()] if array.dtype in _SHORT else values


def _nested(spec: TensorSpec, array: Array) -> Any:
    values = plain(array, spec.name)
    first = values[0] if array.ndim else values
    return first[0] if spec.column and isinstance(first, list) else first


def _whole_row(given: Tensors) -> int:
    count = min(array.shape[0] for array in given.values())
    for index in range(count):
        if not any(_gap(value) for array in given.values() for value in array[index : index + 1].ravel().tolist()):
            return index
    return 0


def _filled(array: Array, made_up: Array, spec: TensorSpec) -> Array:
    """Without the missing values that the model would refuse."""
    if stand_in(spec) is not Null.REFUSE or not any(map(_gap, array.ravel().tolist())):
        return array
    return made_up if made_up.shape == array.shape else np.nan_to_num(array)


def _gap(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _made_up(spec: TensorSpec) -> Array:
    shape = tuple(max(size, 1) for size in spec.shape)
    return np.full(shape, "text" if spec.datatype is DataType.BYTES else 0, spec.datatype.numpy)
