"""The report as one HTML page that needs nothing else: no script, no font, no address. What is foreign is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from fairlead.monitor.cbpe import Estimate
from fairlead.monitor.charts import Point, histogram, line, spark
from fairlead.monitor.decay import Decayed
from fairlead.monitor.figures import NONE, band, interval, milliseconds, number, percent, probability, share, some, time
from fairlead.monitor.metrics import Measure
from fairlead.monitor.report import ColumnView, Report, labels_told
from fairlead.monitor.timeline import pairs

_STYLE = files("fairlead.monitor").joinpath("page.css").read_text(encoding="utf-8")
_SHOWN = 40
_MODERATE = 0.1  # PSI, as monitor.findings has it
_CLASS = {
    "done": "ok",
    "aborted": "alarm",
    "aborting": "alarm",
    "paused": "warn",
    "alarm": "alarm",
    "warn": "warn",
    "ok": "ok",
    "firing": "alarm",
    "resolved": "ok",
}


def as_html(report: Report) -> str:
    """A whole document, in light or dark as the reader's system says."""
    state, sentence = report.verdict()
    title = f"{report.endpoint} {report.version}".rstrip()
    version = f" <small>version {escape(report.version)}</small>" if report.version else ""
    against = f", against {report.reference}" if report.reference else ""
    parts = [
        f"<header><h1>{escape(report.endpoint)}{version}</h1>",
        f"<p>{time(report.since_ms)} to {time(report.until_ms)} UTC{escape(against)}</p></header>",
        f'<p class="verdict {_tone(state)}"><strong>{escape(state.capitalize())}.</strong>{escape(sentence)}</p>',
        _figures(report),
        _notes(report),
        _alerts(report),
        _traffic(report),
        _rollouts(report),
        _performance(report),
        _rungs(report),
        _estimates(report.estimates),
        _drift(report),
        _timeline(report),
        f"<footer>Made at {time(report.made_ms)} UTC. {NONE} stands where there is no number.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: monitor report</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _figures(report: Report) -> str:
    traffic = report.traffic
    labelled, predicted = report.labelled
    cards = [
        ("Calls", f"{traffic.calls:,}", f"{traffic.rows:,} rows"),
        ("Errors", share(traffic.errors, traffic.calls), f"{traffic.errors:,} calls"),
        ("Latency p50", milliseconds(traffic.p50), f"p95 {milliseconds(traffic.p95)}, p99 {milliseconds(traffic.p99)}"),
        ("Labelled", share(labelled, predicted), f"{labelled:,} of {predicted:,} rows" if predicted else "no labels"),
    ]
    if traffic.degraded:
        cards.append(("By fallbacks", share(traffic.degraded, traffic.calls), f"{traffic.degraded:,} calls"))
    if report.columns:
        cards.append(("Drifted", str(len(report.drifted)), f"of {some(len(report.columns), 'column')}"))
    last = _last(report)
    if last is not None:
        baseline = f"reference {number(report.baseline)}" if report.baseline is not None else "newest window"
        cards.append((report.metric, number(last.value), baseline))
    inside = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for name, value, more in cards
    )
    return f'<dl class="figures">{inside}</dl>'


def _last(report: Report) -> Measure | None:
    """The watched metric in the newest window of which most rows are labelled, or else in the newest that has it."""
    ripe = [one for one in report.periods if (one.share or 0.0) >= 0.5]
    for period in reversed([*report.periods, *ripe]):
        for one in period.now:
            if one.metric == report.metric and one.value is not None:
                return one
    return None


def _notes(report: Report) -> str:
    if not report.notes:
        return ""
    return f'<ul class="notes">{"".join(f"<li>{escape(one)}</li>" for one in report.notes)}</ul>'


def _traffic(report: Report) -> str:
    """Errors by code, and who answered; nothing where one version answered everything."""
    parts = []
    codes = report.traffic.codes
    if codes:
        rows = [
            [_cell(code, "name"), _cell(f"{count:,}", "n"), _cell(share(count, report.traffic.calls), "n")]
            for code, count in codes.items()
        ]
        parts.append(_table([("error", ""), ("calls", "n"), ("of all calls", "n")], rows))
    if len(report.served) > 1:
        rows = [
            [
                _cell(one.version, "name"),
                _cell(one.arm),
                _cell(f"{one.calls:,}", "n"),
                _cell(share(one.errors, one.calls), "n"),
                _cell(milliseconds(one.p50), "n"),
                _cell(milliseconds(one.p99), "n"),
            ]
            for one in report.served
        ]
        head = [("version", ""), ("arm", ""), ("calls", "n"), ("errors", "n"), ("p50", "n"), ("p99", "n")]
        parts.append(_table(head, rows))
    return _section("Traffic", "", f'<div class="apart">{"".join(parts)}</div>') if parts else ""


def _rollouts(report: Report) -> str:
    if not report.rollouts:
        return ""
    rows = [
        [
            _cell(time(one.started_ms), "time"),
            f'<td class="name">{escape(f"{one.champion} → {one.candidate}")}{_small(one.strategy)}</td>',
            f"<td>{_badge(one.phase)}</td>",
            _cell(f"{one.weight:g} %", "n"),
            _cell(one.answer),
            f'<td class="told">{escape(one.why)}{_small(one.id)}</td>',
        ]
        for one in report.rollouts
    ]
    head = [("started (UTC)", ""), ("from, to", ""), ("phase", ""), ("share", "n"), ("last look", ""), ("", "")]
    return _section("Rollouts", "", _table(head, rows))


def _rungs(report: Report) -> str:
    """What fallbacks answered, and how well; it counts for nothing else on the page."""
    if not report.rungs:
        return ""
    rows = [
        [
            _cell(one.name, "name"),
            _cell(f"{one.rows:,}", "n"),
            _cell(share(one.labelled, one.rows), "n"),
            _cell(one.measure.metric if one.measure else ""),
            _cell(interval(one.measure), "n", one.measure.why if one.measure else ""),
        ]
        for one in report.rungs
    ]
    head = [("answered by", ""), ("rows", "n"), ("labelled", "n"), ("metric", ""), ("value", "n")]
    return _section("Fallbacks", "", _table(head, rows))


def _performance(report: Report) -> str:
    labelled, predicted = report.labelled
    if predicted and not labelled:
        return _section("Performance", "No labels have arrived: performance is not known.")
    if not report.periods:
        why = "performance is not known" if report.traffic.calls else "there is nothing to measure"
        return _section("Performance", f"No predictions are recorded that could be held against labels: {why}.")
    told = "".join(f"<li>{escape(one)}</li>" for one in labels_told(report.labels)) if report.labels else ""
    labels = f'<h3>Labels</h3><ul class="told">{told}</ul>' if told else ""
    charts = [_chart(report, place) for place in range(len(report.periods[0].now))]
    key = (
        '<ul class="key"><li><i class="k-line"></i>as known now, with 95 % interval</li>'
        '<li><i class="k-then"></i>as known then</li>'
    )
    key += '<li><i class="k-level"></i>reference</li>' if report.baseline is not None else ""
    key += '<li><i class="k-mark"></i>decay found</li>' if report.decays else ""
    young = report.labels.mature_ms if report.labels else None
    if young is not None and young < report.periods[-1].start_ms:
        key += '<li><i class="k-young"></i>labels still coming in</li>'
    rows = []
    for one in reversed(report.periods[-_SHOWN:]):
        cells = [_cell(time(one.start_ms), "time"), _cell(f"{one.predictions:,}", "n")]
        cells.append(_cell(share(one.labelled_now, one.predictions), "n"))
        for now, then in zip(one.now, one.then, strict=True):
            cells += [_cell(interval(now), "n", now.why), _cell(number(then.value), "n", then.why)]
        rows.append(cells)
    head = [("window", ""), ("rows", "n"), ("labelled", "n")]
    for measured in report.periods[0].now:
        head += [(f"{measured.metric} now", "n"), ("then", "n")]
    table = f"<details><summary>Windows as a table</summary>{_table(head, rows)}</details>"
    note = (
        "Each point is one window of predictions. A gap is a window without enough labels. What was known then can "
        "differ from what is known now, because labels come late and are corrected."
    )
    decays = "".join(_decay(one) for one in report.decays)
    return _section("Performance", note, f"{key}</ul>{''.join(charts)}{decays}{labels}{table}")


def _chart(report: Report, place: int) -> str:
    name = report.periods[0].now[place].metric
    now = [Point(p.start_ms, p.now[place].value, p.now[place].low, p.now[place].high) for p in report.periods]
    then = [Point(p.start_ms, p.then[place].value) for p in report.periods]
    watched = name == report.metric
    young = report.labels.mature_ms if report.labels else None
    marks = [(one.at_ms, one.name) for one in report.decays] if watched else []
    drawn = line(now, then, marks=marks, level=report.baseline if watched else None, young_ms=young, name=name)
    drawn = drawn or '<p class="note">No window has a value.</p>'
    return f'<h3>{escape(name)}</h3><div class="wide">{drawn}</div>'


def _decay(one: Decayed) -> str:
    begun = f"Most likely since {time(one.since_ms)}, found at {time(one.at_ms)}."
    return f'<p class="note"><span class="badge alarm">decay</span> {escape(one.why)}. {begun}</p>'


def _drift(report: Report) -> str:
    if not report.columns:
        return _section("Drift", "There is no reference to compare with.")
    rows = [_column(one) for one in report.ranked[:_SHOWN]]
    head = [("", ""), ("column", ""), ("reference and now", ""), ("PSI", "n"), ("over time", "")]
    head += [("by chance", "n"), ("p", "n")]
    weighed = any(one.importance is not None for one in report.columns)
    head += [("importance", "n")] if weighed else []
    if not weighed:
        rows = [row[:-1] for row in rows]
    left = len(report.columns) - _SHOWN
    more = f'<p class="note">{left} more columns, all further down the ranking, are left out.</p>' if left > 0 else ""
    large = "".join(_large(one) for one in report.ranked[:_SHOWN] if one.reference)
    note = (
        "PSI by chance is what the same distribution would give on so many rows, so a value within it says nothing. "
        "p is corrected for the number of columns. Over time: PSI in equal parts, with a line at 0.1."
    )
    key = '<ul class="key"><li><i class="k-before"></i>reference</li><li><i class="k-now"></i>now</li></ul>'
    details = f'<details><summary>Histograms with their bins</summary><div class="grid2">{large}</div></details>'
    return _section("Drift", note, key + _table(head, rows) + more + (details if large else ""))


def _column(one: ColumnView) -> list[str]:
    return [
        f"<td>{_badge(one.verdict)}</td>",
        f'<td class="name">{escape(one.name)}{_small(one.kind)}{_small(one.why)}</td>',
        f"<td>{histogram(one.reference, one.current, one.labels, name=one.name) or NONE}</td>",
        _cell(number(one.psi, 3), "n"),
        f"<td>{spark(one.trend, _MODERATE, name=one.name) or NONE}</td>",
        _cell(band(one.null_band), "n"),
        _cell(probability(one.p), "n"),
        _cell(percent(one.importance), "n"),
    ]


def _large(one: ColumnView) -> str:
    drawn = histogram(one.reference, one.current, one.labels, width=420, height=190, axis=True, name=one.name)
    return f"<figure><figcaption>{escape(one.name)}</figcaption>{drawn}</figure>"


def _estimates(estimates: Sequence[Estimate]) -> str:
    if not estimates:
        return ""
    rows = []
    for one in estimates:
        told = {None: ("none", "no labels yet"), True: ("ok", "agrees"), False: ("alarm", "differs")}[one.agrees]
        trust = "ok" if one.calibration.trusted else "warn"
        word = "trusted" if one.calibration.trusted else "not to be trusted"
        rows.append(
            [
                _cell(one.expected.metric, "name"),
                _cell(interval(one.expected), "n", one.expected.why),
                _cell(interval(one.realised), "n"),
                f'<td><span class="badge {told[0]}">{told[1]}</span></td>',
                f'<td class="told"><span class="badge {trust}">{word}</span>{_small(one.calibration.why)}</td>',
            ]
        )
    head = [("metric", ""), ("expected", "n"), ("realised", "n"), ("", ""), ("calibration", "")]
    note = (
        "What the calibrated scores expect of themselves before labels are known. It sees changed inputs and is blind "
        "to a changed concept: where labels differ from it, the concept has changed."
    )
    return _section("Expected before labels", note, _table(head, rows))


def _alerts(report: Report) -> str:
    if not report.alerts:
        return ""
    rows = [
        [
            f"<td>{_badge(one.status)}</td>",
            f'<td class="name">{escape(one.name)}{_small(one.severity)}</td>',
            _cell(time(one.starts_ms), "time"),
            _cell(one.annotations.get("summary", ""), "told"),
        ]
        for one in report.alerts
    ]
    return _section("Alerts", "", _table([("", ""), ("alert", ""), ("since", ""), ("", "")], rows))


def _timeline(report: Report) -> str:
    if not report.happenings:
        return ""
    rows = []
    for one in sorted(report.happenings, key=lambda one: -one.at_ms)[:_SHOWN]:
        evidence = "; ".join(pairs(one.evidence))
        more = f'<div class="evidence">{escape(evidence)}</div>' if evidence else ""
        rows.append(
            [_cell(time(one.at_ms), "time"), _cell(one.what, "what"), f'<td class="told">{escape(one.text)}{more}</td>']
        )
    return _section("Timeline", "", _table([("time (UTC)", ""), ("what", ""), ("", "")], rows))


def _section(title: str, note: str, inside: str = "") -> str:
    told = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{told}{inside}</section>"


def _table(head: Iterable[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """``head``: text and class; ``rows``: cells that are HTML already."""
    top = "".join(f'<th class="{kind}">{escape(text)}</th>' for text, kind in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str, kind: str = "", tip: str = "") -> str:
    title = f' title="{escape(tip)}"' if tip else ""
    return f'<td class="{kind}"{title}>{escape(text)}</td>'


def _small(text: str) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _badge(state: str) -> str:
    return f'<span class="badge {_tone(state)}">{escape(state)}</span>'


def _tone(state: str) -> str:
    return _CLASS.get(state, "none")
