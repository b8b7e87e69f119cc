"""Latencies in a fixed log-spaced histogram: merged by addition, exactly.

From 10 microseconds to 10 minutes each bin is ``(1 + e) / (1 - e)`` times as wide as the one before, with e = 0.025; a
quantile is answered by the bin's middle in that sense, so it is off by at most 2.5% of the sample's quantile (as
DDSketch, Masson, Rim and Lee 2019). Outside, the answer is the nearer end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.monitor.packing import packed, unpacked

Array = np.ndarray[Any, Any]

ERROR = 0.025
LOWEST, HIGHEST = 1e-5, 600.0
"""Seconds."""

_GROWTH = (1 + ERROR) / (1 - ERROR)
_LOG = math.log(_GROWTH)
BINS = math.ceil(math.log(HIGHEST / LOWEST) / _LOG) + 2
"""Bin 0: up to ``LOWEST``; the last: above ``HIGHEST``."""

EDGES = np.concatenate([LOWEST * _GROWTH ** np.arange(BINS - 1), [math.inf]])
"""Upper edge of each bin, in seconds, itself included."""


@dataclass(frozen=True, slots=True)
class Latency:
    """``counts``: int64, shape [BINS]."""

    counts: Array

    @classmethod
    def of(cls, seconds: Array) -> Latency:
        """Count answers. Negative and NaN (a clock that jumped) count as the shortest."""
        return cls(np.bincount(np.searchsorted(EDGES, np.nan_to_num(seconds, nan=0.0)), minlength=BINS))

    @classmethod
    def none(cls) -> Latency:
        return cls(np.zeros(BINS, np.int64))

    @classmethod
    def from_bytes(cls, data: bytes) -> Latency:
        return cls(unpacked(data, BINS))

    def to_bytes(self) -> bytes:
        return packed(self.counts)

    def __add__(self, other: Latency) -> Latency:
        return Latency(self.counts + other.counts)

    @staticmethod
    def quantiles(counts: Array, q: float) -> Array:
        """What ``quantile(q)`` is of each row of ``counts``, int64 of shape [n, BINS]: float64, shape [n]."""
        reached = counts.cumsum(axis=1)
        total = reached[:, -1]
        rank = np.maximum(1, np.ceil(q * total))
        place = np.minimum((reached < rank[:, None]).sum(axis=1), BINS - 1)
        middle = np.where(place == 0, LOWEST, np.where(place == BINS - 1, HIGHEST, 2 * EDGES[place] / (1 + _GROWTH)))
        return np.where(total, middle, math.nan)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def quantile(self, q: float) -> float:
        """Seconds within which a share ``q`` of the calls ended, within 2.5%; nan when there are none."""
        reached = self.counts.cumsum()
        total = int(reached[-1])
        if not total:
            return math.nan
        rank = max(1, math.ceil(q * total))
        place = int(reached.searchsorted(rank))
        if place == 0:
            return LOWEST
        if place >= BINS - 1:
            return HIGHEST
        return float(2 * EDGES[place] / (1 + _GROWTH))
