"""The timeline page out of the state store."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Final

from fairlead.console.facts.timeline import Line, TimelineFacts
from fairlead.contracts.plans import Happening
from fairlead.monitor import timeline
from fairlead.wiring.console.kept import Kept

READ: Final = 2_000
"""Lines of a range that are read; its newest."""
LATE_MS: Final = 3_600_000
"""So late a line may be noted, after what it tells of, and still be found under the time when that happened."""
SHOWN: Final = 200
NUMBERS: Final = 12


@dataclass(frozen=True, slots=True)
class TimelinePage:
    """``Timelines`` over the home."""

    kept: Kept

    def timeline(self, endpoint: str, kind: str, since_ms: int, until_ms: int) -> TimelineFacts:
        state, end = self.kept.state, until_ms + 1
        noted = timeline.read(state, endpoint, since_ms=since_ms, until_ms=end, limit=READ)
        after = timeline.read(state, endpoint, since_ms=end, until_ms=end + LATE_MS, limit=READ)
        known = timeline.chosen([*noted, *after], since_ms=since_ms, until_ms=end)
        found = timeline.chosen(known, what=(kind,) if kind else ())
        return TimelineFacts(
            since_ms,
            until_ms,
            tuple(_line(one) for one in found[-SHOWN:]),
            max(0, len(found) - SHOWN),
            tuple(sorted({one.what for one in known})),
            READ in (len(noted), len(after)),
        )


def _line(one: Happening) -> Line:
    numbers = tuple(islice(timeline.pairs(one.evidence), NUMBERS))
    return Line(one.endpoint, one.what, one.text, one.at_ms, one.evidence, numbers)
