"""A block of a table to the tensors of a call, checked as every call is; rows that do not pass are told apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairlead.contracts.errors import InputError
from fairlead.contracts.tables import Array, Block, Cells
from fairlead.contracts.types import Signature, Tensors
from fairlead.kit.codec.tensors import Null
from fairlead.serve.jobs.columns import Chosen, Source
from fairlead.serve.validate import Slot, cast, plan_of

Refused = dict[int, str]
"""Index in the block to the reason."""


def assemble(block: Block, chosen: Chosen, signature: Signature) -> tuple[Tensors, Array | None, Refused]:
    """The tensors of the rows that passed, which rows of the block those are (None: all), and the others."""
    plan, rows = plan_of(signature), len(block.rows)
    refused: Refused = {}
    whole = {
        source.name: _tensor(block, source, plan.slots[source.name], rows, refused)
        for source in chosen.sources
        if all(name in block.columns for name in source.columns)
    }
    admitted: Tensors = {}
    left = _left(rows, refused)
    for name, array in whole.items():
        slot = plan.slots[name]
        try:
            admitted[name] = slot.admit(array if left is None else array[left])
        except InputError:
            there = np.arange(rows) if left is None else left
            found = apart(len(there), lambda at, a=array[there], s=slot: s.admit(a[at]))  # type: ignore[misc]
            refused |= {int(there[at]): reason for at, reason in found.items()}
            left = _left(rows, refused)
    if refused:  # some columns were admitted with rows that others refused
        admitted = {
            name: plan.slots[name].admit(array if left is None else array[left]) for name, array in whole.items()
        }
    if left is not None and not len(left):
        return {}, left, refused
    return plan.finish(admitted), left, refused


def apart(rows: int, attempt: Callable[[Array], object]) -> Refused:
    """Rows that fail alone, by halves. ``attempt``: given indices, raises InputError when one of them does not pass."""
    found: Refused = {}
    waiting = [np.arange(rows)]
    while waiting:
        part = waiting.pop()
        if not len(part):
            continue
        try:
            attempt(part)
        except InputError as error:
            if len(part) == 1:
                found[int(part[0])] = str(error)
            else:
                middle = len(part) // 2
                waiting += [part[:middle], part[middle:]]
    return found


def _left(rows: int, refused: Refused) -> Array | None:
    if not refused:
        return None
    good = np.ones(rows, bool)
    good[list(refused)] = False
    return np.flatnonzero(good)


def _tensor(block: Block, source: Source, slot: Slot, rows: int, refused: Refused) -> Array:
    """The rows of one input, in the shape of the signature where that is known."""
    tail = slot.shape[1:]
    if len(source.columns) == 1:
        values = _filled(block.columns[source.columns[0]], slot, source.columns[0], refused)
        return values if tail.count(-1) > 1 else values.reshape(rows, *tail) if rows else _none(slot)
    columns = [_filled(block.columns[name], slot, name, refused) for name in source.columns]
    if not slot.datatype.is_float:
        return np.stack(columns, axis=1).reshape(rows, *tail) if rows else _none(slot)
    matrix = np.empty((rows, len(columns)), slot.dtype)
    for at, (name, values) in enumerate(zip(source.columns, columns, strict=True)):
        matrix[:, at] = _cast(values, slot, name, refused)
    return matrix.reshape(rows, *tail) if rows else _none(slot)


def _none(slot: Slot) -> Array:
    return np.empty((0, *(max(0, size) for size in slot.shape[1:])), slot.dtype)


def _filled(cells: Cells, slot: Slot, name: str, refused: Refused) -> Array:
    """Values with what stands for a missing one."""
    values, missing = cells
    if missing is None or not missing.any():
        return values
    if slot.null is Null.REFUSE:
        for index in np.flatnonzero(missing).tolist():
            refused.setdefault(index, f"column {name!r} is missing, and the model takes no missing value there")
        return values
    return np.where(missing, slot.null, values)


def _cast(values: Array, slot: Slot, name: str, refused: Refused) -> Array:
    if values.dtype == slot.dtype:
        return values
    try:
        return cast(values, slot.datatype, name)
    except InputError:
        found = apart(len(values), lambda at: cast(values[at], slot.datatype, name))
        for index, reason in found.items():
            refused.setdefault(index, reason)
        good = np.ones(len(values), bool)
        good[list(found)] = False
        return cast(np.where(good, values, 0), slot.datatype, name)
