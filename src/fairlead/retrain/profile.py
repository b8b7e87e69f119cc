"""What training data looked like, small enough to keep with the model: the reference of the next data tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairlead.retrain.columns import TEXT, Columns, kind_of, missing, numbers, rows_of
from fairlead.retrain.labels import in_blocks

Array = np.ndarray[Any, Any]

_QUANTILES = 101
_CATEGORIES = 200
_CLASSES = 20  # a numeric target with more different values than this is a quantity


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """``missing``: share of rows.  ``distinct``: different values.  ``quantiles``: 0 to 100 % of the finite numbers.

    ``counts``: rows of each text, the 200 most frequent; the rest is not kept.
    """

    kind: str
    missing: float
    distinct: int
    quantiles: tuple[float, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """``classes``: share of each label (empty for a quantity).  ``duplicates``: share of rows that another row equals.

    ``noise``: how often a row's label differs from its neighbours', median over blocks of time; None when not known.
    """

    rows: int
    target: str
    columns: Mapping[str, ColumnProfile]
    classes: Mapping[str, float]
    duplicates: float
    noise: float | None = None


def profile(table: Columns, target: str, time: str = "") -> Profile:
    """Summarise ``table``, rows in order of time."""
    found = in_blocks({name: array for name, array in table.items() if name != time}, target)
    return Profile(
        rows_of(table),
        target,
        {name: column(array) for name, array in table.items() if name != time},
        classes(table[target]),
        duplicates({name: array for name, array in table.items() if name != time}),
        float(np.median(found.noise)) if found else None,
    )


def column(array: Array) -> ColumnProfile:
    holes = missing(array)
    share, kind = float(holes.mean()) if array.size else 0.0, kind_of(array)
    if kind == TEXT:
        values, counts = np.unique(array[~holes].astype(str), return_counts=True)
        most = np.argsort(-counts, kind="stable")[:_CATEGORIES]
        return ColumnProfile(kind, share, len(values), counts={str(values[i]): int(counts[i]) for i in most})
    found = finite(array)
    if not len(found):
        return ColumnProfile(kind, share, 0)
    quantiles = np.quantile(found, np.linspace(0, 1, _QUANTILES))
    return ColumnProfile(kind, share, len(np.unique(found)), tuple(map(float, quantiles)))


def finite(array: Array) -> Array:
    """The finite numbers of a column, flat."""
    values = numbers(array).reshape(-1)
    return values[np.isfinite(values)]


def classes(labels: Array) -> dict[str, float]:
    """Share of each class; empty when the target is a quantity."""
    kept = labels[~missing(labels)]
    if kind_of(labels) != TEXT:
        kept = numbers(kept)
        if len(np.unique(kept)) > _CLASSES:
            return {}
    values, counts = np.unique(kept.astype(str), return_counts=True)
    return {str(value): float(count / counts.sum()) for value, count in zip(values, counts, strict=True)}


def duplicates(table: Columns) -> float:
    """Share of rows that repeat an earlier one in every column."""
    count = rows_of(table)
    return float(np.mean(repeated(table))) if count else 0.0


def repeated(table: Columns) -> Array:
    """Which rows repeat an earlier one in every column."""
    codes = [np.unique(_comparable(array), axis=0, return_inverse=True)[1].reshape(-1) for array in table.values()]
    _, first = np.unique(np.stack(codes, axis=1), axis=0, return_index=True)
    again = np.ones(rows_of(table), bool)
    again[first] = False
    return again


def _comparable(array: Array) -> Array:
    if array.ndim > 1:
        return np.nan_to_num(numbers(array), nan=-1e308)
    return array.astype(str) if kind_of(array) == TEXT else np.nan_to_num(numbers(array), nan=-1e308)
