"""What a detector says, and what it promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.contracts.errors import UsageError

DAY_MS = 86_400_000

THRESHOLDS: Mapping[str, tuple[float, float]] = {
    "psi": (0.1, 0.25),
    "ks": (0.1, 0.25),
    "js": (0.1, 0.25),
    "missing": (0.05, 0.25),
    "new": (0.01, 0.25),
    "type": (0.01, 0.25),
    "constant": (1.0, 1.0),
    "absent": (1.0, 1.0),
    "overall": (0.1, 0.5),
}
"""Kind of finding to the sizes from which it is usually called moderate and large."""


@dataclass(frozen=True, slots=True)
class Contract:
    """At most ``false_alarms`` false alarms of an endpoint in ``days`` days of windows of ``window_ms``, on average.

    An alarm begins with a window in which some column alarms, and ends after ``quiet`` windows in which none does.

    ``least_rows``: a window of fewer rows is not tested.  ``learn``: clean windows after the reference's own from
    which the usual unrest is still learned (default: four weeks of hours); then it stands.
    ``least_windows``: windows that must have been learned from before a difference that is not large may alarm.
    Raises UsageError for a promise that is none.
    """

    false_alarms: float = 1.0
    days: float = 90.0
    window_ms: int = 3_600_000
    least_rows: int = 50
    learn: int = 672
    least_windows: int = 48
    quiet: int = 24

    def __post_init__(self) -> None:
        if not (self.false_alarms > 0 and self.days > 0 and self.window_ms > 0):
            raise UsageError("false_alarms, days and window_ms of a drift contract must be above 0")
        if self.false_alarms * self.window_ms >= self.days * DAY_MS:
            raise UsageError(
                f"{self.false_alarms:g} false alarms in {self.days:g} days are one for every window; allow fewer"
            )

    @property
    def level(self) -> float:
        """The probability of a false alarm that one window may have."""
        return self.false_alarms * self.window_ms / (self.days * DAY_MS)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one column of one window. ``column``: ``in.NAME``, ``out.NAME`` or ``*`` for all together.

    ``kind``: ``psi``, ``ks``, ``js``, ``missing`` and ``new`` (differences of shares), ``type`` (share of rows that are
    numbers among text or text among numbers), ``constant``, ``absent``, ``overall`` (share of columns that alarm).
    ``p``: of ``size`` or more when nothing happened.  ``band``: the size that independent rows stay under 95 times of
    100 at this n.  ``usual``: the mean size in this stream's clean windows.  ``moderate``, ``large``: the usual
    thresholds.  ``alarm``: p is below the contract.  ``high``: for ``ks``, the raw values' statistic is at most this.
    ``since_ms``: where it alarms, the start of the first window of this column's alarm (``*``: of the endpoint's); one
    that is the window's own start is a new alarm.
    """

    column: str
    kind: str
    size: float
    p: float
    n: int
    band: float
    usual: float
    moderate: float
    large: float
    alarm: bool
    importance: float | None = None
    high: float | None = None
    since_ms: int | None = None
    text: str = ""

    @property
    def output(self) -> bool:
        """Prediction drift."""
        return self.column.startswith("out.")

    @property
    def grade(self) -> str:
        """``large``, ``moderate`` or ``small``, by size alone."""
        size = abs(self.size)
        return "large" if size >= self.large else "moderate" if size >= self.moderate else "small"


class Spells:
    """When each column's alarm began, and when it last alarmed. ``since``: what ``state()`` gave."""

    def __init__(self, contract: Contract, since: Mapping[str, Sequence[int]]) -> None:
        self._quiet_ms = contract.quiet * contract.window_ms
        self._since = {name: list(pair) for name, pair in since.items()}

    def state(self) -> dict[str, list[int]]:
        return {name: list(pair) for name, pair in self._since.items()}

    def began(self, column: str, start_ms: int) -> int:
        """Start of the alarm of which this window is, its own where it is the first."""
        first, last = self._since.get(column, (start_ms, start_ms))
        return start_ms if start_ms - last > self._quiet_ms else first

    def note(self, findings: Sequence[Finding], start_ms: int) -> None:
        for one in findings:
            if one.alarm and one.since_ms is not None:
                self._since[one.column] = [one.since_ms, max(start_ms, one.since_ms)]


def ranked(findings: list[Finding]) -> list[Finding]:
    """Alarms first, then by the column's importance, then by size over its threshold."""
    return sorted(
        findings,
        key=lambda one: (not one.alarm, -(one.importance or 0.0), -abs(one.size) / one.large, one.column, one.kind),
    )
