"""Windows, findings, labels and alerts as a report shows them. Pure: no store, no clock.

The time of a report is tested as one window, and its newest part once more, each at half of ``LEVEL``: one report in
twenty shows an alarm when nothing happened. What the monitors test, window by window, holds the contract of
``monitor.findings`` instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairlead.contracts.events import Window
from fairlead.contracts.plans import Happening
from fairlead.monitor.alerts import Alert
from fairlead.monitor.binning import NUMERIC, ColumnReference, Reference, coarse
from fairlead.monitor.degraded import CODE
from fairlead.monitor.distances import psi
from fairlead.monitor.drift import Detector
from fairlead.monitor.exact import LEVEL, Comparison
from fairlead.monitor.exact import Report as Compared
from fairlead.monitor.figures import duration
from fairlead.monitor.findings import DAY_MS, THRESHOLDS, Contract, Finding
from fairlead.monitor.histograms import shares
from fairlead.monitor.latency import Latency
from fairlead.monitor.measures import TESTS
from fairlead.monitor.nulls import adjusted
from fairlead.monitor.report import ColumnView, Served, Traffic
from fairlead.monitor.seasons import plain
from fairlead.monitor.sketches import Merged, merge
from fairlead.monitor.summary import Summary

Array = np.ndarray[Any, Any]

_WORDS = {
    "psi": "PSI {size:.3g}",
    "ks": "KS {size:.3g}",
    "missing": "the share of missing values moved by {size:+.1%}",
    "new": "the share of new values moved by {size:+.1%}",
    "type": "the share of values of another type moved by {size:+.1%}",
    "constant": "one value in every row, which the reference has not",
    "absent": "no values at all",
}

SHADOW = "shadow"
"""The arm whose answers no caller sees."""

LEAST_ROWS = Contract().least_rows
PARTS = 8
"""Into which the time of a report is cut, to see where drift began."""

_WORST = ("alarm", "warn", "ok", "no data")


@dataclass(frozen=True, slots=True)
class Tested:
    """One test of one column. ``test``: a kind of ``Finding``.  ``size``: the statistic, between it and ``high`` where
    only bins are known.  ``p``: after Benjamini-Hochberg over all tests of the table.  ``band``: the size that chance
    alone stays under 95 times of 100; None where it is not known.

    ``verdict``: ``alarm`` (by the test), ``warn`` (beyond chance and of moderate size), ``ok`` or ``no data``.
    """

    column: str
    test: str
    size: float
    moderate: float
    large: float
    p: float
    n: int
    verdict: str
    band: float | None = None
    high: float | None = None
    importance: float | None = None
    text: str = ""


def traffic(windows: Iterable[Window]) -> Traffic:
    """What callers saw: every arm but shadows, of all references."""
    some = [window for window in windows if window.arm != SHADOW]
    codes: Counter[str] = Counter()
    for window in some:
        codes.update(window.codes)
    calls = sum(window.calls for window in some)
    seconds = _latency(some)
    p50, p95, p99 = (seconds.quantile(q) if seconds.total else None for q in (0.5, 0.95, 0.99))
    errors = calls - codes.pop("", 0)
    rows = sum(window.rows for window in some)
    degraded = codes.pop(CODE, 0)
    return Traffic(calls, rows, errors - degraded, p50, p95, p99, dict(sorted(codes.items(), key=_most)), degraded)


def served(windows: Iterable[Window]) -> tuple[Served, ...]:
    """One line for each version and arm, the one with most calls first."""
    groups: dict[tuple[str, str], list[Window]] = {}
    for window in windows:
        groups.setdefault((window.version, window.arm), []).append(window)
    found = []
    for (version, arm), group in groups.items():
        calls = sum(window.calls for window in group)
        seconds = _latency(group)
        errors = calls - sum(window.codes.get("", 0) + window.codes.get(CODE, 0) for window in group)
        quantiles = (seconds.quantile(q) if seconds.total else None for q in (0.5, 0.99))
        found.append(Served(version, arm, calls, errors, *quantiles))
    return tuple(sorted(found, key=lambda one: (-one.calls, one.version, one.arm)))


def _latency(windows: Iterable[Window]) -> Latency:
    total = Latency.none()
    for window in windows:
        total += Latency.from_bytes(window.latency)
    return total


def _most(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def of_windows(reference: Reference, merged: Merged, level: float = LEVEL) -> tuple[Tested, ...]:
    """Merged windows held against their reference, ranked. Raises StateError for windows of another reference."""
    contract = Contract(false_alarms=1.0, days=1 / level, window_ms=DAY_MS)
    return of_findings(Detector(plain(reference), contract).measure(merged), level)


def parts(windows: Sequence[Window], unit_ms: int = 1) -> list[Merged]:
    """Windows of one reference in ``PARTS`` equal stretches of time, oldest first; fewer where the windows are few.

    ``unit_ms``: each begins at a multiple of it and is some of it long, so that windows may be added up by it before.
    """
    if not windows:
        return []
    first = min(one.start_ms for one in windows) // unit_ms * unit_ms
    end = max(one.start_ms + one.length_ms for one in windows)
    length = max(*(one.length_ms for one in windows), -(-(end - first) // PARTS))
    length = -(-length // unit_ms) * unit_ms
    groups: dict[int, list[Window]] = {}
    for one in windows:
        groups.setdefault((one.start_ms - first) // length, []).append(one)
    found = [merge(groups.get(place, [])) for place in range(max(groups) + 1)]
    begins = [first + place * length for place in range(len(found))]
    return [
        one if place in groups else replace(one, start_ms=begins[place], end_ms=begins[place] + length)
        for place, one in enumerate(found)
    ]


def newest(some: Sequence[Merged]) -> Merged | None:
    """The newest part that has rows enough to be tested on its own; None where there is one part only."""
    return next((one for one in reversed(some) if one.rows >= LEAST_ROWS), None) if len(some) > 1 else None


def of_findings(findings: Sequence[Finding], level: float = LEVEL) -> tuple[Tested, ...]:
    """What ``Detector.measure`` gave, as ranked tests."""
    proper = [one for one in findings if one.kind in (*TESTS, "type")]
    ps = dict(zip(map(id, proper), adjusted(np.array([one.p for one in proper])).tolist(), strict=True))
    found = []
    for one in findings:
        if one.kind in ("overall", "js"):
            continue  # the one is of no column, the other repeats PSI
        p = ps.get(id(one), one.p)
        verdict = "alarm" if one.alarm else _verdict(abs(one.size), one.moderate, p, one.band, level)
        band = one.band if id(one) in ps else None
        found.append(
            Tested(
                one.column, one.kind, one.size, one.moderate, one.large, p, one.n, verdict, band, one.high,
                one.importance, _WORDS[one.kind].format(size=one.size),
            )
        )  # fmt: skip
    return ranked([*found, *_untested(findings, {one.column for one in found})])


def _untested(findings: Sequence[Finding], known: set[str]) -> list[Tested]:
    """Columns that have too few rows for any test: only their distance is there."""
    return [
        Tested(
            one.column,
            "psi",
            one.size,
            *THRESHOLDS["psi"],
            1.0,
            one.n,
            "no data",
            importance=one.importance,
            text=f"{one.n} rows, and {LEAST_ROWS} are needed for a test",
        )
        for one in findings
        if one.kind == "js" and one.column not in known
    ]


def of_comparison(compared: Compared) -> tuple[Tested, ...]:
    """An exact comparison as ranked tests."""
    tests: list[tuple[Comparison, str, float, float]] = []
    found: list[Tested] = []
    for one in compared.columns:
        if not one.kind:
            importance, why = one.importance, one.note
            found.append(Tested(one.column, "absent", 1.0, *THRESHOLDS["absent"], 0.0, 0, "alarm", None, None,
                                importance, why))  # fmt: skip
        elif one.n_current < LEAST_ROWS:
            why = f"{one.n_current} rows, and {LEAST_ROWS} are needed for a test"
            found.append(Tested(one.column, "psi", one.psi, *THRESHOLDS["psi"], 1.0, one.n_current, "no data",
                                importance=one.importance, text=why))  # fmt: skip
        else:
            tests.append((one, "psi", one.psi, one.p_psi))
            if one.kind == NUMERIC:
                tests.append((one, "ks", one.ks, one.p_ks))
            if one.missing or one.missing_before:
                tests.append((one, "missing", one.missing - one.missing_before, one.p_missing))
            if one.new:
                tests.append((one, "new", one.new, one.p_new))
    for (one, test, size, _), p in zip(tests, adjusted(np.array([p for *_, p in tests])).tolist(), strict=True):
        moderate, large = THRESHOLDS[test]
        verdict = "alarm" if p <= LEVEL and abs(size) >= large else _verdict(abs(size), moderate, p, 0.0)
        note = f" ({one.note})" if one.note else ""
        found.append(
            Tested(
                one.column, test, size, moderate, large, p, one.n_current, verdict,
                one.band if test == "psi" else None, one.ks_high if test == "ks" else None, one.importance,
                _WORDS[test].format(size=size) + note,
            )
        )  # fmt: skip
    return ranked(found)


def _verdict(size: float, moderate: float, p: float, band: float, level: float = LEVEL) -> str:
    return "warn" if size >= moderate and size > band and p <= level else "ok"


def ranked(tests: Iterable[Tested]) -> tuple[Tested, ...]:
    """What alarms first, then by the column's importance, then by size over its threshold."""
    return tuple(
        sorted(
            tests,
            key=lambda one: (
                _WORST.index(one.verdict),
                -(one.importance or 0.0),
                -abs(one.size) / one.large,
                one.column,
                one.test,
            ),
        )
    )


def columns(
    reference: Reference, merged: Merged, tests: Sequence[Tested], some: Sequence[Merged] = ()
) -> tuple[ColumnView, ...]:
    """One view for each column of the reference: its worst test speaks for it. ``some``: what ``parts`` gave."""
    last = newest(some)
    late = of_windows(reference, last, LEVEL / 2) if last is not None else ()
    found = []
    for name, column in reference.columns.items():
        own = [one for one in tests if one.column == name]
        recent = [one for one in late if one.column == name and one.verdict in ("alarm", "warn")]
        view = replace(_view(column, merged, own), trend=tuple(_psi(column, part.columns.get(name)) for part in some))
        if last is not None and recent and _WORST.index(recent[0].verdict) < _WORST.index(view.verdict):
            why = f"in the newest {duration(last.end_ms - last.start_ms)}: {_said(recent)}"
            view = replace(view, verdict=recent[0].verdict, why=why)
        found.append(view)
    return tuple(found)


def _psi(column: ColumnReference, summary: Summary | None) -> float | None:
    if summary is None or summary.n < LEAST_ROWS or not column.n:
        return None
    return float(psi(column.psi_counts(), coarse(summary.counts, summary.missing, summary.foreign, column.starts)))


def _said(tests: Sequence[Tested]) -> str:
    return "; ".join(one.text for one in tests)


def _view(column: ColumnReference, merged: Merged, tests: Sequence[Tested]) -> ColumnView:
    kind = "output" if column.name.startswith("out.") else "number" if column.kind == NUMERIC else "category"
    verdict = min((one.verdict for one in tests), key=_WORST.index, default="no data")
    found = {one.test: one for one in tests}
    before, now, labels = shares(column, merged.columns.get(column.name))
    size = found.get("psi")
    # The number of PSI stands beside.
    said = [_said([one for one in tests if one.verdict in ("alarm", "warn") and one.test != "psi"])]
    if verdict == "no data":
        said = [_said(tests) or "not tested"]
    if column.constant:
        said.append("one value in every row of the reference")
    return ColumnView(
        column.name,
        kind,
        verdict,
        size.size if size and size.n else None,
        min((one.p for one in tests), default=None) if verdict != "no data" else None,
        (0.0, size.band) if size and size.band is not None else None,
        column.importance,
        before,
        now,
        labels,
        "; ".join(filter(None, said)),
    )


def alerts(lines: Iterable[Happening], since_ms: int) -> tuple[Alert, ...]:
    """What the timeline says of alerts: those that fire, and those that were resolved since. Newest first.

    ``lines``: in the order in which they were written; the last of an alert says how it stands.
    """
    standing: dict[str, Alert] = {}
    for line in lines:
        labels: Mapping[str, str] = line.evidence.get("labels") or {}
        name = labels.get("alertname")
        if not name:
            continue
        resolved = line.text.startswith(f"alert {name} resolved")
        said = line.text.partition(": ")[2] if line.text.startswith(f"alert {name} ") else line.text
        before = standing.get(name)
        standing[name] = Alert(
            name,
            line.endpoint,
            "resolved" if resolved else "firing",
            labels.get("severity", "warning"),
            {key: value for key, value in labels.items() if key not in ("alertname", "endpoint", "severity")},
            {"summary": said},
            before.starts_ms if resolved and before else line.at_ms,
            line.at_ms if resolved else 0,
            line.evidence.get("value"),
        )
    shown = [one for one in standing.values() if one.status == "firing" or one.ends_ms >= since_ms]
    return tuple(sorted(shown, key=lambda one: (one.status != "firing", -one.starts_ms, one.name)))
