"""Small drawings that a page brings along, as SVG without a style of its own: sparks, splits, histograms, intervals.

Colours come from classes (``console.css``), numbers for those who do not see the drawing from its label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from fairlead.console.formats import known

_POINTS: Final = 240
"""Of one spark, at most: more would not be seen."""

_SVG: Final = Markup('<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}"{}>{}</svg>')
_STRETCHED: Final = Markup(' preserveAspectRatio="none"')
_NOTHING: Final = Markup("")


def spark(
    values: Sequence[float | None],
    label: str,
    *,
    tone: str = "1",
    width: int = 112,
    height: int = 28,
    level: float | None = None,
) -> Markup:
    """A line from 0 up with gaps where nothing is known; ``level``: across, where it begins to matter."""
    values = values[-_POINTS:]
    there = [one for one in values if one is not None and math.isfinite(one)]
    if not there:
        return _svg("spark empty", width, height, f"{label}: nothing recorded", _NOTHING)
    high = max(*there, level or 0.0, 1e-12) * 1.08
    step = (width - 4) / max(1, len(values) - 1)
    parts = []
    if level is not None:
        y = _y(level, high, height)
        parts.append(Markup('<line class="level" x1="0" x2="{}" y1="{}" y2="{}"/>').format(width, y, y))
    for run in _runs(values):
        points = [(2 + place * step, _y(value, high, height)) for place, value in run]
        line = " ".join(f"{x:.1f} {y:.1f}" for x, y in points)
        if len(points) == 1:
            parts.append(Markup('<circle class="line" cx="{:.1f}" cy="{:.1f}" r="1.2"/>').format(*points[0]))
            continue
        area = f"M{points[0][0]:.1f} {height - 1} L{line} L{points[-1][0]:.1f} {height - 1}Z"
        parts.append(Markup('<path class="area" d="{}"/><path class="line" d="M{}"/>').format(area, line))
    return _svg(f"spark t{tone}", width, height, label, _NOTHING.join(parts), stretched=True)


def split(shares: Sequence[tuple[str, float, str]], label: str, *, width: int = 120, height: int = 8) -> Markup:
    """A bar of shares: name, share from 0 to 1, and tone (``1`` to ``5``) of each."""
    parts, x = [], 0.0
    for name, share, tone in shares:
        wide = max(0.0, min(1.0, share)) * width
        told = f"{name}: {100 * share:g} %"
        parts.append(
            Markup('<rect class="t{}" x="{:.2f}" y="0" width="{:.2f}" height="{}"><title>{}</title></rect>').format(
                tone, x, max(0.0, wide - (1 if x + wide < width - 0.5 else 0)), height, told
            )
        )
        x += wide
    return _svg("split", width, height, label, _NOTHING.join(parts), stretched=True)


def histogram(
    reference: Sequence[float],
    current: Sequence[float],
    labels: Sequence[str],
    name: str,
    *,
    width: int = 260,
    height: int = 84,
) -> Markup:
    """Shares of the reference (outlined) over those of now (filled), bin by bin."""
    if not reference or len(reference) != len(current):
        return _NOTHING
    pairs = [(_share(a), _share(b)) for a, b in zip(reference, current, strict=True)]
    high = max(max(pair) for pair in pairs) or 1.0
    slot = width / len(pairs)
    parts, outline = [], []
    for place, (before, now) in enumerate(pairs):
        x, tall, edge = place * slot, (height - 4) * now / high, height - 1 - (height - 4) * before / high
        label = labels[place] if place < len(labels) else str(place + 1)
        parts.append(
            Markup(
                '<g><title>{}: reference {:.1f} %, now {:.1f} %</title><rect class="hit" x="{:.2f}" y="0" '
                'width="{:.2f}" height="{}"/><rect class="now" x="{:.2f}" y="{:.2f}" width="{:.2f}" '
                'height="{:.2f}"/></g>'
            ).format(
                label, 100 * before, 100 * now, x, slot, height, x + 0.5, height - 1 - tall, max(0.5, slot - 1), tall
            )
        )
        outline.append(f"{x:.2f} {edge:.2f} L{x + slot:.2f} {edge:.2f}")
    line = Markup('<path class="before" d="M0 {} L{} L{} {}"/>').format(
        height - 1, " L".join(outline), width, height - 1
    )
    base = Markup('<line class="axis" x1="0" x2="{}" y1="{}" y2="{}"/>').format(width, height - 0.5, height - 0.5)
    told = f"Histogram of {name}: reference and now"
    return _svg("histogram", width, height, told, _NOTHING.join([*parts, line, base]), stretched=True)


def interval(
    low: float | None,
    value: float | None,
    high: float | None,
    ends: tuple[float, float],
    label: str,
    *,
    margin: float | None = None,
    zero: bool = True,
    tone: str = "1",
    width: int = 180,
    height: int = 22,
) -> Markup:
    """An interval with its value on an axis from ``ends[0]`` to ``ends[1]``; ``margin``: where it may not reach."""
    start, end = ends
    span = (end - start) or 1.0

    def x(at: float) -> float:
        return 2 + (width - 4) * (min(max(at, start), end) - start) / span

    middle, parts = height / 2, []
    if zero and start < 0 < end:
        parts.append(
            Markup('<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="2" y2="{1}"/>').format(x(0.0), height - 2)
        )
    if margin is not None and known(margin):
        parts.append(
            Markup('<line class="margin" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/>').format(x(margin), height)
        )
    if low is not None and high is not None and known(low) and known(high):
        parts.append(
            Markup('<line class="band" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
                x(low), x(high), middle, middle
            )
        )
    if value is not None and known(value):
        parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{}" r="3.5"/>').format(x(value), middle))
    return _svg(f"interval t{tone}", width, height, label, _NOTHING.join(parts))


def bars(parts: Sequence[tuple[float, float, str, str]], label: str, *, width: int = 640, height: int = 16) -> Markup:
    """Stretches on one line, as of a waterfall: start and end (shares of the width), tone and what it is."""
    drawn = [
        Markup('<rect class="t{}" x="{:.2f}" y="2" width="{:.2f}" height="{}" rx="2"><title>{}</title></rect>').format(
            tone, _share(start) * width, max(1.5, (_share(end) - _share(start)) * width), height - 4, told
        )
        for start, end, tone, told in parts
    ]
    return _svg("bars", width, height, label, _NOTHING.join(drawn), stretched=True)


def _svg(kind: str, width: int, height: int, label: str, inside: Markup, *, stretched: bool = False) -> Markup:
    return _SVG.format(kind, width, height, width, height, label, _STRETCHED if stretched else "", inside)


def _y(value: float, high: float, height: int) -> float:
    return round(height - 2 - (height - 4) * max(0.0, value) / high, 1)


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Stretches without a gap: place and value."""
    runs: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None or not math.isfinite(value):
            runs.append([])
        else:
            runs[-1].append((place, value))
    return [run for run in runs if run]
