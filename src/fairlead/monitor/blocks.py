"""The usual unrest of a stream, learned from its reference: each window's rows against all the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fairlead.monitor.binning import NUMERIC, ColumnReference
from fairlead.monitor.measures import TESTS, Sample, measured, sample_of
from fairlead.monitor.nulls import SUMS, learn

Array = np.ndarray[Any, Any]

LEAST_ROWS = 20
"""A block of fewer rows tells nothing."""


def with_blocks(column: ColumnReference, values: Array, window: Array, slots: int) -> ColumnReference:
    """Add ``usual``, and ``seasons`` for more than one slot. ``window``: the number of each row's window, [rows]."""
    numbers, block = np.unique(window, return_inverse=True)
    fine = len(column.counts)
    table = np.zeros((len(numbers), fine + 2), np.int64)
    np.add.at(table, (block, _places(column, values)), 1)
    current = sample_of(column, table[:, :fine], table[:, fine], table[:, fine + 1])
    whole = sample_of(column, *(np.asarray(part) for part in (column.counts, column.missing, column.foreign)))
    seasons: list[list[int]] = []
    if slots > 1:
        slot = numbers % slots
        season = Sample(*(_by_slot(part, slot, slots) for part in current))
        seasons = season.psi.astype(np.int64).tolist()
        others = Sample(*(part[slot] for part in season)).without(current)
        found = measured(others, current, whole)
    else:
        found = measured(whole.without(current), current)
    sums = np.zeros((len(TESTS), SUMS))
    clean = current.n >= LEAST_ROWS
    mean, variance = found.null
    for place in range(len(numbers)):
        t, h, m, v = (part[:, place] for part in (found.t, found.h, mean, variance))
        sums = learn(sums, t, h, m, v, np.repeat(clean[place], len(TESTS)))
    return replace(column, usual={test: sums[row].tolist() for row, test in enumerate(TESTS)}, seasons=seasons)


def _by_slot(part: Array, slot: Array, slots: int) -> Array:
    total = np.zeros((slots, *part.shape[1:]))
    np.add.at(total, slot, part)
    return total


def _places(column: ColumnReference, values: Array) -> Array:
    """The fine bin of each row; one further: missing, two further: foreign."""
    fine = len(column.counts)
    if column.kind == NUMERIC and values.dtype.kind in "iufb":
        numbers = values.astype(np.float64)
        return np.where(np.isnan(numbers), fine, np.searchsorted(np.asarray(column.edges), numbers, "left"))
    places = {text: place for place, text in enumerate(column.values)}
    found = np.empty(len(values), np.intp)
    for row, value in enumerate(values.tolist()):
        if value is None or value != value:  # noqa: PLR0124 - NaN and NaT
            found[row] = fine
        elif column.kind == NUMERIC:
            number = isinstance(value, int | float)
            found[row] = np.searchsorted(column.edges, float(value), "left") if number else fine + 1
        elif isinstance(value, int | float):
            found[row] = fine + 1
        else:
            text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            found[row] = places.get(text, fine - 1)
    return found
