"""Seasons: a window held against the rows of the same hour of the day or week, and when rows are enough for that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import UsageError
from fairlead.monitor.binning import Reference

Array = np.ndarray[Any, Any]

MOST_SLOTS: Final = 336
"""Windows of one season: half hours of a week, or five minutes of a day."""
SLOT_ROWS: Final = 50
"""Rows of the reference below which a window held against them would hardly ever alarm."""
_TITLES = {86_400_000: "day", 604_800_000: "week"}
_MOST_THIN = 0.1
_LEAST_FILLED = 0.2


@dataclass(frozen=True, slots=True)
class Season:
    """Windows of ``window_ms``, each held against those at the same place in a season of ``season_ms``; 0: in none.

    Raises UsageError for a season that windows do not divide, into two at least and ``MOST_SLOTS`` at most.
    """

    window_ms: int = 3_600_000
    season_ms: int = 0

    def __post_init__(self) -> None:
        if self.season_ms and (self.season_ms % self.window_ms or not 2 <= self.slots <= MOST_SLOTS):
            raise UsageError(
                f"windows of {self.window_ms / 1000:g} s do not divide a season of {self.season_ms / 1000:g} s into "
                f"2 to {MOST_SLOTS} equal parts; take windows of 3600 s"
            )

    def __bool__(self) -> bool:
        return self.season_ms > 0

    @property
    def slots(self) -> int:
        """Windows of one season."""
        return self.season_ms // self.window_ms

    @property
    def title(self) -> str:
        """``day``, ``week``, or its length."""
        return _TITLES.get(self.season_ms, f"{self.season_ms / 1000:g} s")

    def known_by(self, reference: Reference) -> bool:
        """Whether the reference tells the windows of just this season apart."""
        return (reference.season_ms, reference.window_ms) == (self.season_ms, self.window_ms)

    def filled_by(self, times_ms: Array) -> bool:
        """Whether rows at these times [rows] make a reference for it.

        They reach from one end of a season to the other, a fifth of its windows have ``SLOT_ROWS`` or more, and no more
        than a tenth of all rows lie in windows with fewer: hours without traffic need no reference.
        """
        if not len(times_ms):
            return False
        windows = np.asarray(times_ms, np.int64) // self.window_ms
        rows = np.bincount(windows % self.slots, minlength=self.slots)
        thin = rows < SLOT_ROWS
        return bool(
            np.ptp(windows) + 1 >= self.slots
            and rows[thin].sum() <= _MOST_THIN * len(windows)
            and np.count_nonzero(~thin) >= _LEAST_FILLED * self.slots
        )


def plain(reference: Reference) -> Reference:
    """The same rows and bins (and id) as one distribution for all hours, without what was learned hour by hour."""
    if not reference.season_ms:
        return reference
    columns = {name: replace(column, seasons=[], usual={}) for name, column in reference.columns.items()}
    return replace(reference, columns=columns, season_ms=0)
