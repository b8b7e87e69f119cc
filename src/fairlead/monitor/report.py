"""``fairlead monitor report``: what is shown, and as text. ``page.py`` makes the HTML of the same record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.contracts.plans import Happening
from fairlead.monitor.alerts import Alert
from fairlead.monitor.cbpe import Estimate
from fairlead.monitor.decay import Decayed
from fairlead.monitor.figures import (
    band,
    duration,
    interval,
    milliseconds,
    number,
    percent,
    probability,
    share,
    some,
    time,
)
from fairlead.monitor.metrics import Measure
from fairlead.monitor.performance import Period
from fairlead.monitor.timeline import as_text as timeline_text

CANCELLED = "cancelled"
"""The code of a call whose caller hung up: no fault of the version."""
_FAILING, _FEW_FAILING = 0.05, 0.01
_WORST = {"alarm": 0, "warn": 1, "no data": 2, "ok": 3}


@dataclass(frozen=True, slots=True)
class ColumnView:
    """One feature or output against its reference.

    ``kind``: number, category or output.  ``importance``: the model's share for it, 0 to 1, or None.
    ``p``: of the drift test, corrected for the number of columns.  ``null_band``: PSI that chance alone gives at this
    sample size, from and to.  ``verdict``: ok, warn, alarm or ``no data``.
    ``reference``, ``current``: shares of the bins, which ``labels`` names; empty where there are none.
    """

    name: str
    kind: str
    verdict: str
    psi: float | None = None
    p: float | None = None
    null_band: tuple[float, float] | None = None
    importance: float | None = None
    reference: tuple[float, ...] = ()
    current: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    why: str = ""
    trend: tuple[float | None, ...] = ()
    """PSI in equal parts of the time shown, oldest first; None where a part has too few rows."""

    @property
    def newest(self) -> float | None:
        return self.trend[-1] if self.trend else None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls that callers saw in the time shown. Latencies in seconds, None without calls. ``codes``: errors by code."""

    calls: int = 0
    rows: int = 0
    errors: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    codes: Mapping[str, int] = field(default_factory=dict)
    degraded: int = 0
    """Calls that a fallback answered: no errors to the caller, and no evidence of the model."""


@dataclass(frozen=True, slots=True)
class Served:
    """What one version answered as one arm of the split; a shadow's answers nobody saw."""

    version: str
    arm: str
    calls: int
    errors: int
    p50: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """How labels come in. ``rows``: predicted, ``labelled`` and ``corrected`` among them.

    ``waiting``: labels of the endpoint whose prediction is not of this version and time.  ``half_ms``, ``most_ms``: age
    of a prediction at which half of the labels, and 90 % of them, are there; None while nothing is old enough to tell.
    ``mature_ms``: predictions made before it have 95 % of the labels that they will get within the time shown.
    """

    rows: int = 0
    labelled: int = 0
    corrected: int = 0
    waiting: int = 0
    half_ms: int | None = None
    most_ms: int | None = None
    mature_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RolloutView:
    """``weight``: percent of the calls that the candidate gets.  ``why``: the reason of where it stands."""

    id: str
    strategy: str
    champion: str
    candidate: str
    phase: str
    weight: float
    started_ms: int
    answer: str = ""
    verdict: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class RungView:
    """How well one fallback answered. ``rows``: that it answered, and ``labelled`` of them; ``measure`` of those."""

    name: str
    rows: int
    labelled: int = 0
    measure: Measure | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report shows of one version of one endpoint between two times (Unix ms).

    ``metric``: the one that is watched, and ``baseline`` its value on the reference.  ``periods``: over time.
    """

    endpoint: str
    version: str
    since_ms: int
    until_ms: int
    made_ms: int
    traffic: Traffic = Traffic()
    columns: tuple[ColumnView, ...] = ()
    metric: str = ""
    baseline: float | None = None
    periods: tuple[Period, ...] = ()
    decays: tuple[Decayed, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    alerts: tuple[Alert, ...] = ()
    happenings: tuple[Happening, ...] = ()
    reference: str = ""
    served: tuple[Served, ...] = ()
    labels: Labels | None = None
    rollouts: tuple[RolloutView, ...] = ()
    rungs: tuple[RungView, ...] = ()
    notes: tuple[str, ...] = ()
    """What cannot be told and why, one sentence each."""

    @property
    def title(self) -> str:
        """``churn version 3``"""
        return f"{self.endpoint} version {self.version}" if self.version else self.endpoint

    @property
    def ranked(self) -> list[ColumnView]:
        """Columns, what matters first: by verdict, then importance, then PSI."""
        return sorted(
            self.columns, key=lambda one: (_WORST.get(one.verdict, 9), -(one.importance or 0), -(one.psi or 0))
        )

    @property
    def drifted(self) -> list[ColumnView]:
        return [one for one in self.ranked if one.verdict == "alarm"]

    @property
    def firing(self) -> list[Alert]:
        return [one for one in self.alerts if one.status == "firing"]

    @property
    def labelled(self) -> tuple[int, int]:
        """Rows with a label, and rows predicted."""
        if self.labels is not None:
            return self.labels.labelled, self.labels.rows
        return sum(one.labelled_now for one in self.periods), sum(one.predictions for one in self.periods)

    def verdict(self) -> tuple[str, str]:
        """``alarm``, ``warn``, ``no data`` or ``ok``, and one sentence."""
        said, traffic = [], self.traffic
        failed = traffic.errors - traffic.codes.get(CANCELLED, 0)
        if failed >= _FAILING * traffic.calls > 0:
            said.append(f"{share(failed, traffic.calls)} of the calls failed")
        if self.decays:
            said.append(f"performance has fallen ({', '.join(one.name for one in self.decays)})")
        if self.drifted:
            said.append(f"{some(len(self.drifted), 'column')} drifted ({_listed([one.name for one in self.drifted])})")
        if self.firing:
            said.append(f"{some(len(self.firing), 'alert')} firing")
        if said:
            return "alarm", f"{_joined(said)}."
        differs = [one.expected.metric for one in self.estimates if one.agrees is False and one.calibration.trusted]
        if differs:
            return "warn", f"Labels differ from what the scores expect ({_listed(differs)}): has the concept changed?"
        warned = [one.name for one in self.columns if one.verdict == "warn"]
        if warned:
            return "warn", f"{some(len(warned), 'column')} to look at: {_listed(warned)}."
        if failed > _FEW_FAILING * traffic.calls:
            return "warn", f"{share(failed, traffic.calls)} of the calls failed."
        if not self.traffic.calls:
            return "no data", "No calls in this time: nothing can be said."
        if not self.columns and not self.labelled[0]:
            return "no data", "No reference and no labels: nothing to compare these calls with."
        rest = "" if self.labelled[0] else " There are no labels, so performance is not known."
        return "ok", f"Nothing unusual.{rest}"


def as_text(report: Report, *, evidence: bool = False) -> str:
    """The report as tables for a terminal."""
    parts = [_head(report)]
    if report.notes:
        parts.append(_titled("Not known", "\n".join(report.notes)))
    if len(report.served) > 1:
        parts.append(_titled("Versions", _served(report.served)))
    if report.rollouts:
        parts.append(_titled("Rollouts", _rollouts(report.rollouts)))
    if report.columns:
        parts.append(_titled("Drift", _drift(report)))
    if report.periods:
        known = report.baseline is not None
        on = f"reference: {report.metric} {number(report.baseline)}\n" if known else ""
        parts.append(_titled("Performance", on + _performance(report.periods)))
    if report.rungs:
        parts.append(_titled("Fallbacks", _rungs(report.rungs)))
    if report.labels is not None and report.labels.rows:
        parts.append(_titled("Labels", "\n".join(labels_told(report.labels))))
    if report.decays:
        parts.append(_titled("Decay", "\n".join(one.why for one in report.decays)))
    if report.estimates:
        parts.append(_titled("Expected before labels", _estimates(report.estimates)))
    if report.alerts:
        rows = [
            (one.status, one.severity, one.name, time(one.starts_ms), one.annotations.get("summary", ""))
            for one in report.alerts
        ]
        parts.append(_titled("Alerts", table(rows)))
    if report.happenings:
        parts.append(_titled("Timeline", timeline_text(report.happenings, evidence=evidence)))
    return "\n\n".join(parts)


def _head(report: Report) -> str:
    state, sentence = report.verdict()
    traffic = report.traffic
    figures = (
        f"calls {traffic.calls:,}",
        f"rows {traffic.rows:,}",
        f"errors {share(traffic.errors, traffic.calls)}",
        *([f"by fallbacks {share(traffic.degraded, traffic.calls)}"] if traffic.degraded else []),
        f"p50 {milliseconds(traffic.p50)}",
        f"p95 {milliseconds(traffic.p95)}",
        f"p99 {milliseconds(traffic.p99)}",
    )
    lines = [f"{report.title}, {time(report.since_ms)} to {time(report.until_ms)} UTC", f"{state.upper()}: {sentence}"]
    lines += ["", "  ".join(figures)]
    if traffic.codes:
        lines.append("errors by code: " + "  ".join(f"{code} {count:,}" for code, count in traffic.codes.items()))
    return "\n".join(lines)


def _served(lines: Sequence[Served]) -> str:
    rows = [("version", "arm", "calls", "errors", "p50", "p99")]
    for one in lines:
        numbers = (f"{one.calls:,}", share(one.errors, one.calls), milliseconds(one.p50), milliseconds(one.p99))
        rows.append((one.version, one.arm, *numbers))
    return table(rows, right=(2, 3, 4, 5))


def _rungs(lines: Sequence[RungView]) -> str:
    rows = [("answered by", "rows", "labelled", "metric", "value")]
    for one in lines:
        told = (one.measure.metric, interval(one.measure)) if one.measure else ("", "")
        rows.append((one.name, f"{one.rows:,}", share(one.labelled, one.rows), *told))
    return table(rows, right=(1, 2))


def _rollouts(lines: Sequence[RolloutView]) -> str:
    rows = [("started", "rollout", "strategy", "from", "to", "phase", "share", "answer", "why")]
    for one in lines:
        told = (one.strategy, one.champion, one.candidate, one.phase, f"{one.weight:g} %", one.answer, one.why)
        rows.append((time(one.started_ms), one.id, *told))
    return table(rows)


def labels_told(labels: Labels) -> list[str]:
    """How far labels are in, one sentence each."""
    told = [
        f"{labels.labelled:,} of {labels.rows:,} predicted rows are labelled ({share(labels.labelled, labels.rows)})."
    ]
    if labels.corrected:
        told.append(f"{some(labels.corrected, 'label')} corrected since it first came in.")
    if labels.half_ms is not None:
        most = f", 90 % after {duration(labels.most_ms)}" if labels.most_ms is not None else ""
        told.append(f"Half of the rows have their label after {duration(labels.half_ms)}{most}.")
    elif labels.labelled:
        told.append("Less than half of the rows have a label at any age seen: how long labels take is not known yet.")
    if labels.mature_ms is not None:
        told.append(f"Predictions made before {time(labels.mature_ms)} UTC have 95 % of their labels.")
    if labels.waiting:
        told.append(
            f"{some(labels.waiting, 'label')} of the endpoint belong to no prediction of this version and time."
        )
    return told


def _drift(report: Report) -> str:
    rows = [("", "column", "kind", "PSI", "newest", "by chance", "p", "importance", "")]
    for one in report.ranked:
        numbers = (number(one.psi, 3), number(one.newest, 3), band(one.null_band), probability(one.p))
        rows.append((one.verdict, one.name, one.kind, *numbers, percent(one.importance), one.why))
    return table(rows, right=(3, 4, 5, 6, 7))


def _estimates(estimates: Sequence[Estimate]) -> str:
    rows = [("metric", "expected", "realised", "", "")]
    for one in estimates:
        told = "" if one.agrees is None else "agrees" if one.agrees else "differs"
        trust = "trusted" if one.calibration.trusted else "not to be trusted"
        rows.append((one.expected.metric, interval(one.expected), interval(one.realised), told, trust))
    return table(rows)


def _performance(periods: Sequence[Period]) -> str:
    names = [one.metric for one in periods[0].now]
    head = ["window", "rows", "labelled"]
    for name in names:
        head += [f"{name} now", "then"]
    rows = [tuple(head)]
    for one in periods:
        row = [time(one.start_ms), f"{one.predictions:,}", share(one.labelled_now, one.predictions)]
        for now, then in zip(one.now, one.then, strict=True):
            row += [interval(now), number(then.value, 4)]
        rows.append(tuple(row))
    return table(rows, right=(1, 2))


def _titled(title: str, text: str) -> str:
    return f"{title}\n" + "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(widths[at]) if at in right else cell.ljust(widths[at]) for at, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _listed(names: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _joined(parts: Sequence[str]) -> str:
    text = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return text[:1].upper() + text[1:]
