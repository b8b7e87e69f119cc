"""The bins of a column, and its record in a reference.

A numeric column has up to 100 fine bins at quantiles of the reference (``edges`` are upper edges, themselves included;
the two outer bins are open); unions of them are the PSI bins. A repeated quantile, a value that holds a whole bin's
share or more, gets a bin of its own, and so does every value where there are few. Edges are one float32 step above the
quantile, so that a value and its float32 fall into one bin. A categorical column has its most frequent values and one
bin for every other.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fairlead.monitor.columns import Values
from fairlead.monitor.ordered import Ordered

Array = np.ndarray[Any, Any]

FINE, COARSE, TOP = 100, 10, 100
"""Fine bins, PSI bins of numbers, and categories kept by name."""

_SHARE = 0.005  # of the rows: a rarer category shares a PSI bin with its like
_DISTINCT = 50

NUMERIC, CATEGORICAL = "numeric", "categorical"


@dataclass(frozen=True, slots=True)
class ColumnReference:
    """One feature or output.

    ``counts``: by fine bin (numeric, ``len(edges) + 1``) or by value and then all others (``len(values) + 1``).
    ``starts``: the first fine bin of each PSI bin.  ``foreign``: rows of the other kind (text among numbers).
    ``usual``: test to what ``monitor.nulls`` learned of it from blocks of the reference in time order.
    ``seasons``: for each slot of the season the PSI counts with ``missing`` and ``foreign`` as the last two.
    """

    name: str
    kind: str
    n: int
    missing: int
    foreign: int
    counts: list[int]
    starts: list[int]
    edges: list[float] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    mean: float | None = None
    importance: float | None = None
    usual: dict[str, list[float]] = field(default_factory=dict)
    seasons: list[list[int]] = field(default_factory=list)

    @property
    def constant(self) -> bool:
        """One value and nothing else."""
        return (
            self.n > 0
            and self.missing == 0
            and self.foreign == 0
            and np.count_nonzero(self.counts) == 1
            and (self.kind == CATEGORICAL or len(self.edges) == 2)
        )

    def psi_counts(self) -> Array:
        """Counts of the PSI bins, then missing and foreign, int64."""
        return coarse(np.asarray(self.counts), self.missing, self.foreign, self.starts)


@dataclass(frozen=True, slots=True)
class Reference:
    """What drift of a version is measured against (``monitor.reference`` makes it).

    ``id``: digest of the content.  ``window_ms``: length of the blocks that ``usual`` was learned from (0: none).
    ``source``: ``served`` where it was made of calls, else of rows that a training kept back.
    """

    model: str
    version: str
    rows: int
    columns: dict[str, ColumnReference]
    window_ms: int = 0
    season_ms: int = 0
    id: str = ""
    source: str = ""


def coarse(counts: Array, missing: Array | int, foreign: Array | int, starts: list[int]) -> Array:
    """Fine counts of shape [..., fine] as PSI counts [..., bins + 2]."""
    bins = np.add.reduceat(counts, starts, axis=-1)
    ends = np.stack(np.broadcast_arrays(np.asarray(missing), np.asarray(foreign)), axis=-1)
    return np.concatenate([bins, ends], axis=-1)


def column_reference(
    name: str, values: Values, *, numeric: bool, importance: float | None = None, ordered: Ordered | None = None
) -> ColumnReference:
    """The record of one column. ``numeric``: what a column without a value counts as.  ``ordered``: its numbers."""
    texts = sum(values.texts.values())
    if len(values.numbers) > texts or (not texts and not len(values.numbers) and numeric):
        numbers = ordered or Ordered(values.numbers)
        edges, starts = _edges(numbers)
        counts = count_numbers(numbers, np.asarray(edges))
        finite = values.numbers[np.isfinite(values.numbers)]
        record = ColumnReference(
            name, NUMERIC, values.rows, values.missing, texts, counts.tolist(), starts, edges,
            mean=float(finite.mean(dtype=np.float64)) if len(finite) else None,
        )  # fmt: skip
    else:
        ranked = sorted(values.texts.items(), key=lambda item: (-item[1], item[0]))
        kept = ranked[:TOP]
        tallies = [count for _, count in kept] + [sum(count for _, count in ranked[TOP:])]
        alone = sum(count >= _SHARE * texts for _, count in kept)
        category_starts = sorted({*range(alone), alone, len(kept)})
        record = ColumnReference(
            name, CATEGORICAL, values.rows, values.missing, len(values.numbers), tallies, category_starts,
            values=[text for text, _ in kept],
        )  # fmt: skip
    return replace(record, importance=importance)


def _edges(numbers: Ordered) -> tuple[list[float], list[int]]:
    """Fine edges and the first fine bin of each PSI bin."""
    n = len(numbers)
    if not n:
        return [], [0]
    ranks = [np.ceil(np.arange(1, bins) * n / bins).astype(np.intp) - 1 for bins in (FINE, COARSE)]
    ordered = np.asarray(numbers.order_statistics(np.concatenate(ranks)), np.float64)
    fine, rough = ordered[: FINE - 1], ordered[FINE - 1 :]
    few = np.unique(fine)
    if len(few) <= _DISTINCT:  # perhaps it has rarer values too
        few = np.unique(numbers.values)
    edges = _bounds(few, few) if len(few) <= _DISTINCT else _bounds(np.unique(fine), _repeated(fine))
    rough_edges = _bounds(few, few) if len(few) <= COARSE else _bounds(np.unique(rough), _repeated(rough))
    edges = np.union1d(edges, rough_edges)
    return edges.tolist(), [0, *(int(place) + 1 for place in np.searchsorted(edges, rough_edges))]


def _repeated(quantiles: Array) -> Array:
    found, times = np.unique(quantiles, return_counts=True)
    return np.asarray(found[times > 1])


def _bounds(values: Array, alone: Array) -> Array:
    """An edge just above each value, and one just below those that get a bin of their own."""
    edges = np.concatenate([_step(values, np.inf), _step(alone, -np.inf)])
    return np.unique(edges[np.isfinite(edges)])


def _step(values: Array, to: float) -> Array:
    wide = np.asarray(values, np.float64)
    with np.errstate(over="ignore", under="ignore"):
        near = np.nextafter(wide.astype(np.float32), np.float32(to)).astype(np.float64)
    return np.asarray(np.where(np.isfinite(near), near, np.nextafter(wide, to)))


def count_numbers(numbers: Ordered, edges: Array) -> Array:
    """Values in each bin, int64 of shape [len(edges) + 1]."""
    return np.diff(numbers.below(edges), prepend=0, append=len(numbers)).astype(np.int64)
