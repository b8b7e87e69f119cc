"""Is this what the model takes? Names, datatypes, shapes, rows and missing values of a call, checked once.

Casts are safe ones: integers to wider integers and to floats; floats among each other, refused where a finite value
would become infinite; integers to narrower integers and floats to integers only where every value stays what it is.
Nothing becomes a boolean or a string, and neither becomes a number.

A missing value is None or NaN, and for a column whose signature says what stands for a missing value also the empty
string. It becomes what the signature says, or is refused. An optional column that is absent is filled the same way.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import InvalidParameter, InvalidTensor
from fairlead.contracts.types import DataType, Missing, ParamSpec, Signature, Tensors, TensorSpec
from fairlead.kit.codec.tensors import Null, datatype_of, json_kind, missing
from fairlead.kit.config import nearest

Array = np.ndarray[Any, Any]
Scalar = str | int | float | bool

_MAPPED: Final = (Missing.NAN, Missing.NONE, Missing.VALUE)
_PLANS_KEPT: Final = 512


def stand_in(spec: TensorSpec) -> Any:
    """What a missing value of this input becomes; ``Null.REFUSE`` where it is refused."""
    text = spec.datatype is DataType.BYTES
    match spec.missing:
        case Missing.VALUE:
            return spec.missing_value
        case Missing.NAN if text or spec.datatype.is_float:
            return math.nan
        case Missing.NONE if text:
            return None
        case Missing.UNKNOWN if not spec.required and text:
            return None
        case Missing.UNKNOWN if not spec.required and spec.datatype.is_float:
            return math.nan
    return Null.REFUSE


class Slot:
    """One input, with everything that a call's tensor is compared to worked out beforehand."""

    __slots__ = ("blank", "datatype", "dtype", "free", "name", "null", "plain", "shape", "spec", "tail")

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.datatype = spec.datatype
        self.dtype = spec.datatype.numpy
        self.shape = spec.shape
        self.tail = spec.shape[1:]
        self.free = bool(spec.shape) and spec.shape[0] == -1 and -1 not in self.tail
        """Only the first dimension is free: the common shape, compared in one step."""
        self.null = stand_in(spec)
        self.blank = spec.missing in _MAPPED and self.null is not Null.REFUSE
        """The empty string means a missing value."""
        self.plain = spec.datatype is not DataType.BYTES and not (
            spec.datatype.is_float and spec.missing in (Missing.FORBID, Missing.VALUE)
        )
        """No value needs a look."""

    def fits(self, shape: tuple[int, ...]) -> bool:
        if self.free:
            return shape[1:] == self.tail and len(shape) > 0
        return len(shape) == len(self.shape) and all(
            want == have or (want == -1 and have >= 0) for want, have in zip(self.shape, shape, strict=True)
        )

    def admit(self, array: Array) -> Array:
        """The tensor as the model takes it; the same object where nothing is to change."""
        if array.dtype != self.dtype:
            array = cast(self._gaps_filled(array), self.datatype, self.name)
        shape = array.shape
        if not self.fits(shape):
            if not (self.spec.column and len(shape) == 1):
                raise InvalidTensor(
                    f"tensor {self.name!r}: expected shape {list(self.shape)}, found {list(shape)} (-1 is any size)"
                )
            array = array.reshape(-1, 1)
        if not self.plain:
            array = self._values(array)
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)

    def _gaps_filled(self, array: Array) -> Array:
        """NaN says missing for an integer column too: a data frame has no other way."""
        if array.dtype.kind != "f" or self.dtype.kind not in "iu" or self.null is Null.REFUSE:
            return array
        return np.where(np.isnan(array), self.null, array)

    def absent(self, rows: int) -> Array | None:
        """The column of an optional input that was not sent; None where nothing can stand for it."""
        if self.null is Null.REFUSE:
            return None
        shape = tuple(rows if axis == 0 else max(size, 1) for axis, size in enumerate(self.shape))
        return np.full(shape, self.null, self.dtype)

    def refuse_missing(self, index: int) -> InvalidTensor:
        return InvalidTensor(
            f"tensor {self.name!r}: value {index} is missing (null or NaN), and the model takes no missing value there"
        )

    def _values(self, array: Array) -> Array:
        if self.datatype is DataType.BYTES:
            return self._strings(array)
        gaps = np.isnan(array)
        if not gaps.any():
            return array
        if self.null is Null.REFUSE:
            raise self.refuse_missing(int(gaps.argmax()))
        return np.where(gaps, np.asarray(self.null, self.dtype), array)

    def _strings(self, array: Array) -> Array:
        values = array.ravel().tolist()
        if set(map(type, values)) <= {str} and not (self.blank and "" in values):
            return array
        result = np.empty(len(values), object)
        for index, value in enumerate(values):
            if missing(value) or (self.blank and value == ""):
                if self.null is Null.REFUSE:
                    raise self.refuse_missing(index)
                result[index] = self.null
            elif isinstance(value, str | bytes):
                result[index] = value
            else:
                raise InvalidTensor(
                    f"tensor {self.name!r}: expected BYTES, found {type(value).__name__} at value {index}"
                )
        return result.reshape(array.shape)


class Plan:
    """What a signature's calls are checked against."""

    __slots__ = ("batched", "json", "only", "params", "signature", "slots")

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.batched = signature.batched
        self.slots = {spec.name: Slot(spec) for spec in signature.inputs}
        self.only = next(iter(self.slots.values())) if len(self.slots) == 1 else None
        self.params = {spec.name: spec for spec in signature.params}
        kinds = {slot.datatype for slot in self.slots.values()}
        self.json = kinds.pop() if len(kinds) == 1 else None
        """The datatype of every input, where they all have the same."""

    def finish(self, given: Tensors) -> Tensors:
        """Admitted tensors -> the call's: nothing missing, absent columns filled, as many rows everywhere."""
        if self.only is not None and given:
            if self.batched:
                self._rows(given)
            return given
        inputs: Tensors = {}
        rows = self._rows(given) if self.batched and given else 1
        for name, slot in self.slots.items():
            array = given.get(name)
            if array is None:
                if slot.spec.required:
                    raise InvalidTensor(f"missing input {name!r}; the model takes {listed(self.slots)}")
                array = slot.absent(rows)
                if array is None:
                    continue
            inputs[name] = array
        return inputs

    def slot(self, name: str, given: Tensors) -> Slot:
        """The input of this name. Raises InvalidTensor for one that the model does not take, or that was given."""
        slot = self.slots.get(name)
        if slot is None:
            raise self.unknown(name)
        if name in given:
            raise InvalidTensor(f"input {name!r} is given twice")
        return slot

    def unknown(self, name: str) -> InvalidTensor:
        known = tuple(self.slots)
        return InvalidTensor(
            f"unknown input {name!r}{nearest(name, known) or '; the model takes ' + listed(self.slots)}"
        )

    @staticmethod
    def _rows(given: Tensors) -> int:
        rows, first = -1, ""
        for name, array in given.items():
            count = array.shape[0] if array.ndim else 1
            if rows < 0:
                rows, first = count, name
            elif count != rows:
                raise InvalidTensor(f"tensor {name!r}: expected {rows} rows as in {first!r}, found {count}")
        return rows


_plans: dict[int, Plan] = {}


def plan_of(signature: Signature) -> Plan:
    """The plan of a signature, made once for each object; a plan keeps its signature, so an id is never reused."""
    plan = _plans.get(id(signature))
    if plan is None:
        if len(_plans) >= _PLANS_KEPT:
            _plans.clear()
        plan = _plans[id(signature)] = Plan(signature)
    return plan


def validate(inputs: Tensors, signature: Signature) -> Tensors:
    """The inputs as the model takes them: contiguous arrays of the signature's dtypes, copied only where they are not.

    Raises InvalidTensor that names the tensor, what was expected and what was found.
    """
    plan = plan_of(signature)
    slots = plan.slots
    admitted: Tensors = {}
    for name, array in inputs.items():
        slot = slots.get(name)
        if slot is None:
            raise plan.unknown(name)
        admitted[name] = slot.admit(array)
    return plan.finish(admitted)


def parameters(given: Mapping[str, Any] | None, signature: Signature) -> dict[str, Scalar]:
    """Request parameters: scalars, and of the right kind where the model declares them; others pass as they are."""
    if not given:
        return {}
    declared = plan_of(signature).params
    checked: dict[str, Scalar] = {}
    for name, value in given.items():
        spec = declared.get(name)
        if spec is not None:
            _check_parameter(spec, value)
        if not isinstance(value, str | int | float):
            raise InvalidParameter(
                f"parameter {name!r}: expected a string, number or boolean, found {json_kind(value)}"
            )
        checked[name] = value
    return checked


def _check_parameter(spec: ParamSpec, value: Any) -> None:
    kind = spec.datatype
    if spec.shape is not None:
        fine = isinstance(value, str | int | float)
    elif kind is DataType.BYTES:
        fine = isinstance(value, str)
    elif kind is DataType.BOOL:
        fine = isinstance(value, bool)
    else:
        fine = isinstance(value, int | float if kind.is_float else int) and not isinstance(value, bool)
    if not fine:
        raise InvalidParameter(f"parameter {spec.name!r}: expected {kind.value}, found {json_kind(value)}")


def cast(array: Array, datatype: DataType, name: str) -> Array:
    """The array in the datatype's dtype. Raises InvalidTensor where a value would not stay what it is."""
    source, target = array.dtype, datatype.numpy
    if source == target:
        return array
    if datatype is DataType.BYTES and source.kind in "US":
        return array.astype(object)
    if source.kind not in "iuf" or target.kind not in "iuf":
        found = datatype_of(array) if source.kind in "biufOUS" else str(source)
        raise InvalidTensor(f"tensor {name!r}: expected {datatype.value}, found {found}")
    if np.can_cast(source, target):
        return array.astype(target)
    if target.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # a NaN that signals becomes a quiet one
            result: Array = array.astype(target)
        bad = np.isinf(result) & ~np.isinf(array)
    else:
        info = np.iinfo(target)
        bad = (array < info.min) | (array > info.max)
        if source.kind == "f":
            bad |= (array != np.floor(array)) | (array >= float(info.max) + 1) | np.isnan(array)
        result = np.where(bad, 0, array).astype(target)
    if bad.any():
        index = int(bad.argmax())
        raise InvalidTensor(
            f"tensor {name!r}: expected {datatype.value}, found {datatype_of(array)} with value {index} = "
            f"{array.ravel()[index]}, which {datatype.value} cannot hold"
        )
    return result


def listed(names: Collection[str], most: int = 12) -> str:
    """Names for a sentence, the first dozen of them."""
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more
