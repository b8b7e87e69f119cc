"""``fairlead rollout``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.output import DONE, FAILED, AsJson, HomeOption, TrackingOption, emit, table
from fairlead.cli.spec import SpecOption, asked
from fairlead.cli.where import home_of
from fairlead.contracts.errors import NotFound, UsageError
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.records import from_body, to_body
from fairlead.orchestrate import commands, looks
from fairlead.orchestrate.plan import Strategy
from fairlead.orchestrate.rollout import Phase, Rollout
from fairlead.orchestrate.verdict import Gate, gate
from fairlead.wiring import auditing, retraining
from fairlead.wiring.stores import state

app = typer.Typer(
    help="Move traffic to another version, step by step, as far as the evidence goes.",
    no_args_is_help=True,
    add_completion=False,
)

Endpoint = Annotated[str, typer.Argument(help="The endpoint.")]
Why = Annotated[str, typer.Option("--why", help="A reason, kept in the timeline.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Also in the place of something else that was asked and waits.")
]

LOOK_SECONDS = 0.5
WAIT_SECONDS = 15.0
"""After so long without a step somebody should hear that no controller runs."""


@app.command()
def start(
    endpoint: Endpoint,
    to: Annotated[str, typer.Option("--to", help="The version that is to be the champion.")],
    strategy: Annotated[str | None, typer.Option(help="canary, blue-green or shadow.")] = None,
    steps: Annotated[str | None, typer.Option(help="Percent of the calls, growing: 5,25,50,100.")] = None,
    gates: Annotated[
        list[str] | None,
        typer.Option("--gate", help="NAME or NAME=MARGIN: error_rate, latency_p99, prediction_drift, mean:label=1."),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Chance of a false abort over the whole rollout.")] = None,
    min_calls: Annotated[int | None, typer.Option(help="Calls that the candidate answers in a step at least.")] = None,
    min_seconds: Annotated[float | None, typer.Option(help="A step lasts so long at least.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Then an undecided step is given up.")] = None,
    on_timeout: Annotated[str | None, typer.Option(help="pause or abort, when a step is given up.")] = None,
    shadow: Annotated[float | None, typer.Option(help="Percent of the calls answered unseen before.")] = None,
    keep_seconds: Annotated[float | None, typer.Option(help="The old version stays loaded so long.")] = None,
    sticky: Annotated[str | None, typer.Option(help="header:NAME or field:NAME that decides who gets which.")] = None,
    model: Annotated[str, typer.Option(help="The registered model.", show_default="from the endpoint")] = "",
    spec: SpecOption = None,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Begin a rollout from the champion to another version. The controller of `fairlead up` carries it on."""
    given: dict[str, Any] = {
        "strategy": _strategy(strategy),
        "steps": _steps(steps),
        "gates": tuple(_gate(text) for text in gates) if gates else None,
        "alpha": alpha,
        "min_calls": min_calls,
        "min_seconds": min_seconds,
        "max_seconds": max_seconds,
        "on_timeout": on_timeout,
        "shadow": shadow,
        "keep_seconds": keep_seconds,
        "sticky": sticky,
    }
    if given["strategy"] is Strategy.SHADOW and shadow is None:
        given["shadow"] = 100.0
    known = asked(spec, home, tracking)
    more = {name: value for name, value in given.items() if value is not None}
    plan = retraining.plan(known.home, known.course(endpoint, model), to, more)
    rollout = retraining.begin(known.home, plan)
    auditing.act(known.home, "rollout.start", endpoint, plan.candidate, rollout=rollout.id, champion=plan.champion)
    emit(
        to_body(rollout),
        f"{rollout.id}: {plan.strategy} rollout of {plan.model} {plan.champion} -> {plan.candidate} on {endpoint}\n"
        f"fairlead rollout watch {endpoint}",
        as_json,
    )


@app.command()
def watch(
    endpoint: Endpoint,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Follow the rollout of an endpoint to its end: a line for each change. Exit 0 when it was promoted, else 1."""
    store = state(home_of(home, tracking))
    rollout = commands.running(store, endpoint)
    began, told, shown = time.monotonic(), False, ""
    while True:
        line = _line(rollout)
        if line != shown and not as_json:
            emit({}, line, as_json)
        shown = line
        if rollout.ended:
            break
        if rollout.pending and not told and time.monotonic() - began > WAIT_SECONDS:
            sys.stderr.write("nobody carries it on: is a controller running? (fairlead up, or fairlead controller)\n")
            told = True
        time.sleep(LOOK_SECONDS)
        found = store.get("rollout", rollout.id)
        if found is None:
            raise NotFound(f"rollout {rollout.id} of {endpoint!r} is gone from the state store")
        rollout = from_body(Rollout, found.body)
    if as_json:
        emit(to_body(rollout), "", as_json)
    raise typer.Exit(DONE if rollout.phase is Phase.DONE else FAILED)


@app.command()
def status(
    endpoint: Endpoint,
    rollout_id: Annotated[
        str, typer.Option("--id", help="Which of its rollouts.", show_default="the one that runs, else the last")
    ] = "",
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Say how a rollout stands, and what its gates say. --json: with every look at it that is kept, at most 400."""
    store = state(home_of(home, tracking))
    rollout = commands.chosen(commands.rollouts(store), endpoint, rollout_id)
    record = looks.read(store, rollout.id)
    told = looks.told(record)
    data = {"rollout": to_body(rollout), "looks": told, "turns": [one._asdict() for one in record.turns]}
    emit(data, f"{rollout.id}\n{_line(rollout)}{_bounds(told)}", as_json)


@app.command()
def pause(
    endpoint: Endpoint,
    why: Why = "",
    replace: Replace = False,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Hold the split where it is."""
    _wish("pause", endpoint, why, home, tracking, as_json, replace)


@app.command()
def resume(
    endpoint: Endpoint,
    why: Why = "",
    replace: Replace = False,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Go on with the step that was paused; its counts begin anew."""
    _wish("resume", endpoint, why, home, tracking, as_json, replace)


@app.command()
def promote(
    endpoint: Endpoint,
    why: Why = "",
    replace: Replace = False,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Promote now. Without a verdict that passed it is recorded as forced."""
    _wish("promote", endpoint, why, home, tracking, as_json, replace)


@app.command()
def abort(
    endpoint: Endpoint, why: Why = "", home: HomeOption = None, tracking: TrackingOption = None, as_json: AsJson = False
) -> None:
    """All calls back to the champion, whatever else was asked and waits."""
    _wish("abort", endpoint, why, home, tracking, as_json)


@app.command(name="list")
def listed(
    endpoint: Annotated[str, typer.Argument(help="Only those of this endpoint.")] = "",
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """All rollouts, newest first."""
    found = [one for one in commands.rollouts(state(home_of(home, tracking))) if endpoint in ("", one.plan.endpoint)]
    rows = [_row(one) for one in found]
    emit(rows, table(rows, ["id", "endpoint", "from", "to", "strategy", "phase", "percent", "reason"]), as_json)


def _wish(
    what: str,
    endpoint: str,
    why: str,
    home: Path | None,
    tracking: str | None,
    as_json: bool,
    instead: bool = False,
) -> None:
    place = home_of(home, tracking)
    asks = {"pause": commands.pause, "resume": commands.resume, "promote": commands.promote, "abort": commands.abort}
    now = SystemClock.wall_ms()
    rollout = asks[what](state(place), endpoint, who=place.user, now_ms=now, why=why, instead=instead)
    auditing.act(place, f"rollout.{what}", endpoint, rollout.plan.candidate, rollout=rollout.id, why=why)
    emit(to_body(rollout), f"{rollout.id}: {what} is noted; the controller does it within a second", as_json)


def _strategy(text: str | None) -> Strategy | None:
    if text is None:
        return None
    try:
        return Strategy(text)
    except ValueError:
        raise UsageError(f"--strategy {text!r} is not known; use {', '.join(Strategy)}") from None


def _steps(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.replace("%", "").split(","))
    except ValueError:
        raise UsageError(f"--steps {text!r}: expected percentages such as 5,25,50,100") from None


def _gate(text: str) -> Gate:
    name, has_margin, margin = text.partition("=")
    try:
        return gate(name.strip(), float(margin) if has_margin else None)
    except ValueError:
        raise UsageError(f"--gate {text!r}: the margin must be a number") from None


def _line(rollout: Rollout) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(SystemClock.wall_ms() / 1000))
    said = f"  {rollout.reason}" if rollout.reason else ""
    wish = f"  ({rollout.wish.told})" if rollout.wish else ""
    lines = [f"{at}  {rollout.phase.value:<9}  {rollout.weight:g} %  {rollout.answer.value}{wish}{said}"]
    lines += [f"{'':10}{check.name}: {check.answer.value}, {check.why}" for check in rollout.checks]
    return "\n".join(lines)


def _bounds(told: Sequence[Mapping[str, Any]]) -> str:
    """Of the newest look: in the unit of the margin, larger is worse."""
    if not told:
        return "\nno look yet"
    newest = told[-1]
    rows = [
        {
            "gate": name,
            "verdict": one["answer"],
            **{part: "" if one[part] is None else f"{one[part]:.4g}" for part in ("estimate", "lower", "upper")},
            "margin": f"{one['margin']:g}",
        }
        for name, one in newest["gates"].items()
        if one["margin"] is not None
    ]
    calls = (
        f"{newest['candidate']} calls of the candidate, {newest['champion']} of the champion; {len(told)} looks kept"
    )
    return f"\n{calls}\n{table(rows, ['gate', 'verdict', 'estimate', 'lower', 'upper', 'margin'])}"


def _row(one: Rollout) -> dict[str, Any]:
    return {
        "id": one.id,
        "endpoint": one.plan.endpoint,
        "model": one.plan.model,
        "from": one.plan.champion,
        "to": one.plan.candidate,
        "strategy": one.plan.strategy.value,
        "phase": one.phase.value,
        "percent": f"{one.weight:g}",
        "verdict": one.verdict,
        "reason": one.reason,
    }
