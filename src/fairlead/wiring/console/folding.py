"""Windows added up for pages: totals, and the same in equal parts of a span. Shadows, which no caller saw, are out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from fairlead.contracts.events import Window
from fairlead.contracts.state import StateStore
from fairlead.monitor.degraded import CODE
from fairlead.monitor.latency import BINS, Latency
from fairlead.monitor.mapping import SHADOW
from fairlead.wiring.hours import CHECKED_MS, HOUR_MS, Hours

MINUTE_MS: Final = 60_000
KEPT_BYTES: Final = 192 * 2**20
"""Of the hours that are remembered: some 50,000 of one version."""
_LEAST_SECONDS: Final = 5.0

Key = tuple[str, str]
"""Version and arm."""


@dataclass(slots=True)
class Totals:
    """``first_ms``: when the first window began."""

    calls: int = 0
    rows: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    latency: Latency = field(default_factory=Latency.none)
    first_ms: int | None = None

    def add(self, window: Window) -> None:
        self.count(window)
        self.latency += Latency.from_bytes(window.latency)

    def count(self, window: Window) -> None:
        """Add all but the latencies."""
        self.calls += window.calls
        self.rows += window.rows
        for code, count in window.codes.items():  # not ``update``, which asks much before it adds little
            self.codes[code] += count
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
        found = self.latency.quantile(q)
        return None if math.isnan(found) else found


@dataclass(slots=True)
class Slot:
    """One part of a span. ``seconds``: how much of it is over."""

    start_ms: int
    seconds: float
    totals: Totals = field(default_factory=Totals)

    @property
    def rate(self) -> float | None:
        """Calls a second; None where nothing was recorded, and of a part that has only begun."""
        if self.totals.first_ms is None or self.seconds < _LEAST_SECONDS:
            return None
        return self.totals.calls / self.seconds


class Slots:
    """A span in ``count`` equal parts or fewer, each whole minutes (from an hour on: whole hours) long, so that windows
    of a minute fall into one. The first begins before the span where its end does not.

    ``spans``: when each begins (Unix ms), and how much of it is over (seconds).
    """

    def __init__(self, since_ms: int, until_ms: int, count: int) -> None:
        wanted = max(1, until_ms - since_ms) / count
        unit = HOUR_MS if wanted > HOUR_MS / 2 else MINUTE_MS
        self.length = max(1, -(-int(wanted) // unit)) * unit
        self.since_ms = since_ms // self.length * self.length
        self.until_ms = until_ms
        starts = range(self.since_ms, max(until_ms, self.since_ms + 1), self.length)
        self.spans = [(start, (min(start + self.length, until_ms) - start) / 1000) for start in starts]
        self._slots: list[Slot] = []

    @property
    def hourly(self) -> bool:
        """Whether an hour falls into one part as a whole."""
        return self.length % HOUR_MS == 0

    def at(self, start_ms: int) -> Slot | None:
        """The part in which this moment is."""
        place = (start_ms - self.since_ms) // self.length
        return self._made()[place] if 0 <= place < len(self.spans) else None

    def all(self) -> Iterator[Slot]:
        return iter(self._made())

    def _made(self) -> list[Slot]:
        if not self._slots:
            self._slots = [Slot(start, seconds) for start, seconds in self.spans]
        return self._slots

    def covered(self, first_ms: int | None) -> float:
        """Seconds from the first call to the end; 0 without one."""
        return 0.0 if first_ms is None else max(1.0, (self.until_ms - max(first_ms, self.since_ms)) / 1000)


class Strip:
    """Windows in the parts of a span, added up at once: what a row of the first page is drawn from.

    ``total``: of all of them, also those that lie in no part.
    """

    def __init__(self, slots: Slots, windows: Iterable[Window]) -> None:
        self.total = Totals()
        parts = self._spans = slots.spans
        self._calls: list[int | None] = [None] * len(parts)
        self._counts = np.zeros((len(parts) + 1, BINS), np.int64)  # the last: of those in no part
        for window in windows:
            place = (window.start_ms - slots.since_ms) // slots.length
            inside = 0 <= place < len(parts)
            self._counts[place if inside else -1] += Latency.from_bytes(window.latency).counts
            self.total.count(window)
            if inside:
                self._calls[place] = (self._calls[place] or 0) + window.calls
        self.total.latency = Latency(self._counts.sum(axis=0))

    def rates(self) -> tuple[float | None, ...]:
        """As ``Slot.rate`` of each part."""
        known = [(calls, seconds) for calls, (_, seconds) in zip(self._calls, self._spans, strict=True)]
        return tuple(None if calls is None or span < _LEAST_SECONDS else calls / span for calls, span in known)

    def quantiles(self, q: float) -> tuple[float | None, ...]:
        """Of each part, in seconds; None where nothing was recorded."""
        found = Latency.quantiles(self._counts[:-1], q).tolist()
        return tuple(None if math.isnan(one) else one for one in found)


@dataclass(frozen=True, slots=True)
class Folded:
    """``total``: what callers saw.  ``versions``: each by arm, shadows too."""

    total: Totals
    versions: Mapping[Key, Totals]


class Folds:
    """Reads the windows of a span into its parts; hours that are parts or fit into one, as ``Hours`` has them.

    Safe for several threads.
    """

    def __init__(self) -> None:
        self._hours: Hours[dict[Key, Totals]] = Hours(
            folded, _size, columns=False, kept=KEPT_BYTES, checked_ms=CHECKED_MS
        )

    def read(self, store: StateStore, endpoint: str, slots: Slots, now_ms: int) -> Folded:
        """Raises what the store raises."""
        versions: dict[Key, Totals] = {}
        total = Totals()

        def count(start_ms: int, found: Mapping[Key, Totals]) -> None:
            slot = slots.at(start_ms)
            for key, one in found.items():
                versions.setdefault(key, Totals()).merge(one)
                if key[1] != SHADOW and slot is not None:
                    slot.totals.merge(one)
                    total.merge(one)

        since = slots.since_ms
        if slots.hourly:
            since = max(since, slots.until_ms // HOUR_MS * HOUR_MS)
            for hour, found in self._hours.read(store, endpoint, slots.since_ms, since, now_ms).items():
                count(hour, found)
        groups: dict[int, list[Window]] = {}
        for window in store.windows(endpoint, since_ms=since, until_ms=slots.until_ms, columns=False):
            groups.setdefault((window.start_ms - slots.since_ms) // slots.length, []).append(window)
        for group in groups.values():
            count(group[0].start_ms, folded(group))
        return Folded(total, versions)


def _size(found: Mapping[Key, Totals]) -> int:
    return 200 + sum(800 + one.latency.counts.nbytes for one in found.values())


def folded(windows: Iterable[Window]) -> dict[Key, Totals]:
    """By version and arm."""
    found: dict[Key, Totals] = {}
    for window in windows:
        found.setdefault((window.version, window.arm), Totals()).add(window)
    return found
