"""What the timeline page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the timeline. ``numbers``: its evidence in words, the first so many."""

    endpoint: str
    what: str
    text: str
    at_ms: int
    evidence: Mapping[str, Any]
    numbers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TimelineFacts:
    """``lines``: oldest first, the newest so many that fit; ``more``: how many that fit are left out.  ``kinds``: of
    all lines of the time.  ``cut``: more was noted than is read, so that the oldest are not there.
    """

    since_ms: int
    until_ms: int
    lines: tuple[Line, ...]
    more: int
    kinds: tuple[str, ...]
    cut: bool


class Timelines(Protocol):
    def timeline(self, endpoint: str, kind: str, since_ms: int, until_ms: int) -> TimelineFacts:
        """Empty ``endpoint`` and ``kind``: every one. Raises StateError."""
