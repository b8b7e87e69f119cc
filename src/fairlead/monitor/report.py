"""``fairlead monitor report``: what is shown, and as text. ``page.py`` makes the HTML of the same record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fairlead.contracts.plans import Happening
from fairlead.monitor.alerts import Alert
from fairlead.monitor.cbpe import Estimate
from fairlead.monitor.decay import Decayed
from fairlead.monitor.metrics import Measure
from fairlead.monitor.performance import Period
from fairlead.monitor.timeline import as_text as timeline_text

NONE = "-"
"""What stands where there is no number: never a zero."""
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


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls of the time shown. Latencies in seconds; None without calls."""

    calls: int = 0
    rows: int = 0
    errors: int = 0
    p50: float | None = None
    p99: float | None = None


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
        return sum(one.labelled_now for one in self.periods), sum(one.predictions for one in self.periods)

    def verdict(self) -> tuple[str, str]:
        """``alarm``, ``warn``, ``no data`` or ``ok``, and one sentence."""
        said = []
        if self.decays:
            said.append(f"performance has fallen ({', '.join(one.name for one in self.decays)})")
        if self.drifted:
            said.append(f"{some(len(self.drifted), 'column')} drifted ({_listed([one.name for one in self.drifted])})")
        if self.firing:
            said.append(f"{some(len(self.firing), 'alert')} firing")
        if said:
            return "alarm", f"{_joined(said)}."
        warned = [one.name for one in self.columns if one.verdict == "warn"]
        if warned:
            return "warn", f"{some(len(warned), 'column')} to look at: {_listed(warned)}."
        if not self.traffic.calls:
            return "no data", "No calls in this time: nothing can be said."
        if not self.columns and not self.labelled[0]:
            return "no data", "No reference and no labels: nothing to compare these calls with."
        rest = "" if self.labelled[0] else " There are no labels, so performance is not known."
        return "ok", f"Nothing unusual.{rest}"


def as_text(report: Report, *, evidence: bool = False) -> str:
    """The report as tables for a terminal."""
    parts = [_head(report)]
    if report.columns:
        parts.append(_titled("Drift", _drift(report)))
    if report.periods:
        parts.append(_titled("Performance", _performance(report.periods)))
    if report.decays:
        parts.append(_titled("Decay", "\n".join(one.why for one in report.decays)))
    if report.estimates:
        parts.append(_titled("Expected before labels", _estimates(report.estimates)))
    if report.alerts:
        rows = [
            (one.status, one.severity, one.name, time(one.starts_ms), one.annotations.get("summary", ""))
            for one in report.alerts
        ]
        parts.append(_titled("Alerts", _table(rows)))
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
        f"p50 {milliseconds(traffic.p50)}",
        f"p99 {milliseconds(traffic.p99)}",
    )
    title = f"{report.endpoint} version {report.version}, {time(report.since_ms)} to {time(report.until_ms)} UTC"
    return "\n".join((title, f"{state.upper()}: {sentence}", "", "  ".join(figures)))


def _drift(report: Report) -> str:
    rows = [("", "column", "kind", "PSI", "by chance", "p", "importance", "")]
    for one in report.ranked:
        numbers = (number(one.psi, 3), band(one.null_band), probability(one.p), percent(one.importance))
        rows.append((one.verdict, one.name, one.kind, *numbers, one.why))
    return _table(rows, right=(3, 4, 5, 6))


def _estimates(estimates: Sequence[Estimate]) -> str:
    rows = [("metric", "expected", "realised", "", "")]
    for one in estimates:
        told = "" if one.agrees is None else "agrees" if one.agrees else "differs"
        trust = "trusted" if one.calibration.trusted else "not to be trusted"
        rows.append((one.expected.metric, interval(one.expected), interval(one.realised), told, trust))
    return _table(rows)


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
    return _table(rows, right=(1, 2))


def _titled(title: str, text: str) -> str:
    return f"{title}\n" + "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def _table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(widths[at]) if at in right else cell.ljust(widths[at]) for at, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


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
    return NONE if limits is None else f"{limits[0]:.3f} to {limits[1]:.3f}"


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


def some(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _listed(names: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _joined(parts: Sequence[str]) -> str:
    text = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return text[:1].upper() + text[1:]
