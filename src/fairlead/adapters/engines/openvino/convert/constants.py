"""The weights of a checkpoint as constants of a graph, in the precision that was asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from fairlead.adapters.engines.openvino.convert import quantizing
from fairlead.adapters.engines.openvino.convert.checkpoint import Checkpoint, Stored

Array = np.ndarray[Any, Any]
Node = Any
"""A node of openvino's graph."""

_AS_STORED = {"BF16": "bf16", "F16": "f16"}
"""What is not converted: it stays in the file until the graph is written."""

PRECISIONS = ("f16", "bf16", "int8", "int4")


class Constants:
    """Makes each constant once. The memory behind them lives as long as this does: keep it until the graph is saved."""

    def __init__(self, checkpoint: Checkpoint, precision: str) -> None:
        self._checkpoint = checkpoint
        self._precision = precision
        self._made: dict[str, Node] = {}
        self._held: list[Array] = []
        self._wide: Counter[int] = Counter()

    @property
    def notes(self) -> list[str]:
        """What could not be made in the precision that was asked for, a sentence for each width."""
        return [
            f"{count} matrices have rows of {width} numbers, no multiple of {quantizing.GROUP}: they are int8"
            for width, count in sorted(self._wide.items())
        ]

    def matrix(self, name: str, shape: tuple[int, int], coarse: bool = True) -> Node:
        """A weight, (rows, columns) of float32 to the graph. ``coarse``: False for what is not made int4.

        Raises BrokenModel, UnknownFormat, UsageError, naming the tensor.
        """
        if name not in self._made:
            stored = self._checkpoint.take(name, shape)
            self._made[name] = self._matrix(stored, shape, coarse)
            if self._precision != _AS_STORED.get(stored.dtype):
                stored.forget()
        return self._made[name]

    def vector(self, name: str, width: int, rank: int = 3, gain: float = 0.0) -> Node:
        """A bias or the weights of a norm, in float32, along the last of ``rank`` dimensions; ``gain`` is added."""
        numbers = self._checkpoint.take(name, (width,)).floats(0, 1)
        if not np.isfinite(numbers).all():
            quantizing.f16(lambda *_: numbers, 1, width, name)  # raises what names it
        return self._constant(numbers.reshape((1,) * (rank - 1) + (-1,)) + np.float32(gain), ov.Type.f32)

    def _matrix(self, stored: Stored, shape: tuple[int, int], coarse: bool) -> Node:
        if self._precision == "f16":
            return _float(self._constant(_f16(stored, shape), ov.Type.f16))
        if self._precision == "bf16":
            return _float(self._constant(_bf16(stored, shape), ov.Type.bf16))
        if self._precision == "int4" and coarse:
            if shape[1] % quantizing.GROUP == 0:
                return self._int4(*quantizing.int4(stored.floats, *shape, stored.name), shape)
            self._wide[shape[1]] += 1
        integers, scales = quantizing.int8(stored.floats, *shape, stored.name)
        halves = op.convert(self._constant(integers, ov.Type.i8), "f16")
        return _float(op.multiply(halves, self._constant(scales, ov.Type.f16)))

    def _int4(self, packed: Array, scales: Array, shape: tuple[int, int]) -> Node:
        count, width = shape
        tensor = ov.Tensor(packed, ov.Shape([count, width // quantizing.GROUP, quantizing.GROUP]), ov.Type.i4)
        self._held.append(packed)
        groups = op.multiply(op.convert(op.constant(tensor), "f16"), self._constant(scales, ov.Type.f16))
        return _float(op.reshape(groups, np.array(shape, np.int64), False))

    def _constant(self, numbers: Array, kind: Any) -> Node:
        self._held.append(numbers)
        return op.constant(ov.Tensor(numbers, ov.Shape(list(numbers.shape)), kind))


def _float(node: Node) -> Node:
    return op.convert(node, "f32")


def _f16(stored: Stored, shape: tuple[int, int]) -> Array:
    if stored.dtype == "F16":
        return _as_stored(stored, shape)
    if stored.dtype == "BF16":
        return quantizing.f16_of_bf16(stored.raw(0, shape[0]), stored.name)
    return quantizing.f16(stored.floats, *shape, stored.name)


def _bf16(stored: Stored, shape: tuple[int, int]) -> Array:
    if stored.dtype == "BF16":
        return _as_stored(stored, shape)
    return quantizing.bf16(stored.floats, *shape, stored.name)


def _as_stored(stored: Stored, shape: tuple[int, int]) -> Array:
    """Not copied, where it lies as OpenVINO reads it."""
    numbers = stored.raw(0, shape[0])
    quantizing.finite(numbers.view(np.uint16), stored.dtype, stored.name)
    return numbers if numbers.flags.aligned else numbers.copy()
