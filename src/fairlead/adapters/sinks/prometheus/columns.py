"""Measurements as columns: a call is packed into a preallocated buffer, and buffers are folded into histograms whole.

Nothing that the garbage collector tracks is made a call, and what a call costs does not grow with the number of
histograms: folding is numpy's work, once every ``ROWS`` calls and before each scrape.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

ROWS: Final = 1024


class Histogram:
    """Counts by upper bound, as Prometheus has them: a value lies in the first bucket whose bound is not below it."""

    __slots__ = ("_bounds", "_counts", "bounds", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._bounds = np.array(bounds, np.float64)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self.sum = 0.0

    @property
    def count(self) -> int:
        return int(self._counts.sum())

    def add(self, values: np.ndarray[Any, Any]) -> None:
        places = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self.sum += float(values.sum())

    def cumulative(self) -> list[int]:
        """Values at or under each bound, and under infinity last."""
        total: list[int] = np.cumsum(self._counts).tolist()
        return total


class Columns:
    """A buffer of ``ROWS`` rows of ``width`` numbers; ``fold`` gets an array [rows, width] when full or drained."""

    __slots__ = ("_at", "_buffer", "_end", "_fold", "_pack", "_row", "_width")

    def __init__(self, width: int, fold: Callable[[np.ndarray[Any, Any]], None]) -> None:
        row = struct.Struct(f"={width}d")
        self._width = width
        self._row = row.size
        self._end = row.size * ROWS
        self._buffer = bytearray(self._end)
        self._pack = row.pack_into
        self._fold = fold
        self._at = 0

    def put(self, *values: float) -> None:
        at = self._at
        self._pack(self._buffer, at, *values)
        self._at = at = at + self._row
        if at == self._end:
            self.drain()

    def drain(self) -> None:
        """Fold what is there."""
        if self._at:
            rows = np.frombuffer(self._buffer, np.float64, self._at // 8).reshape(-1, self._width)
            self._fold(rows)
            self._at = 0
