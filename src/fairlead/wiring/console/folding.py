"""Windows added up for pages: totals, and the same in equal parts of a span. Shadows, which no caller saw, are out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from fairlead.contracts.events import Window
from fairlead.monitor.degraded import CODE
from fairlead.monitor.latency import Latency
from fairlead.monitor.mapping import SHADOW


@dataclass(slots=True)
class Totals:
    """``first_ms``: when the first window began."""

    calls: int = 0
    rows: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    latency: Latency = field(default_factory=Latency.none)
    first_ms: int | None = None

    def add(self, window: Window) -> None:
        if window.arm == SHADOW:
            return
        self.calls += window.calls
        self.rows += window.rows
        self.codes.update(window.codes)
        self.latency += Latency.from_bytes(window.latency)
        self.first_ms = window.start_ms if self.first_ms is None else min(self.first_ms, window.start_ms)

    def merge(self, other: Totals) -> None:
        self.calls += other.calls
        self.rows += other.rows
        self.codes.update(other.codes)
        self.latency += other.latency
        firsts = [one for one in (self.first_ms, other.first_ms) if one is not None]
        self.first_ms = min(firsts, default=None)

    @property
    def failed(self) -> int:
        """Calls that were answered by an error, as the report counts them."""
        return self.calls - self.codes.get("", 0) - self.codes.get(CODE, 0)

    @property
    def errors(self) -> float | None:
        return self.failed / self.calls if self.calls else None

    def quantile(self, q: float) -> float | None:
        return self.latency.quantile(q) if self.latency.total else None


@dataclass(slots=True)
class Slot:
    """One part of a span. ``seconds``: how much of it is over."""

    start_ms: int
    seconds: float
    totals: Totals = field(default_factory=Totals)

    @property
    def rate(self) -> float | None:
        """Calls a second; None where nothing was recorded."""
        return self.totals.calls / self.seconds if self.totals.first_ms is not None and self.seconds > 0 else None


class Slots:
    """A span in ``count`` equal parts; a window belongs to the one in which it begins."""

    def __init__(self, since_ms: int, until_ms: int, count: int) -> None:
        self._since = since_ms
        self._length = max(1, -(-(until_ms - since_ms) // count))
        ends = [min(since_ms + (place + 1) * self._length, until_ms) for place in range(count)]
        self._slots = [
            Slot(since_ms + place * self._length, (end - since_ms - place * self._length) / 1000)
            for place, end in enumerate(ends)
        ]

    def add(self, window: Window) -> None:
        place = (window.start_ms - self._since) // self._length
        if 0 <= place < len(self._slots):
            self._slots[place].totals.add(window)

    def all(self) -> Iterator[Slot]:
        return iter(self._slots)
