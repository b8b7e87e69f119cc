"""What a value is, and what may become of it. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.graph import MEAN, STACK, VOTE
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.serve.graph.shape import Link


class Kind(NamedTuple):
    """What a value is. ``shape``: -1 for a free dimension."""

    datatype: DataType
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.datatype.value} {list(self.shape)}"


def fits(kind: Kind, spec: TensorSpec) -> bool:
    """Whether a value may go into an input."""
    column = spec.column and len(kind.shape) == 1
    return kind.datatype is spec.datatype and (column or alike(kind.shape, spec.shape))


def alike(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes can be the same."""
    return len(one) == len(other) and all(a == b or -1 in (a, b) for a, b in zip(one, other, strict=True))


def kinds(signature: Signature) -> dict[str, Kind]:
    """What it gives."""
    return {spec.name: Kind(spec.datatype, rowwise(spec.shape, signature.batched)) for spec in signature.outputs}


def rowwise(shape: tuple[int, ...], batched: bool) -> tuple[int, ...]:
    return (-1, *shape[1:]) if batched and shape else shape


def combined(link: Link, of: list[Kind], where: str) -> Kind:
    """What values of these kinds make together. Raises BrokenModel naming those that do not fit."""
    how, kind = link.step.combine, of[0]
    for origin, other in zip(link.of[1:], of[1:], strict=True):
        same = other.datatype is kind.datatype and (how == STACK or alike(other.shape, kind.shape))
        if not same:
            raise BrokenModel(f"{where}: {link.of[0]} is {kind} and {origin} is {other}; {how} wants them alike")
    if how == MEAN and not kind.datatype.is_float:
        raise BrokenModel(f"{where}: {link.of[0]} is {kind}; mean is of floats, vote of labels")
    if how == VOTE and kind.datatype.is_float:
        raise BrokenModel(f"{where}: {link.of[0]} is {kind}; vote is of labels, mean of floats")
    if how != STACK:
        shape = tuple(max(sizes) for sizes in zip(*(one.shape for one in of), strict=True))
        return Kind(kind.datatype, shape)
    for origin, one in zip(link.of, of, strict=True):
        if len(one.shape) not in (1, 2):
            raise BrokenModel(f"{where}: {origin} is {one}; stack takes one value, or one row of them, for each row")
    widths = [1 if len(one.shape) == 1 else one.shape[1] for one in of]
    return Kind(kind.datatype, (kind.shape[0], -1 if -1 in widths else sum(widths)))


def constant(value: object, kind: Kind) -> bool:
    """Whether one value can fill an array of that kind."""
    if -1 in kind.shape[1:]:
        return False
    if kind.datatype is DataType.BYTES:
        return isinstance(value, str)
    if kind.datatype is DataType.BOOL:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return bool(np.full((), value, kind.datatype.numpy) == value) or kind.datatype.is_float
    except (OverflowError, ValueError):
        return False
