"""Panels of a dashboard: what is shown, in which unit, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDE: Final = 24
"""Columns of a dashboard."""


@dataclass(frozen=True, slots=True)
class Query:
    """``legend``: with labels as ``{{version}}``."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Shown:
    """``unit``: as Grafana names it.  ``kind``: ``timeseries``, ``stat``, ``bargauge`` or ``state-timeline``.

    ``red``: the value from which it is shown in red; None: nowhere.
    """

    title: str
    text: str
    queries: tuple[Query, ...]
    unit: str
    kind: str = "timeseries"
    width: int = 8
    red: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Shown, ...]
    height: int = 8


def laid(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Left to right, row under row."""
    found: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        found.append(_row(len(found) + 1, row.title, top))
        top, left = top + 1, 0
        for shown in row.panels:
            if left + shown.width > WIDE:
                top, left = top + row.height, 0
            place = {"h": row.height, "w": shown.width, "x": left, "y": top}
            found.append(_panel(len(found) + 1, shown, place))
            left += shown.width
        top += row.height
    return found


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    place = {"h": 1, "w": WIDE, "x": 0, "y": top}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(number: int, shown: Shown, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"value": None, "color": "green"}]
    if shown.red is not None:
        steps.append({"value": shown.red, "color": "red"})
    defaults: dict[str, Any] = {
        "unit": shown.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
        "noValue": "not measured",
    }
    if shown.most is not None:
        defaults["max"] = shown.most
    if shown.kind == "timeseries":
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": False}
    return {
        "id": number,
        "type": shown.kind,
        "title": shown.title,
        "description": shown.text,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [
            {"refId": chr(65 + at), "expr": query.expr, "legendFormat": query.legend, "datasource": SOURCE}
            for at, query in enumerate(shown.queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(shown.kind),
    }


def _options(kind: str) -> dict[str, Any]:
    if kind == "timeseries":
        legend = {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind == "state-timeline":
        return {"showValue": "never", "mergeValues": True, "rowHeight": 0.8}
    reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return {"reduceOptions": reduced, "orientation": "horizontal"}
