"""Small charts as inline SVG: two histograms side by side, and a line with its interval over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from math import ceil, floor, log10

_DAY = 86_400_000
_LABEL = 14  # characters below a bar
_STEPS = tuple(60_000 * one for one in (1, 5, 15, 30, 60, 180, 360, 720, 1440, 2880, 10080, 20160, 43200))
_Known = tuple[int, float, float, float]


@dataclass(frozen=True, slots=True)
class Point:
    """``at_ms``; ``value`` None where there is none: the line has a gap there. ``low``, ``high``: its interval."""

    at_ms: int
    value: float | None
    low: float | None = None
    high: float | None = None


def histogram(
    reference: Sequence[float],
    current: Sequence[float],
    labels: Sequence[str],
    *,
    width: int = 260,
    height: int = 72,
    axis: bool = False,
    name: str = "",
) -> str:
    """Shares of the reference (outlined) behind those of now (filled), bin by bin; ``axis`` writes the bins below."""
    if not reference or len(reference) != len(current):
        return ""
    bottom = 34 if axis else 1
    left = 34 if axis else 0
    high = max(*reference, *current, 1e-9)
    tall = height - bottom - (8 if axis else 2)
    slot = (width - left) / len(reference)
    bar = min(slot * 0.62, width / 6)
    parts = []
    if axis:
        for share in (0.0, high):
            y = height - bottom - tall * share / high
            parts.append(f'<line class="grid" x1="{left}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(
                f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * share:.0f} %</text>'
            )
    longest = max((min(len(label), _LABEL) for label in labels), default=2)
    every = max(1, ceil(len(reference) * (6.4 * longest + 10) / (width - left)))
    for place, (before, now) in enumerate(zip(reference, current, strict=True)):
        x = left + place * slot + (slot - bar) / 2
        label = labels[place] if place < len(labels) else str(place + 1)
        tip = escape(f"{label}: reference {100 * before:.1f} %, now {100 * now:.1f} %")
        parts.append(f"<g><title>{tip}</title>")
        parts.append(f'<rect class="hit" x="{left + place * slot:.1f}" y="0" width="{slot:.1f}" height="{height}"/>')
        for kind, share, start, wide in (("now", now, x + bar * 0.34, bar * 0.66), ("before", before, x, bar * 0.66)):
            size = tall * share / high
            y = height - bottom - size
            parts.append(f'<rect class="{kind}" x="{start:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{size:.1f}"/>')
        if axis and place % every == 0:
            middle = left + (place + 0.5) * slot
            text = escape(label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…")
            parts.append(f'<text class="tick" x="{middle:.1f}" y="{height - 14}" text-anchor="middle">{text}</text>')
        parts.append("</g>")
    base = height - bottom
    parts.append(f'<line class="axis" x1="{left}" x2="{width}" y1="{base}" y2="{base}"/>')
    return _svg("hist", width, height, f"Histogram of {name}: reference and now", parts)


def spark(values: Sequence[float | None], level: float, *, width: int = 72, height: int = 24, name: str = "") -> str:
    """A small line over time, from 0; ``level``: across, where it begins to matter."""
    known = [one for one in values if one is not None]
    if len(values) < 2 or not known:
        return ""
    high = max(*known, level * 1.25)
    step = (width - 6) / (len(values) - 1)
    y = [None if one is None else height - 2 - (height - 5) * one / high for one in values]
    across = height - 2 - (height - 5) * level / high
    parts = [f'<line class="limit" x1="0" x2="{width}" y1="{across:.1f}" y2="{across:.1f}"/>']
    run: list[str] = []
    for place, at in enumerate([*y, None]):
        if at is not None:
            run.append(f"{3 + place * step:.1f},{at:.1f}")
        elif run:
            parts.append(f'<polyline class="line" points="{" ".join(run)}"/>')
            run = []
    if y[-1] is not None:
        parts.append(f'<circle class="dot" cx="{width - 3}" cy="{y[-1]:.1f}" r="2.5"/>')
    told = ", ".join("none" if one is None else f"{one:.3f}" for one in values)
    return _svg("spark", width, height, f"PSI of {name} over time: {told}", [f"<title>{told}</title>", *parts])


@dataclass(frozen=True, slots=True)
class _Plane:
    """From time and value to places in a drawing of ``width`` x ``height``."""

    first: int
    last: int
    low: float
    high: float
    width: int
    height: int
    left: int = 52
    right: int = 14
    top: int = 22
    bottom: int = 28

    def x(self, at_ms: float) -> float:
        return self.left + (self.width - self.left - self.right) * (at_ms - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        tall = self.height - self.top - self.bottom
        return self.height - self.bottom - tall * (value - self.low) / (self.high - self.low)

    def across(self, kind: str, value: float) -> str:
        y = self.y(value)
        return f'<line class="{kind}" x1="{self.left}" x2="{self.width - self.right}" y1="{y:.1f}" y2="{y:.1f}"/>'


def line(
    now: Sequence[Point],
    then: Sequence[Point] = (),
    *,
    marks: Sequence[tuple[int, str]] = (),
    level: float | None = None,
    young_ms: int | None = None,
    width: int = 860,
    height: int = 240,
    name: str = "",
) -> str:
    """``now`` with its interval, ``then`` dashed, ``level`` (the reference) across, ``marks``: times with a text.

    ``young_ms``: from when labels are still coming in; that part is shaded.
    """
    values = [one for point in now for one in (point.value, point.low, point.high) if one is not None]
    values += [point.value for point in then if point.value is not None]
    if not values:
        return ""
    values += [] if level is None else [level]
    ticks = _ticks(min(values), max(values))
    plane = _Plane(now[0].at_ms, max(now[-1].at_ms, now[0].at_ms + 1), ticks[0], ticks[-1], width, height)
    parts = _young(plane, young_ms) + _axes(plane, ticks)
    parts += [_band(plane, run) for run in _runs(now)]
    parts += [] if level is None else [plane.across("level", level)]
    for kind, points in (("then", then), ("line", now)):
        for run in _runs(points):
            path = " ".join(f"{plane.x(at_ms):.1f},{plane.y(value):.1f}" for at_ms, value, _, _ in run)
            parts.append(f'<polyline class="{kind}" points="{path}"/>')
    parts += _marks(plane, [one for one in marks if plane.first <= one[0] <= plane.last])
    for at_ms, value, low, high in (one for run in _runs(now) for one in run):
        inside = "" if low == high else f" [{low:.4f}, {high:.4f}]"
        tip = escape(f"{_when(at_ms, '%Y-%m-%d %H:%M')}: {value:.4f}{inside}")
        place = f'cx="{plane.x(at_ms):.1f}" cy="{plane.y(value):.1f}"'
        parts.append(f'<circle class="dot" {place} r="3"><title>{tip}</title></circle>')
    return _svg("line-chart", width, height, f"{name} over time", parts)


def _axes(plane: _Plane, ticks: Sequence[float]) -> list[str]:
    parts = []
    digits = max(0, -floor(log10(ticks[1] - ticks[0]) + 1e-9))
    for tick in ticks:
        place = f'x="{plane.left - 8}" y="{plane.y(tick) + 4:.1f}"'
        parts.append(plane.across("grid", tick))
        parts.append(f'<text class="tick" {place} text-anchor="end">{tick:.{digits}f}</text>')
    for at_ms, text, anchor in _times(plane.first, plane.last):
        place = f'x="{plane.x(at_ms):.1f}" y="{plane.height - 8}"'
        parts.append(f'<text class="tick" {place} text-anchor="{anchor}">{text}</text>')
    return parts


def _young(plane: _Plane, since_ms: int | None) -> list[str]:
    if since_ms is None or not since_ms < plane.last:
        return []
    x, end = plane.x(max(since_ms, plane.first)), plane.x(plane.last)
    tall = plane.height - plane.top - plane.bottom
    place = f'x="{x:.1f}" y="{plane.top}" width="{end - x:.1f}" height="{tall}"'
    return [f'<rect class="young" {place}><title>labels are still coming in</title></rect>']


def _band(plane: _Plane, run: Sequence[_Known]) -> str:
    edge = [f"{plane.x(at_ms):.1f},{plane.y(high):.1f}" for at_ms, _, _, high in run]
    edge += [f"{plane.x(at_ms):.1f},{plane.y(low):.1f}" for at_ms, _, low, _ in reversed(run)]
    return f'<polygon class="band" points="{" ".join(edge)}"/>'


def _marks(plane: _Plane, marks: Sequence[tuple[int, str]]) -> list[str]:
    """Upright lines with their texts; texts that would meet go below each other."""
    parts = []
    before, row = -1e9, 0
    for at_ms, text in sorted(marks):
        x = plane.x(at_ms)
        row = row + 1 if x - before < 150 else 0
        before = x
        anchor, shift = ("end", -6) if x > plane.width / 2 else ("start", 6)
        ends = f'y1="{plane.top - 14}" y2="{plane.height - plane.bottom}"'
        place = f'x="{x + shift:.1f}" y="{plane.top - 6 + 14 * row}"'
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" {ends}/>')
        parts.append(f'<text class="marked" {place} text-anchor="{anchor}">{escape(text)}</text>')
    return parts


def _runs(points: Sequence[Point]) -> list[list[_Known]]:
    """Stretches without a gap: time, value and the ends of its interval (the value where there is none)."""
    runs: list[list[_Known]] = [[]]
    for point in points:
        if point.value is None:
            runs.append([])
            continue
        low = point.value if point.low is None else point.low
        high = point.value if point.high is None else point.high
        runs[-1].append((point.at_ms, point.value, low, high))
    return [run for run in runs if run]


def _ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``."""
    span = (high - low) or max(abs(high), 1.0) * 0.1
    raw = span / wanted
    unit = 10.0 ** floor(log10(raw))
    step = next(unit * one for one in (1, 2, 5, 10) if unit * one >= raw - 1e-12)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _times(first: int, last: int, most: int = 7) -> list[tuple[float, str, str]]:
    """Round times in between; their texts: days, or hours with the day where one begins."""
    step = next((one for one in _STEPS if (last - first) / one <= most), _STEPS[-1])
    step *= max(1, ceil((last - first) / step / most))
    places = list(range(-(-first // step) * step, last + 1, step)) or [first]
    by_day = step >= _DAY
    found: list[tuple[float, str, str]] = []
    for place, at in enumerate(places):
        form = "%d %b" if by_day or at % _DAY == 0 else "%H:%M" if place else "%d %b %H:%M"
        found.append((at, _when(at, form), "middle"))
    return found


def _when(at_ms: float, form: str) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime(form)


def _svg(kind: str, width: int, height: int, title: str, parts: Sequence[str]) -> str:
    inside = "".join(parts)
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{inside}</svg>'
    )
