"""The bins of a column as a histogram for people: shares before and now, and what each bin is called."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from fairlead.monitor.binning import CATEGORICAL, ColumnReference
from fairlead.monitor.summary import Summary

Array = np.ndarray[Any, Any]
Shares = tuple[tuple[float, ...], tuple[float, ...], tuple[str, ...]]
"""Of the reference, of now, and the name of each bin."""

MOST = 16
"""Bars of a category; the rarest are one bar."""


def shares(column: ColumnReference, summary: Summary | None) -> Shares:
    """Empty where a side has no rows. A bin that is empty on both sides is left out."""
    if summary is None or not summary.n or not column.n or len(summary.counts) != len(column.counts):
        return (), (), ()
    before, now = np.asarray(column.counts, np.float64), np.asarray(summary.counts, np.float64)
    if column.kind == CATEGORICAL:
        names = [*column.values, "any other"]
        before, now, names = _few(before, now, names)
        other = "a number"
    else:
        before, now = np.add.reduceat(before, column.starts), np.add.reduceat(now, column.starts)
        names = _ranges(column)
        other = "a text"
    names = [*names, "missing", other]
    before = np.append(before, [column.missing, column.foreign]) / column.n
    now = np.append(now, [summary.missing, summary.foreign]) / summary.n
    kept = np.flatnonzero((before > 0) | (now > 0)).tolist()
    return tuple(before[kept].tolist()), tuple(now[kept].tolist()), tuple(names[place] for place in kept)


def _few(before: Array, now: Array, names: list[str]) -> tuple[Array, Array, list[str]]:
    """The most frequent categories of either side in the reference's order; the rest joins what has no name."""
    if len(names) <= MOST:
        return before, now, names
    weight = np.maximum(before[:-1] / max(1.0, before.sum()), now[:-1] / max(1.0, now.sum()))
    kept = np.sort(np.argsort(-weight, kind="stable")[: MOST - 1])
    rest = [side.sum() - side[kept].sum() for side in (before, now)]
    shown = [np.append(side[kept], left) for side, left in zip((before, now), rest, strict=True)]
    return shown[0], shown[1], [*(names[place] for place in kept.tolist()), names[-1]]


def _ranges(column: ColumnReference) -> list[str]:
    """The bins of PSI by their edges; a bin that holds one value by that."""
    edges = [column.edges[start - 1] for start in column.starts[1:]]
    if not edges:
        return ["all values"]
    alone = [high - low <= 1e-5 * max(abs(low), abs(high), 1e-30) for low, high in pairwise(edges)]
    names = [f"{'under' if alone and alone[0] else 'up to'} {_short(edges[0])}"]
    for (low, high), one in zip(pairwise(edges), alone, strict=True):
        names.append(_short((low + high) / 2) if one else f"{_short(low)} to {_short(high)}")
    return [*names, f"over {_short(edges[-1])}"]


def _short(value: float) -> str:
    for least, unit, word in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if least <= abs(value) < 1e12:
            return f"{value / unit:.4g}{word}"
    return f"{value:.4g}" if abs(value) > 1e-30 else "0"
