"""The inputs and outputs of many calls, put together column by column: in the writer thread, not on the event loop."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from fairlead.contracts.access import shows_caller
from fairlead.contracts.errors import UsageError
from fairlead.contracts.events import Columns
from fairlead.contracts.types import Signature, Tensors
from fairlead.kit.config import nearest
from fairlead.serve.call import Ride
from fairlead.serve.validate import listed

Array = np.ndarray[Any, Any]


KEY_HEADER: Final = "fairlead-key"
"""Where a caller puts the business key of a call, unless an endpoint says otherwise."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept of an endpoint's calls.

    ``sample``: share of the calls, above 0 up to 1.  ``exclude``: inputs and outputs that are never kept.
    ``hashed``: those of which the SHA-256 of ``salt`` and the value is kept, 32 hex digits of it.
    ``key``: what holds the business key that labels may name: ``header:NAME`` of the call, or ``field:NAME``, an input
    that has one for each row; empty for none.
    """

    sample: float = 1.0
    exclude: frozenset[str] = frozenset()
    hashed: frozenset[str] = frozenset()
    salt: str = field(default="", repr=False)
    key: str = f"header:{KEY_HEADER}"

    def __post_init__(self) -> None:
        if not 0 < self.sample <= 1:
            raise UsageError(f"the share of calls to keep is {self.sample:g}; expected above 0 and up to 1")
        kind, _, name = self.key.partition(":")
        if self.key and (kind not in ("header", "field") or not name):
            raise UsageError(f"the key of labels is {self.key!r}; expected header:NAME, field:NAME or nothing")
        if shows_caller(self.key):
            raise UsageError(f"the key of labels is {self.key}, which is a secret; name another header")
        if kind == "field" and name in self.exclude | self.hashed:
            raise UsageError(f"the key of labels is {self.key}, which is kept hidden; labels could not be found by it")

    def misfits(self, signature: Signature) -> list[str]:
        """A sentence for each name that this version has not: what was to be hidden would be kept."""
        inputs = [spec.name for spec in signature.inputs]
        both = [*inputs, *(spec.name for spec in signature.outputs)]
        kind, _, name = self.key.partition(":")
        told = []
        if kind == "field" and name not in inputs:
            near = nearest(name, inputs) or f"; it has {listed(inputs)}"
            told.append(f"record.key is {self.key}, and the model has no such input{near}")
        for part, names in (("exclude", self.exclude), ("hash", self.hashed)):
            for name in sorted(names.difference(both)) if signature.outputs else ():
                near = nearest(name, both) or f"; it has {listed(both)}"
                told.append(f"record.{part} names {name!r}, which the model neither takes nor gives{near}")
        return told


def columns_of(
    columns: Columns,
    rides: Sequence[Ride | None],
    places: Sequence[int],
    pairs: Sequence[tuple[Tensors, float]],
    keys: Sequence[str],
    keeping: Keeping,
    batched: bool,
) -> Columns:
    """``columns`` with what went in and came out of the calls that were answered: ``sum(rows)`` rows of each tensor.

    ``rides``, ``places``: the batch of each call (None: it was not answered), and its first row there.  ``keys``: the
    business key of each call (empty: it has none); no keys: none has one.
    """
    counts = columns.rows.tolist()
    inputs, outputs, rows = _together(rides, places, counts, batched)
    features = joined(inputs, rows, keeping, batched)
    paired = [pair[0] for pair in pairs]
    answered = [count for ride, count in zip(rides, counts, strict=True) if ride is not None]
    return replace(
        columns,
        features=features,
        outputs=joined(outputs, rows, keeping, batched),
        entity=_entity(keys, counts, features, keeping),
        paired=joined(paired, answered, keeping, batched) if pairs else {},
        paired_seconds=np.array([pair[1] for pair in pairs]) if pairs else None,
    )


def _together(
    rides: Sequence[Ride | None], places: Sequence[int], counts: Sequence[int], batched: bool
) -> tuple[list[Tensors], list[Tensors], list[int]]:
    """Inputs, outputs and rows of stretches of calls that follow each other in one batch; most are whole batches."""
    stretches: list[tuple[Ride, int, int]] = []
    last, start, end = None, 0, 0
    for ride, place, count in zip(rides, places, counts, strict=True):
        if ride is last and place == end and batched:
            end += count
            continue
        if last is not None:
            stretches.append((last, start, end))
        last, start, end = ride, place, place + count
    if last is not None:
        stretches.append((last, start, end))
    parts = [
        tuple({name: _rows(array, start, end, batched) for name, array in tensors.items()} for tensors in ride)
        for ride, start, end in stretches
    ]
    return [part[0] for part in parts], [part[1] for part in parts], [end - start for _, start, end in stretches]


def _rows(array: Array, start: int, end: int, batched: bool) -> Array:
    return array[start:end] if batched and end - start != len(array) else array


def _entity(keys: Sequence[str], rows: Sequence[int], features: Tensors, keeping: Keeping) -> Sequence[str | None]:
    kind, _, name = keeping.key.partition(":")
    count = sum(rows)
    if kind == "field" and name in features and features[name].size:
        values = features[name].reshape(count, -1)[:, 0].tolist()
        return [_key(value) for value in values]
    if kind == "header" and keys:
        return [key or None for key, lines in zip(keys, rows, strict=True) for _ in range(lines)]
    return ()


def _key(value: object) -> str | None:
    """As labels write it: 17 and 17.0 are one key. None for a missing value."""
    while isinstance(value, list):
        value = value[0] if value else None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def joined(calls: Sequence[Tensors], rows: Sequence[int], keeping: Keeping, batched: bool) -> Tensors:
    """One array a tensor, its rows those of all calls in order. Where a call has no such tensor its rows are None."""
    names = dict.fromkeys(name for tensors in calls for name in tensors)
    found: Tensors = {}
    for name in names:
        if name in keeping.exclude:
            continue
        array = _column([tensors.get(name) for tensors in calls], rows, batched)
        found[name] = _hashed(array, keeping.salt) if name in keeping.hashed else array
    return found


def _column(arrays: Sequence[Array | None], rows: Sequence[int], batched: bool) -> Array:
    if not batched:
        arrays = [None if array is None else array[np.newaxis] for array in arrays]
    whole = [array for array in arrays if array is not None]
    alike = len(whole) == len(arrays) and len({(array.shape[1:], array.dtype) for array in whole}) == 1
    if alike:
        return np.concatenate(whole)
    values: list[Any] = []
    for array, count in zip(arrays, rows, strict=True):
        values.extend([None] * count if array is None else list(array))
    column = np.empty(len(values), object)
    for at, value in enumerate(values):
        column[at] = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return column


def _hashed(array: Array, salt: str) -> Array:
    values = array.reshape(len(array), -1)
    column = np.empty(len(array), object)
    for at, row in enumerate(values):
        column[at] = hashlib.sha256(f"{salt}{row.tolist()!r}".encode()).hexdigest()[:32]
    return column
