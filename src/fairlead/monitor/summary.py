"""What a window holds of one column: counts in bins, and a few numbers beside. Merged by addition.

Counts merge exactly, whatever the order. Sums are floating-point: they agree to rounding. Texts that the reference does
not name are counted one by one for those whose CRC-32 is among the smallest (bottom-k, Cohen and Kaplan 2007), which is
exact for each text kept and the same however the rows were spread over workers; the rest is ``others``.

Without a reference numbers go into a log-spaced histogram (as DDSketch, Masson, Rim and Lee 2019): any quantile is
within 1% of the sample's where that is between 1e-12 and 1e12 in size; nearer to 0 it is 0, further out it is the end.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fairlead.contracts.errors import StateError
from fairlead.monitor.binning import CATEGORICAL, ColumnReference, count_numbers
from fairlead.monitor.columns import Values
from fairlead.monitor.ordered import Ordered
from fairlead.monitor.packing import packed, unpacked

Array = np.ndarray[Any, Any]

ERROR = 0.01
"""Relative error of a quantile without a reference."""

KEPT, KEPT_ALONE = 64, 256
"""Texts counted by name: beside a reference, and without one."""

_GROWTH = (1 + ERROR) / (1 - ERROR)
_LOG = math.log(_GROWTH)
_SMALLEST = 1e-12
_SIDE = math.ceil(math.log(1e24) / _LOG) + 1
BINS = 2 * _SIDE + 1
"""Of the log-spaced histogram: negative numbers, from large to small, zero, positive ones."""

_LONGEST = 80
_HEAD = struct.Struct("<IIqqqqddd")


class Bins:
    """How a column is counted: by its reference, or (None) by the log-spaced histogram and its texts."""

    def __init__(self, column: ColumnReference | None) -> None:
        self.column = column
        self.size = len(column.counts) if column else BINS
        self.kept = KEPT if column else KEPT_ALONE
        self._edges = np.asarray(column.edges if column else ())
        self._places = {text: place for place, text in enumerate(column.values if column else ())}

    def count(self, values: Values, ordered: Ordered | None = None) -> Summary:
        """``ordered``: the numbers, where they are needed in order elsewhere too."""
        found = Summary(np.zeros(self.size, np.int64), self.kept)
        found.missing = values.missing
        texts = values.texts
        if self.column is not None and self.column.kind == CATEGORICAL:
            found.foreign = len(values.numbers)
            texts = {}
            for text, count in values.texts.items():
                place = self._places.get(text, self.size - 1)
                found.counts[place] += count
                if place == self.size - 1:
                    texts[text] = count
        else:
            numbers = values.numbers
            found.counts += (
                count_numbers(ordered or Ordered(numbers), self._edges) if self.column else _log_counts(numbers)
            )
            found.foreign = sum(values.texts.values())
            found.measure(numbers)
        if texts:
            found.keep(texts)
        return found


class Summary:
    """``counts``: int64 by bin.  ``foreign``: rows of the other kind (without a reference: texts).

    ``finite``: how many numbers ``total``, ``low`` and ``high`` are of; ``infinite``: the others.
    ``texts``: those counted by name, of texts that the reference does not name.
    """

    def __init__(self, counts: Array, kept: int) -> None:
        self.counts = counts
        self.kept = kept
        self.missing = self.foreign = self.finite = self.infinite = 0
        self.total, self.low, self.high = 0.0, math.inf, -math.inf
        self.texts: dict[str, int] = {}

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.counts.sum()) + self.missing + self.foreign

    @property
    def mean(self) -> float:
        """Of the finite numbers; nan without any."""
        return self.total / self.finite if self.finite else math.nan

    def measure(self, numbers: Array) -> None:
        if not len(numbers):
            return
        low, high = float(numbers.min()), float(numbers.max())
        if math.isinf(low) or math.isinf(high):
            finite = numbers[np.isfinite(numbers)]
            self.infinite = len(numbers) - len(finite)
            self.measure(finite)
            return
        self.finite, self.low, self.high = len(numbers), low, high
        self.total = float(numbers.sum(dtype=np.float64))

    def keep(self, texts: Mapping[str, int]) -> None:
        for text, count in texts.items():
            short = text[:_LONGEST]
            self.texts[short] = self.texts.get(short, 0) + count
        if len(self.texts) > self.kept:
            kept = sorted(self.texts, key=lambda text: (zlib.crc32(text.encode(errors="replace")), text))[: self.kept]
            self.texts = {text: self.texts[text] for text in kept}

    def add(self, other: Summary) -> None:
        """Raises StateError when the bins are of another reference."""
        if len(self.counts) != len(other.counts):
            raise StateError("histograms of two references cannot be added; take windows of one reference")
        self.counts = self.counts + other.counts
        self.missing += other.missing
        self.foreign += other.foreign
        self.finite += other.finite
        self.infinite += other.infinite
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        if other.texts:
            self.keep(other.texts)

    def quantile(self, q: float) -> float:
        """Of the numbers of a column without a reference, within 1% (see above); nan when there are none."""
        if len(self.counts) != BINS or not self.counts.any():
            return math.nan
        rank = max(1, math.ceil(q * int(self.counts.sum())))
        place = int(np.searchsorted(np.cumsum(self.counts), rank)) - _SIDE
        size = 2 * _SMALLEST * _GROWTH ** abs(place) / (1 + _GROWTH)
        return math.copysign(size, place) if place else 0.0

    def to_bytes(self) -> bytes:
        counts = packed(self.counts)
        numbers = (self.missing, self.foreign, self.finite, self.infinite, self.total, self.low, self.high)
        texts = json.dumps(self.texts, ensure_ascii=False).encode(errors="replace") if self.texts else b""
        return _HEAD.pack(len(self.counts), len(counts), *numbers) + counts + texts

    @classmethod
    def from_bytes(cls, data: bytes) -> Summary:
        """Raises StateError for other bytes."""
        try:
            size, length, *numbers = _HEAD.unpack_from(data)
            rest = data[_HEAD.size + length :]
            texts = json.loads(rest) if rest else {}
        except (struct.error, ValueError) as error:
            raise StateError(f"a column of {len(data)} bytes cannot be read: {error}") from error
        found = cls(unpacked(data[_HEAD.size : _HEAD.size + length], size), KEPT_ALONE if size == BINS else KEPT)
        found.missing, found.foreign, found.finite, found.infinite, found.total, found.low, found.high = numbers
        found.texts = texts
        return found


def _log_counts(numbers: Array) -> Array:
    size = np.clip(np.abs(numbers.astype(np.float64)), 0.0, 1e12)
    with np.errstate(divide="ignore"):
        place = np.ceil(np.log(size / _SMALLEST) / _LOG)
    place = np.where(size > _SMALLEST, np.clip(place, 1, _SIDE), 0).astype(np.intp)
    return np.bincount(np.where(numbers < 0, -place, place) + _SIDE, minlength=BINS)
