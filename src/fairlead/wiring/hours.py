"""Hours of windows, added up once and remembered: what long spans are read from, in place of every window of them.

An hour is remembered with the tally of its windows, and read anew when that is another: a window that came late, or
was put again, is seen whenever it came. What the controller added up (``wiring.summing``) spares reading its windows,
by the same rule: only with the tally that its windows have now.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from fairlead.contracts.events import Window
from fairlead.contracts.state import StateStore, Tally
from fairlead.monitor.sketches import rolled

T = TypeVar("T")

HOUR_MS: Final = 3_600_000
YOUNG_MS: Final = 2 * HOUR_MS
"""Hours that ended so long ago change seldom: they are held against their tally less often."""
CHECKED_MS: Final = 300_000
"""For pages that are read again and again: between two looks at the tally of an hour that is not young. What comes late
to it is seen that much later, at most.
"""
KEPT_BYTES: Final = 128 * 2**20
_AT_ONCE: Final = {True: 6, False: 168}
"""Hours whose windows, with histograms and without, are in memory at once."""
_ADDED_AT_ONCE: Final = {True: 72, False: 1440}
"""The same of hours that were added up already."""
_NONE: Final = Tally(0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Hour(Generic[T]):
    tally: Tally
    told: T
    size: int
    checked_ms: int


class Hours(Generic[T]):
    """``make``: of the windows of an hour.  ``size``: bytes that this takes, about.  ``kept``: bytes remembered.

    ``checked_ms``: between two looks at the tally of an hour that is not young; 0: none is trusted unseen.
    Safe for several threads; two that ask for the same hour at once may both read it.
    """

    def __init__(
        self,
        make: Callable[[Sequence[Window]], T],
        size: Callable[[T], int],
        *,
        columns: bool,
        kept: int = KEPT_BYTES,
        checked_ms: int = 0,
    ) -> None:
        self._make, self._size, self._columns = make, size, columns
        self._most, self._checked_ms = kept, checked_ms
        self._hours: OrderedDict[tuple[str, int], _Hour[T]] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def read(self, store: StateStore, endpoint: str, since_ms: int, until_ms: int, now_ms: int) -> dict[int, T]:
        """Of each hour that has windows, by when it begins. ``since_ms``, ``until_ms``: beginnings of hours.

        Raises what the store raises.
        """
        hours = range(since_ms, until_ms, HOUR_MS)
        with self._lock:
            known = {hour: found for hour in hours if (found := self._hours.get((endpoint, hour)))}
        asked = [hour for hour in hours if hour not in known or self._due(hour, known[hour], now_ms)]
        if asked:
            end = asked[-1] + HOUR_MS
            tallies = store.tallies(endpoint, since_ms=asked[0], until_ms=end, unit_ms=HOUR_MS)
            stale = []
            for hour in asked:
                tally = tallies.get(hour, _NONE)
                if hour in known and known[hour].tally == tally:
                    known[hour] = replace(known[hour], checked_ms=now_ms)
                else:
                    stale.append(hour)
            for hour, windows in _of_hours(store, endpoint, stale, tallies, columns=self._columns):
                told = self._make(windows)
                known[hour] = _Hour(tallies.get(hour, _NONE), told, self._size(told), now_ms)
        self._remember(endpoint, known)
        return {hour: known[hour].told for hour in hours if known[hour].tally.windows}

    def _due(self, hour: int, known: _Hour[T], now_ms: int) -> bool:
        return now_ms - hour < HOUR_MS + YOUNG_MS or not 0 <= now_ms - known.checked_ms < self._checked_ms

    def _remember(self, endpoint: str, known: dict[int, _Hour[T]]) -> None:
        with self._lock:
            for hour, found in known.items():
                before = self._hours.pop((endpoint, hour), None)
                self._held += found.size - (before.size if before else 0)
                self._hours[endpoint, hour] = found
            while self._held > self._most and len(self._hours) > 1:
                self._held -= self._hours.popitem(last=False)[1].size


def _of_hours(
    store: StateStore, endpoint: str, hours: Sequence[int], tallies: dict[int, Tally], *, columns: bool
) -> Iterator[tuple[int, Sequence[Window]]]:
    """The windows of each, or what they were added up to; the store is not asked for hours without any."""
    for hour in hours:
        if hour not in tallies:
            yield hour, []
    filled, most = [hour for hour in hours if hour in tallies], _AT_ONCE[columns]
    while filled:
        some = _next(filled, _ADDED_AT_ONCE[columns])
        span = {"since_ms": some[0], "until_ms": some[-1] + HOUR_MS}
        added = {
            one.start_ms: one.windows
            for one in store.hours(endpoint, **span, columns=columns)
            if one.tally == tallies.get(one.start_ms)
        }
        yield from ((hour, added[hour]) for hour in some if hour in added)
        left = [hour for hour in some if hour not in added]
        while left:
            few = _next(left, most)
            yield from _by_minutes(store, endpoint, few, columns=columns)
            left = left[len(few) :]
        filled = filled[len(some) :]


def _next(hours: Sequence[int], most: int) -> Sequence[int]:
    """The first of them, within a span of ``most`` hours."""
    return [hour for hour in hours[:most] if hour < hours[0] + most * HOUR_MS]


def _by_minutes(
    store: StateStore, endpoint: str, hours: Sequence[int], *, columns: bool
) -> Iterator[tuple[int, list[Window]]]:
    groups: dict[int, list[Window]] = {hour: [] for hour in hours}
    end = hours[-1] + HOUR_MS
    for window in store.windows(endpoint, since_ms=hours[0], until_ms=end, columns=columns):
        hour = window.start_ms // HOUR_MS * HOUR_MS
        if hour in groups:
            groups[hour].append(window)
    yield from groups.items()


def with_columns(checked_ms: int = 0) -> Hours[tuple[Window, ...]]:
    """Hours as windows with their histograms, one for each version, arm and reference."""
    return Hours(rolled, _weight, columns=True, checked_ms=checked_ms)


def _weight(windows: Sequence[Window]) -> int:
    return 200 + sum(500 + len(one.latency) + sum(120 + len(data) for data in one.columns.values()) for one in windows)
