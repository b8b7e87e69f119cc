"""What one caller asks, in numbers: how it is spread, how near its rows are to each other, how near the boundary.

Folds sampled rows of a caller into ``Asked``, which can be added up over workers and over time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from fairlead.monitor.binning import ColumnReference, Reference, coarse
from fairlead.monitor.columns import INPUT, columns_of, values_of
from fairlead.monitor.summary import Bins

Array = np.ndarray[Any, Any]

MEMORY: Final = 512
"""Rows of a caller that later ones are held against."""
NEAR_RANK: Final = 0.02
"""Rows are near when every column is within this share of the reference's rows, or"""
SAME_SHARE: Final = 0.8
"""when so many of the columns are equal; rows that are equal altogether are no sign: callers ask again."""
CLOSE: Final = 0.1
"""The two best scores are closer than this: the row lies at the boundary."""
CHUNK: Final = 32
"""Rows that are compared at a time."""
MOST_COLUMNS: Final = 64
"""Columns of a row that are looked at."""

_PRIME: Final = np.uint64(4_294_967_291)
_MISSING: Final = -1.2345e300
"""What stands for a missing number: one is equal to another."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Sums over the rows that were looked at. ``near``: rows near an earlier one.  ``scored``: rows with scores.

    ``close``: of these, at the boundary.  ``counts``: by input column, in the reference's PSI bins.
    ``reference``: whose bins these are; empty for none.
    """

    rows: int = 0
    near: int = 0
    scored: int = 0
    close: int = 0
    counts: Mapping[str, list[int]] = field(default_factory=dict)
    reference: str = ""

    def __add__(self, other: Asked) -> Asked:
        """Counts of another reference are left behind."""
        counts = dict(self.counts)
        if other.reference != self.reference and self.rows:
            counts = {}
        for name, found in other.counts.items():
            there = counts.get(name)
            counts[name] = found if there is None else [a + b for a, b in zip(there, found, strict=True)]
        return Asked(
            self.rows + other.rows,
            self.near + other.near,
            self.scored + other.scored,
            self.close + other.close,
            counts,
            other.reference,
        )


class Ranks:
    """Turns columns into ranks among the reference's rows, so that one measure of nearness fits all columns."""

    def __init__(self, reference: Reference | None) -> None:
        self.reference = reference
        self._columns: dict[str, ColumnReference] = dict(reference.columns) if reference else {}
        self._bins = {name: Bins(column) for name, column in self._columns.items() if name.startswith(INPUT)}
        self._grids: dict[str, tuple[Array, Array]] = {}

    def of(self, name: str, values: Array) -> tuple[Array, Array]:
        """Rank in 0 to 1, and a number for equality, of each value; text has no rank between others."""
        same = _numbers(values)
        column = self._columns.get(name)
        if column is None or not column.edges or values.dtype.kind not in "fiub":
            return (same.view(np.uint64) % _PRIME).astype(np.float64), same  # near only where equal
        edges, shares = self._grid(name, column)
        wide = values.astype(np.float64)
        return np.interp(wide, edges, shares, left=0.0, right=1.0), same

    def counts(self, columns: Mapping[str, Array]) -> dict[str, list[int]]:
        """Rows of each column in the PSI bins of the reference."""
        found: dict[str, list[int]] = {}
        for name, values in columns.items():
            bins = self._bins.get(name)
            if bins is None or bins.column is None:
                continue
            summary = bins.count(values_of(values))
            found[name] = coarse(summary.counts, summary.missing, summary.foreign, bins.column.starts).tolist()
        return found

    def _grid(self, name: str, column: ColumnReference) -> tuple[Array, Array]:
        if name not in self._grids:
            counts = np.asarray(column.counts, np.float64)
            self._grids[name] = np.asarray(column.edges), np.cumsum(counts)[:-1] / max(1.0, counts.sum())
        return self._grids[name]


class Profile:
    """One caller of one version, as it asks. Not safe for several threads at once."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._same: Array | None = None
        self._ranks_known: Array | None = None
        self.asked = Asked()

    def add(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Rows that were asked, and what was answered to them."""
        columns = dict(_first(columns_of(inputs, INPUT)))
        rows = len(next(iter(columns.values()))) if columns else 0
        if not rows or any(len(values) != rows for values in columns.values()):
            return
        ranked = [self._ranks.of(name, values) for name, values in columns.items()]
        ranks, same = (np.stack([one[place] for one in ranked], axis=1) for place in (0, 1))
        scored, close = _boundary(outputs, rows)
        reference = self._ranks.reference
        self.asked += Asked(
            rows, self._near(ranks, same), scored, close, self._ranks.counts(columns), reference.id if reference else ""
        )

    def take(self) -> Asked:
        """What was asked since it was taken last; earlier rows are still remembered."""
        asked, self.asked = self.asked, Asked()
        return asked

    def _near(self, ranks: Array, same: Array) -> int:
        """Rows near an earlier one, of those that were not asked before: equal ones are no news either way."""
        near = 0
        for start in range(0, len(ranks), CHUNK):
            part = slice(start, start + CHUNK)
            if self._same is None or self._ranks_known is None or self._same.shape[1] != same.shape[1]:
                known, there = same[:0], ranks[:0]
            else:
                known, there = self._same, self._ranks_known
            known, there = np.concatenate([known, same[part]]), np.concatenate([there, ranks[part]])
            own = len(known) - len(same[part])
            earlier = np.arange(len(known)) < own + np.arange(len(same[part]))[:, np.newaxis]
            shares = (same[part][:, np.newaxis] == known).mean(axis=2)
            close = (np.abs(ranks[part][:, np.newaxis] - there) <= NEAR_RANK).all(axis=2)
            again = ((shares == 1.0) & earlier).any(axis=1)
            near += int((((close | (shares >= SAME_SHARE)) & earlier).any(axis=1) & ~again).sum())
            kept = np.concatenate([np.ones(own, bool), ~again])
            self._same, self._ranks_known = known[kept][-MEMORY:], there[kept][-MEMORY:]
        return near


def _first(columns: Iterator[tuple[str, Array]]) -> Iterator[tuple[str, Array]]:
    for place, one in enumerate(columns):
        if place >= MOST_COLUMNS:
            return
        yield one


def _numbers(values: Array) -> Array:
    """A number for each value, the same for equal ones."""
    if values.dtype.kind in "fiub":
        wide = values.astype(np.float64)
        return np.where(np.isnan(wide), _MISSING, wide)
    return np.array([float(zlib.crc32(repr(one).encode("utf-8", "replace"))) for one in values.tolist()])


def _boundary(outputs: Mapping[str, Array], rows: int) -> tuple[int, int]:
    """Rows with scores, and those whose two best are close: of the first output that holds probabilities."""
    for array in outputs.values():
        if array.dtype.kind != "f" or not array.ndim or len(array) != rows:
            continue
        flat = array.reshape(rows, -1).astype(np.float64)
        if not flat.size or not np.isfinite(flat).all() or (flat < 0).any() or (flat > 1).any():
            continue
        if flat.shape[1] == 1:
            return rows, int((np.abs(2 * flat[:, 0] - 1) <= CLOSE).sum())
        if (np.abs(flat.sum(axis=1) - 1) <= 0.01).all():
            best = np.sort(flat, axis=1)[:, -2:]
            return rows, int((best[:, 1] - best[:, 0] <= CLOSE).sum())
    return 0, 0
