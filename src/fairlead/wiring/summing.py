"""Hours of windows added up by the leader and kept in the state store, so that who reads a long span reads no minutes.

A kept hour has the tally of the windows that it was made of, and counts only while they have that tally: windows only
grow (a worker puts each again with more calls, under a name of its process alone), so two states of an hour with one
tally are one state. What comes late makes a kept hour stale at once; readers turn to the minutes, until the leader
comes by and adds that hour up again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from fairlead.contracts.errors import FairleadError, LeaseLost, StateError
from fairlead.contracts.events import Window
from fairlead.contracts.state import Hour, Lease, StateStore, Tally
from fairlead.kit.clock import Clock
from fairlead.monitor.findings import DAY_MS
from fairlead.monitor.sketches import rolled
from fairlead.wiring.hours import HOUR_MS
from fairlead.wiring.pruning import KEPT_DAYS

MARGIN_MS: Final = 600_000
"""After its end, before an hour is added up: windows of a minute are put for the last time two minutes after theirs."""
PAUSE_SECONDS: Final = 5.0
MOST_WINDOWS: Final = 300
"""That are read at once, about, and added up in one step: where one hour has more, all of that hour."""
TRIES: Final = 3
"""Of a day that fails, before others have their turn."""
_WALKED_MS: Final = (KEPT_DAYS - 2) * DAY_MS
"""How far back: not to where windows are being pruned."""
_log = logging.getLogger("fairlead.controller")


class Summing:
    """A day of one endpoint at a time: the newest of each as soon as an hour is over, then further and further back,
    and round again, for what came late. Not safe for several threads.
    """

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._newest: dict[str, int] = {}
        self._gone: dict[str, int] = {}
        self._turned: float | None = None
        self._failed = 0

    def turn(self, clock: Clock, fence: Callable[[], Lease]) -> None:
        """When it is time. What cannot be read or kept is left for another turn. Raises LeaseLost."""
        if self._turned is not None and clock.now() - self._turned < PAUSE_SECONDS:
            return
        self._turned = clock.now()
        try:
            self.step(clock.wall_ms(), fence)
        except LeaseLost:
            raise
        except FairleadError as error:
            _log.warning("hours are not added up", extra={"fields": {"error": str(error)}})

    def step(self, now_ms: int, fence: Callable[[], Lease]) -> int:
        """How many hours it added up. Raises LeaseLost, and what the store raises."""
        names = self._state.endpoints()
        if not names:
            return 0
        over = (now_ms - MARGIN_MS) // HOUR_MS * HOUR_MS
        name = next((one for one in names if self._newest.get(one) != over), "")
        if name:
            made, whole = self._tried(name, over, fence)
            if whole:
                self._newest[name] = over
            return made
        name = min(names, key=lambda one: self._gone.get(one, 0))
        gone = self._gone.get(name, 0)
        made, whole = self._tried(name, over - DAY_MS - gone % _WALKED_MS, fence)
        if whole:
            self._gone[name] = gone + DAY_MS
        return made

    def _tried(self, name: str, until_ms: int, fence: Callable[[], Lease]) -> tuple[int, bool]:
        """As ``_day``. One that fails again and again is passed over, until its turn comes again."""
        try:
            told = self._day(name, until_ms, fence)
        except LeaseLost:
            raise
        except FairleadError as error:
            self._failed += 1
            if self._failed < TRIES:
                raise
            fields = {"endpoint": name, "until_ms": until_ms, "error": str(error)}
            _log.warning("a day is not added up", extra={"fields": fields})
            told = 0, True
        self._failed = 0
        return told

    def _day(self, name: str, until_ms: int, fence: Callable[[], Lease]) -> tuple[int, bool]:
        """The hours of the day that ends then, the newest first; whether all are added up now."""
        since_ms = until_ms - DAY_MS
        tallies = self._state.tallies(name, since_ms=since_ms, until_ms=until_ms, unit_ms=HOUR_MS)
        kept = self._state.hours(name, since_ms=since_ms, until_ms=until_ms, columns=False)
        known = {one.start_ms: one.tally for one in kept}
        stale = [hour for hour in sorted(tallies, reverse=True) if known.get(hour) != tallies[hour]]
        made: list[Hour] = []
        read = left = 0
        for hour in stale:
            if made and read + tallies[hour].windows > MOST_WINDOWS:
                break
            try:
                made.append(self._hour(name, hour, tallies[hour].windows, fence))
            except LeaseLost:
                raise
            except StateError as error:  # one that cannot be read holds nothing else up
                fields = {"endpoint": name, "start_ms": hour, "error": str(error)}
                _log.warning("an hour is not added up", extra={"fields": fields})
                left += 1
                continue
            read += made[-1].tally.windows
        if made:
            self._state.put_hours(name, made, fence=fence())
        return len(made), len(made) + left == len(stale)

    def _hour(self, name: str, hour: int, many: int, fence: Callable[[], Lease]) -> Hour:
        """With the tally of what it read, whatever was put since the store was asked for its.

        One of many windows is read in pieces, and the lease extended between them: it may take longer than that lasts.
        """
        length = HOUR_MS // -(-many // MOST_WINDOWS)
        windows = calls = rows = 0
        parts: list[Window] = []
        for since_ms in range(hour, hour + HOUR_MS, length):
            if since_ms > hour:
                fence()
            until_ms = min(since_ms + length, hour + HOUR_MS)
            some = self._state.windows(name, since_ms=since_ms, until_ms=until_ms)
            windows, calls = windows + len(some), calls + sum(one.calls for one in some)
            rows += sum(one.rows for one in some)
            parts += rolled(some)
        return Hour(hour, Tally(windows, calls, rows), rolled(parts))
