"""Numbers and times as reports write them: a dash where there is none, never a zero."""

from __future__ import annotations

from datetime import UTC, datetime

from fairlead.monitor.metrics import Measure

NONE = "-"
"""What stands where there is no number: never a zero."""


def time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def number(value: float | None, digits: int = 4) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def probability(p: float | None) -> str:
    if p is None:
        return NONE
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def percent(value: float | None, digits: int = 0) -> str:
    return NONE if value is None else f"{100 * value:.{digits}f} %"


def share(part: int, whole: int) -> str:
    """A share in percent; a dash of nothing."""
    if not whole:
        return NONE
    value = 100 * part / whole
    return f"{value:.2f} %" if 0 < value < 1 else f"{value:.1f} %" if 0 < value < 100 else f"{value:.0f} %"


def band(limits: tuple[float, float] | None) -> str:
    if limits is None:
        return NONE
    return f"{limits[0]:.3f} to {limits[1]:.3f}" if limits[0] else f"to {limits[1]:.3f}"


def interval(one: Measure | None) -> str:
    """``0.8123 [0.79, 0.83]``, or a dash."""
    if one is None or one.value is None:
        return NONE
    if one.low is None or one.high is None:
        return f"{one.value:.4f}"
    return f"{one.value:.4f} [{one.low:.3f}, {one.high:.3f}]"


def milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    value = seconds * 1000
    return f"{value:.2f} ms" if value < 10 else f"{value:,.0f} ms"


def duration(ms: int | None) -> str:
    """``40 s``, ``12 min``, ``3.5 h``, ``2.1 days``; a dash of nothing."""
    if ms is None:
        return NONE
    for size, word in ((86_400_000, "days"), (3_600_000, "h"), (60_000, "min")):
        if ms >= size:
            return f"{ms / size:.3g} {word}"
    return f"{ms / 1000:.3g} s"


def some(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
