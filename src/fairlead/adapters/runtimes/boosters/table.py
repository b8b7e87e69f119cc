"""From the tensors of a call to the one matrix that a booster takes: columns side by side, categories as codes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.contracts.errors import BrokenModel, InvalidTensor
from fairlead.contracts.types import DataType, Missing, Tensors, TensorSpec

Array = np.ndarray[Any, Any]
Feed = Callable[[Tensors], Array]


@dataclass(frozen=True, slots=True)
class Categories:
    """What a categorical feature was fitted on. ``values``: all strings, or all numbers, in the order of their codes.

    ``strict``: a value that is not among them is an error; else it counts as missing, as the library has it. None, NaN
    and the empty string are missing.
    """

    values: tuple[str, ...] | tuple[float, ...]
    strict: bool

    @property
    def text(self) -> bool:
        return bool(self.values) and isinstance(self.values[0], str)

    def codes(self, name: str, column: Array) -> Array:
        """The codes of ``column`` [n, 1] as floats; NaN for what is missing. Raises InvalidTensor where ``strict``."""
        codes: dict[Any, float] = {value: float(code) for code, value in enumerate(self.values)}
        values = column.reshape(-1).tolist()
        found = [codes.get(value, np.nan) for value in values]
        if self.strict:
            for value, code in zip(values, found, strict=True):
                if code != code and value not in (None, "") and value == value:  # noqa: PLR0124 - NaN is what differs
                    known = ", ".join(map(repr, self.values[:8]))
                    raise InvalidTensor(f"tensor {name!r}: {value!r} is no category of the model, which knows {known}")
        return np.array(found, np.float64).reshape(-1, 1)


@dataclass(frozen=True, slots=True)
class Features:
    """``names``: of the features, empty where the file names none.  ``width``: how many.  ``datatype``: of a number.

    ``categories``: place of a feature to its categories, where the file tells them.
    """

    names: tuple[str, ...]
    width: int
    datatype: DataType
    categories: Mapping[int, Categories]

    def inputs(self) -> tuple[TensorSpec, ...]:
        """One column a feature where they have names, else one matrix ``input``. Null and NaN mean missing."""
        if not self.names:
            return (TensorSpec("input", self.datatype, (-1, self.width), missing=Missing.NAN),)
        return tuple(
            TensorSpec(name, self._datatype(place), (-1, 1), column=True, missing=Missing.NAN)
            for place, name in enumerate(self.names)
        )

    def feeder(self, inputs: Sequence[TensorSpec], file: str) -> Feed:
        """What makes the matrix, rows on axis 0 and features in the order of the file, of tensors like ``inputs``.

        Columns are found by name where the file has names (LightGBM writes ``a_b`` for ``a b``), else they are taken in
        their order. Raises BrokenModel where the signature and the file cannot be reconciled.
        """
        dtype = self.datatype.numpy
        if len(inputs) == 1 and not inputs[0].column and len(inputs[0].shape) == 2:
            only = inputs[0]
            if only.shape[1] not in (-1, self.width) or only.datatype is DataType.BYTES:
                raise BrokenModel(
                    f"{file} takes {self.width} features, the signature says {only.name!r} {only.datatype} "
                    f"{list(only.shape)}; package the model with the signature that it was fitted on"
                )
            return lambda tensors: np.ascontiguousarray(tensors[only.name], dtype)
        plan = self._plan(inputs, file)

        def feed(tensors: Tensors) -> Array:
            columns = [
                tensors[name].reshape(-1, 1) if known is None else known.codes(name, tensors[name])
                for name, known in plan
            ]
            return np.concatenate(columns, axis=1, dtype=dtype, casting="same_kind")

        return feed

    def _plan(self, inputs: Sequence[TensorSpec], file: str) -> list[tuple[str, Categories | None]]:
        given = {_plain(spec.name): spec for spec in inputs}
        ordered: list[TensorSpec]
        if self.names:
            absent = [name for name in self.names if _plain(name) not in given]
            if absent:
                raise BrokenModel(f"{file} takes the feature {absent[0]!r}, which the signature does not name")
            ordered = [given[_plain(name)] for name in self.names]
        elif len(inputs) != self.width:
            raise BrokenModel(f"{file} takes {self.width} features, the signature names {len(inputs)} inputs")
        else:
            ordered = list(inputs)
        for place, spec in enumerate(ordered):
            wanted = self._datatype(place)
            if (spec.datatype is DataType.BYTES) != (wanted is DataType.BYTES):
                raise BrokenModel(f"{file} takes {spec.name!r} as {wanted}, the signature says {spec.datatype}")
        return [(spec.name, self.categories.get(place)) for place, spec in enumerate(ordered)]

    def _datatype(self, place: int) -> DataType:
        known = self.categories.get(place)
        if known is None:
            return self.datatype
        return DataType.BYTES if known.text else DataType.FP64


def _plain(name: str) -> str:
    return re.sub(r"\s", "_", name)
