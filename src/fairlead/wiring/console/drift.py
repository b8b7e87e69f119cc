"""The drift pages out of the stores: the same functions as ``fairlead monitor``, so the same numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from fairlead.console.facts.drift import (
    Column,
    Decay,
    DriftFacts,
    Expected,
    Firing,
    Labels,
    Measure,
    PerformanceFacts,
    Period,
    Test,
)
from fairlead.console.facts.endpoint import Mark
from fairlead.contracts.events import Window
from fairlead.contracts.plans import Happening
from fairlead.monitor import cbpe, metrics, timeline
from fairlead.monitor.findings import THRESHOLDS
from fairlead.monitor.mapping import Tested
from fairlead.monitor.report import ColumnView, Report
from fairlead.wiring import reporting
from fairlead.wiring.console.kept import Kept
from fairlead.wiring.console.timeline import LATE_MS
from fairlead.wiring.hours import CHECKED_MS, Hours, with_columns
from fairlead.wiring.reporting import Asked, Stores

MOST: Final = 100
"""Columns of one page; a page of more could not be read."""
MARKS: Final = 50
_ABOUT_MODEL: Final = ("Drift", "PerformanceDecay")
_MARKED: Final = {"deploy": "deploy", "rollout": "deploy", "alias": "deploy", "drift": "alert", "performance": "alert"}
_LINES: Final = 2_000


@dataclass(frozen=True, slots=True)
class DriftPage:
    """``Drifts`` over the stores. ``hours``: what it read of long spans, remembered."""

    kept: Kept
    hours: Hours[tuple[Window, ...]] = field(default_factory=lambda: with_columns(CHECKED_MS))

    def drift(self, name: str, version: str, since_ms: int, until_ms: int) -> DriftFacts:
        found = reporting.measured(self._stores(), Asked(name, since_ms, until_ms, version))
        report = found.report
        ranked = report.ranked
        moderate, large = THRESHOLDS["psi"]
        by_column: dict[str, list[Tested]] = {}
        for one in found.tests:
            by_column.setdefault(one.column, []).append(one)
        return DriftFacts(
            name,
            report.version,
            tuple(dict.fromkeys(one.version for one in report.served)),
            report.reference,
            since_ms,
            until_ms,
            *_said(report),
            found.rows,
            tuple(_column(one, by_column.get(one.name, ())) for one in ranked[:MOST]),
            max(0, len(ranked) - MOST),
            sum(one.verdict == "alarm" for one in ranked),
            sum(one.verdict == "warn" for one in ranked),
            found.spans,
            moderate,
            large,
            _marks(report.happenings, until_ms),
            tuple(
                Firing(one.name, one.status, one.starts_ms, one.annotations.get("summary", ""))
                for one in report.alerts
                if one.name in _ABOUT_MODEL
            ),
            report.notes,
        )

    def performance(self, name: str, version: str, since_ms: int, until_ms: int) -> PerformanceFacts:
        stores, asked = self._stores(), Asked(name, since_ms, until_ms, version)
        serving = version or reporting.serving(stores, asked)
        found = reporting.performance(stores, replace(asked, version=serving))
        known = found.labels
        return PerformanceFacts(
            name,
            serving,
            since_ms,
            until_ms,
            found.metric,
            found.baseline,
            tuple(
                Period(
                    one.start_ms,
                    one.end_ms,
                    one.predictions,
                    one.labelled_then,
                    one.labelled_now,
                    one.corrected,
                    tuple(map(_measure, one.then)),
                    tuple(map(_measure, one.now)),
                )
                for one in found.periods
            ),
            Labels(
                known.rows,
                known.labelled,
                known.corrected,
                known.waiting,
                known.half_ms,
                known.most_ms,
                known.mature_ms,
            )
            if known
            else None,
            tuple(map(_expected, found.estimates)),
            tuple(Decay(one.name, one.since_ms, one.at_ms, one.why) for one in found.decays),
            _marks(
                timeline.read(stores.state, name, since_ms=since_ms, until_ms=until_ms + LATE_MS, limit=_LINES),
                until_ms,
            ),
            found.notes,
        )

    def _stores(self) -> Stores:
        return Stores(self.kept.state, self.kept.events, self.hours)


def _said(report: Report) -> tuple[str, str]:
    """Of the model alone: errors and latency are another plane's."""
    if not report.columns:
        return "none", "Drift is not known: there is nothing to compare."
    drifted, warned = report.drifted, [one for one in report.columns if one.verdict == "warn"]
    if drifted:
        return "alarm", f"{len(drifted)} of {len(report.columns)} columns drifted."
    if warned:
        return "warn", f"{len(warned)} of {len(report.columns)} columns to look at; none drifted."
    if all(one.verdict == "no data" for one in report.columns):
        return "none", "Too few rows for a test."
    return "ok", f"None of {len(report.columns)} columns drifted."


def _column(one: ColumnView, tests: Iterable[Tested]) -> Column:
    return Column(
        one.name,
        one.kind,
        one.verdict,
        one.psi,
        one.null_band[1] if one.null_band else None,
        one.p,
        one.importance,
        one.reference,
        one.current,
        one.labels,
        one.trend,
        tuple(
            Test(
                each.test,
                each.size if each.n else None,
                each.high,
                each.moderate,
                each.large,
                each.p if each.verdict != "no data" else None,
                each.n,
                each.verdict,
                each.band,
                each.text,
            )
            for each in tests
        ),
        one.why,
    )


def _measure(one: metrics.Measure) -> Measure:
    return Measure(one.metric, one.value, one.low, one.high, one.rows, one.why)


def _expected(one: cbpe.Estimate) -> Expected:
    realised = _measure(one.realised) if one.realised else None
    told = one.calibration
    return Expected(one.expected.metric, _measure(one.expected), realised, one.agrees, told.trusted, told.why)


def _marks(lines: Iterable[Happening], until_ms: int) -> tuple[Mark, ...]:
    """What may explain a change: the newest lines about who answers, and the alarms."""
    some = [one for one in lines if one.what in _MARKED and one.at_ms <= until_ms]
    return tuple(Mark(one.at_ms, one.what, _MARKED[one.what], one.text) for one in some[-MARKS:])
