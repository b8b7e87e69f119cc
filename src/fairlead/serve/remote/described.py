"""What a server says of its model, as a signature; and whether an answer is what the signature says. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import BrokenModel, InvalidTensor
from fairlead.contracts.types import Signature, Tensors, TensorSpec
from fairlead.contracts.upstream import Described, Garbled, Told
from fairlead.kit.codec import v2

_DIMENSIONS: Final = 32
_ROW: Final = 2**30
"""Bytes of one row: more cannot be asked for, and a row is made up for the documentation."""


def signature_of(model: Described, where: str) -> Signature:
    """Batched when the first dimension of every input and output is free. Raises BrokenModel, naming ``where``.

    An input of shape [-1, 1] is a column of a table.
    """
    for what, given in (("inputs", model.inputs), ("outputs", model.outputs)):
        if not given:
            raise BrokenModel(f"{where} does not say which {what} its model has; declare them in the model there")
        if len({one.name for one in given}) < len(given):
            raise BrokenModel(f"{where} has two {what} of one name; every tensor needs its own")
    batched = all(one.shape[:1] == (-1,) for one in (*model.inputs, *model.outputs))
    return Signature(
        tuple(_spec(one, where, column=batched and one.shape == (-1, 1)) for one in model.inputs),
        tuple(_spec(one, where) for one in model.outputs),
        batched=batched,
    )


def difference(here: Signature, there: Signature) -> str:
    """What differs, in words; empty when they are the same."""
    for what, mine, other in (("input", here.inputs, there.inputs), ("output", here.outputs, there.outputs)):
        names = [one.name for one in mine], [one.name for one in other]
        if sorted(names[0]) != sorted(names[1]):
            return f"its {what}s are {', '.join(names[1])}, not {', '.join(names[0])}"
        found = {one.name: one for one in other}
        for one in mine:
            twin = found[one.name]
            if (one.datatype, one.shape) != (twin.datatype, twin.shape):
                return f"its {what} {one.name!r} is {_kind(twin)}, not {_kind(one)}"
    return ""


def checking(signature: Signature) -> Callable[[Tensors, int], Tensors]:
    """What looks at the answers for such a model, for so many rows: the outputs in the signature's order.

    Raises Garbled.
    """
    outputs, batched = signature.outputs, signature.batched
    names = {spec.name for spec in outputs}

    def check(given: Tensors, rows: int) -> Tensors:
        if given.keys() != names:
            raise Garbled(f"it gave the outputs {_listed(given)}, and its model has {_listed(names)}")
        for spec in outputs:
            array = given[spec.name]
            if array.dtype != spec.datatype.numpy or not _fits(spec.shape, array.shape):
                raise Garbled(f"output {spec.name!r} is {array.dtype} {list(array.shape)}, not {_kind(spec)}")
            if batched and array.shape[0] != rows:
                raise Garbled(f"output {spec.name!r} has {array.shape[0]} rows, and {rows} were sent")
        return {spec.name: given[spec.name] for spec in outputs}

    return check


def _fits(wanted: tuple[int, ...], found: Sequence[int]) -> bool:
    return len(wanted) == len(found) and all(one in (-1, other) for one, other in zip(wanted, found, strict=True))


def _spec(one: Told, where: str, *, column: bool = False) -> TensorSpec:
    try:
        kind = v2.datatype(one.datatype, one.name)
    except InvalidTensor as error:
        raise BrokenModel(f"{where}: {error}") from None
    if any(size < -1 for size in one.shape) or len(one.shape) > _DIMENSIONS:
        raise BrokenModel(f"{where}: tensor {one.name!r} has the shape {list(one.shape)}, which is none")
    if math.prod(max(size, 1) for size in one.shape) * np.dtype(kind.numpy).itemsize > _ROW:
        raise BrokenModel(
            f"{where}: one row of tensor {one.name!r}, {list(one.shape)}, is larger than {_ROW >> 20} MiB; correct its "
            "shape in the model there"
        )
    return TensorSpec(one.name, kind, one.shape, column=column, required=one.required)


def _kind(spec: TensorSpec) -> str:
    return f"{spec.datatype.value} {list(spec.shape)}"


def _listed(names: Any) -> str:
    known = sorted(str(name)[:40] for name in names)
    return ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "") or "none"
