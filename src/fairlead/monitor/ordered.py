"""Order statistics, counts below edges and the exact KS statistic of many numbers, without sorting them all.

The numbers are counted in the cells of a fine grid that keeps their order; then only those in the few cells that matter
are sorted. The results are those of a full sort, to the last bit.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_SMALL = 20_000
_CHUNK = 1024
"""Numbers that are sorted in the caches: a dozen small sorts take half the time of one."""
_CELLS = 1 << 16
_PROBE = 4096
_CROWDED = 0.01
_OCTAVE = 10  # bits: cells of the second grid in each doubling of the distance from the middle


class Grid:
    """Cells in the order of the values, the two outer ones open.

    Equal steps over the middle of a probe; where that would crowd the probe into few cells (long tails), cells whose
    width grows with the distance from the median.
    """

    def __init__(self, values: Array) -> None:
        probe = np.sort(values[:: max(1, len(values) // _PROBE)].astype(np.float64))
        probe = probe[np.isfinite(probe)]
        cut = len(probe) // 500
        low, high, middle = (probe[[cut, -1 - cut, len(probe) // 2]]).tolist() if len(probe) else (0.0, 0.0, 0.0)
        self.size = _CELLS
        self._low, self._middle, self._step = low, middle, 0.0
        self._bits = False
        with np.errstate(over="ignore"):
            step = (_CELLS - 2) / (high - low) if high > low else 0.0
            self._top = int(np.abs(np.asarray([high - middle, middle - low])).max().view(np.int64)) >> (52 - _OCTAVE)
        self._step = float(step) if np.isfinite(step) else 0.0
        if len(probe) and np.bincount(self.cells(probe) >> 6).max() > _CROWDED * len(probe):
            self._bits = True

    def cells(self, values: Array) -> Array:
        """The cell of each value (intp); a larger value is never in an earlier cell."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self._bits:
                return self._by_distance(values)
            place = (values - self._low) * self._step if self._step else np.zeros(len(values))
            place += 1.0
            np.maximum(place, 0.0, out=place)
            np.minimum(place, self.size - 1.0, out=place)
        return place.astype(np.intp)

    def _by_distance(self, values: Array) -> Array:
        # The bits of a float grow with its size, so the upper ones number cells of equal width within each octave.
        half = self.size // 2
        apart = values.astype(np.float64) - self._middle
        place = (np.abs(apart).view(np.int64) >> (52 - _OCTAVE)) - (self._top - half + 2)
        np.maximum(place, 0, out=place)
        np.minimum(place, half - 1, out=place)
        return np.where(apart < 0, half - 1 - place, half + place)


class Ordered:
    """Numbers without NaN, shape [n], to ask for what a sort would tell. ``grid``: of another sample, to share."""

    def __init__(self, values: Array, grid: Grid | None = None) -> None:
        self.values = values
        self.large = len(values) > _SMALL
        self._grid = grid

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def grid(self) -> Grid:
        return self._grid or Grid(self.values)

    @cached_property
    def cells(self) -> Array:
        return self.grid.cells(self.values)

    @cached_property
    def counts(self) -> Array:
        """By cell."""
        return np.bincount(self.cells, minlength=self.grid.size)

    @cached_property
    def sorted(self) -> Array:
        return np.sort(self.values)

    def within(self, wanted: Array) -> Array:
        """The values in the wanted cells (booleans, [cells]), sorted."""
        return np.sort(self.values[wanted[self.cells]])

    def order_statistics(self, ranks: Array) -> Array:
        """The values of the given ranks, 0 the smallest."""
        if not self.large:
            return np.asarray(self.sorted[ranks])
        home = np.searchsorted(np.cumsum(self.counts), ranks, "right")
        wanted = self._marked(home)
        skipped = np.cumsum(np.where(wanted, 0, self.counts))
        return np.asarray(self.within(wanted)[ranks - skipped[home]])

    def below(self, edges: Array) -> Array:
        """How many values are at most each edge."""
        if not self.large:
            parts = (self.values[at : at + _CHUNK] for at in range(0, len(self.values), _CHUNK))
            counts = [np.searchsorted(np.sort(part), edges, "right") for part in parts]
            return np.asarray(np.sum(counts, axis=0)) if counts else np.zeros(len(edges), np.intp)
        home = self.grid.cells(edges)
        wanted = self._marked(home)
        skipped = np.cumsum(np.where(wanted, 0, self.counts))
        return np.asarray(np.searchsorted(self.within(wanted), edges, "right") + skipped[home])

    def _marked(self, cells: Array) -> Array:
        wanted = np.zeros(self.grid.size, bool)
        wanted[cells] = True
        return wanted


def ks(reference: Ordered | Array, current: Ordered | Array) -> float:
    """The exact two-sample statistic; nan when a side is empty. Neither has NaN."""
    one = reference if isinstance(reference, Ordered) else Ordered(reference)
    two = current if isinstance(current, Ordered) else Ordered(current, one.grid if one.large else None)
    n, m = len(one), len(two)
    if not n or not m:
        return float("nan")
    if not (one.large and two.large and one.grid is two.grid):
        return _apart(one.sorted, two.sorted, n, m, 0, 0)
    e, a = one.counts / n, two.counts / m
    right = np.cumsum(one.counts) / n - np.cumsum(two.counts) / m
    left = right - (e - a)
    best = float(np.abs(right).max())
    # Within a cell F - G is at most left + e and at most right + a (monitor.distances.ks_of_counts).
    cells = np.maximum(np.minimum(left + e, right + a), np.minimum(a - left, e - right)) > best
    if not cells.any():
        return best
    some, other = one.within(cells), two.within(cells)
    skipped = [np.cumsum(np.where(cells, 0, side.counts)) for side in (one, two)]
    points = one.grid.cells(np.concatenate([some, other]))
    return max(best, _apart(some, other, n, m, skipped[0][points], skipped[1][points]))


def _apart(some: Array, other: Array, n: int, m: int, before: Array | int, after: Array | int) -> float:
    """The largest difference of the distribution functions at the values given, sorted on each side."""
    points = np.concatenate([some, other])
    f = (np.searchsorted(some, points, "right") + before) / n
    g = (np.searchsorted(other, points, "right") + after) / m
    return float(np.abs(f - g).max(initial=0.0))
