"""``fairlead monitor``: what a live endpoint does, and whether it is still what its model was made for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.output import AsJson, HomeOption, emit
from fairlead.cli.times import SinceOption, since_ms
from fairlead.cli.where import home_of
from fairlead.contracts.errors import UsageError
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.records import to_body
from fairlead.kit.files import write_whole
from fairlead.monitor.abuse import evidence
from fairlead.monitor.figures import NONE, number, percent, probability, some, time
from fairlead.monitor.mapping import Tested
from fairlead.monitor.page import as_html
from fairlead.monitor.report import Report, as_text, table
from fairlead.wiring import abuse, burning, reading, reporting, stores, watching
from fairlead.wiring.reporting import Asked, Drift, Stores

app = typer.Typer(
    name="monitor",
    help="What a recorded endpoint does: report, drift, slo, abuse.",
    no_args_is_help=True,
    add_completion=False,
)

EndpointArgument = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The name that clients call.")]
VersionOption = Annotated[
    str, typer.Option("--version", metavar="V", help="This version.", show_default="the one that serves now")
]


_KEY = (
    "threshold: moderate / large; p: chance of so much when nothing happened, after Benjamini-Hochberg over all tests"
)


@app.command()
def report(
    endpoint: EndpointArgument,
    since: SinceOption = "7d",
    version: VersionOption = "",
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write it as one HTML page too.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Calls, errors, latency, drift, performance, labels, alerts and rollouts of an endpoint."""
    if html is not None and html.is_dir():
        raise UsageError(f"--html {html} is a folder; name a file")
    found = reporting.report(*_asked(endpoint, since, version, home))
    text = as_text(found)
    if html is not None:
        write_whole(html, as_html(found).encode())
        text += f"\n\nThe page is in {html}."
    emit(_document(found, html), text, as_json)


@app.command()
def drift(
    endpoint: EndpointArgument,
    since: SinceOption = "7d",
    version: VersionOption = "",
    exact: Annotated[bool, typer.Option("--exact", help="From every recorded row, not from the windows.")] = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Features and outputs against their reference: statistic, threshold and p of every test, what matters first."""
    found = reporting.drift(*_asked(endpoint, since, version, home), exact=exact)
    emit(to_body(found), _drift_text(found), as_json)


@app.command()
def slo(endpoint: EndpointArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Error budgets: what is left of each, and how fast it burns over an hour, six, a day and three days."""
    state = stores.state(home_of(home))
    reading.check(state, None, endpoint)
    found = burning.known(state, endpoint)
    if found is None:
        emit({"endpoint": endpoint, "at_ms": 0, "told": []}, f"{endpoint}: {burning.NOBODY}", as_json)
        return
    lines = [f"{endpoint}, {time(found.at_ms)} UTC"]
    for one in found.told:
        objective = one.objective
        left = "not yet read so far back" if one.left is None else f"{percent(max(0.0, one.left), 1)} is left"
        left += f", it was used up {1 - one.left:.3g} times over" if one.left is not None and one.left < 0 else ""
        count = f"{one.bad:,} of {one.calls:,} calls were against it" if one.calls else "no calls were recorded"
        lines += ["", f"{objective.text} over {objective.seconds / 86_400:g} days: of the error budget {left}; {count}"]
        rows = [("", "window", "times as fast as it may", "told from", "since")]
        for burn in one.burns:
            state_now = burn.severity.upper() if burn.since_ms else "ok" if one.calls else "-"
            sizes = (f"{burn.rate:.2f}", f"{burn.threshold:.3g}")
            rows.append((state_now, burn.window, *sizes, time(burn.since_ms) if burn.since_ms else ""))
        lines.append(table(rows, right=(2, 3)))
    emit({"endpoint": endpoint, **to_body(found)}, "\n".join(lines), as_json)


@app.command("abuse")
def abuse_(endpoint: EndpointArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Callers who ask as those do who copy a model: each one's signals, against what is usual among the others."""
    judged, slow, at_ms = abuse.report(stores.state(home_of(home)), endpoint)
    rows = [("", "caller", "signal", "value", "usual", "at most", "rows", "against", "")]
    for one in sorted(judged, key=lambda one: (not one.alarm, one.caller, one.signal)):
        sizes = (f"{one.value:.3f}", f"{one.usual:.3f}", f"{one.band:.3f}", f"{one.rows:,}")
        waits = "answered later" if one.caller in slow else ""
        rows.append(("ALARM" if one.alarm else "ok", one.caller, one.signal, *sizes, one.against, waits))
    head = f"{endpoint}, {time(at_ms)} UTC" if at_ms else f"{endpoint}: no caller has asked enough yet"
    text = "\n".join([head, "", table(rows, right=(3, 4, 5, 6))]) if judged else head
    found = [{**evidence(one), "alarm": one.alarm, "answered_later": one.caller in slow} for one in judged]
    emit({"endpoint": endpoint, "at_ms": at_ms, "callers": found}, text, as_json)


def _asked(endpoint: str, since: str, version: str, home: Path | None) -> tuple[Stores, Asked]:
    settings, now = home_of(home), SystemClock.wall_ms()
    asked = Asked(endpoint, since_ms(since, now), now, version)
    events = stores.events(settings) if watching.has_events() else None
    return Stores(stores.state(settings), events), asked


def _document(found: Report, html: Path | None) -> dict[str, Any]:
    state, sentence = found.verdict()
    return {"verdict": state, "why": sentence, **to_body(found), "html": str(html) if html else None}


def _drift_text(found: Drift) -> str:
    shown = _shown(found.tests)
    head = f"{found.endpoint} version {found.version}, {time(found.since_ms)} to {time(found.until_ms)} UTC"
    how = "every recorded row" if found.exact else "merged windows"
    alarmed = sorted({one.column for one in found.tests if one.verdict == "alarm"})
    warned = sorted({one.column for one in found.tests if one.verdict == "warn"} - set(alarmed))
    said = [f"{some(len(alarmed), 'column')} drifted"] if alarmed else []
    said += [f"{some(len(warned), 'column')} to look at"] if warned else []
    verdict = f"{' and '.join(said)}." if said else "Nothing drifted."
    rows = [("", "column", "test", "statistic", "threshold", "p", "rows", "importance", "")]
    for one in shown:
        told = "" if one.test in ("psi", "ks") and one.verdict != "no data" else one.text
        tail = (probability(one.p), f"{one.n:,}", percent(one.importance), told)
        limits = f"{one.moderate:g} / {one.large:g}"
        rows.append((one.verdict, one.column, one.test, _size(one), limits, *tail))
    left = len({one.column for one in found.tests} - {one.column for one in shown})
    lines = [
        head,
        f"against {found.reference}, by {how}: {found.rows:,} rows",
        "",
        verdict,
        *found.notes,
        "",
        table(rows, right=(3, 4, 5, 6, 7)),
        *([f"and {some(left, 'column')} with nothing to tell"] if left else []),
        "",
        _KEY,
    ]
    return "\n".join(lines)


def _shown(tests: Sequence[Tested], calm: int = 20) -> list[Tested]:
    """Whatever is to be told, and of the columns that are calm the first test of some."""
    told = [one for one in tests if one.verdict != "ok"]
    named = {one.column for one in told}
    rest: dict[str, Tested] = {}
    for one in tests:
        if one.column not in named:
            rest.setdefault(one.column, one)
    return [*told, *list(rest.values())[:calm]]


def _size(one: Tested) -> str:
    if one.high is not None and one.high - one.size >= 0.0005:
        return f"{one.size:.3f} to {one.high:.3f}"
    return number(one.size, 3) if one.n else NONE
