"""``fairlead runs``: retrainings, what asked for them and what became of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fairlead.cli.output import AsJson, HomeOption, emit, table
from fairlead.cli.times import utc
from fairlead.cli.where import home_of
from fairlead.contracts.plans import RetrainRequest, Verdict
from fairlead.kit.codec.records import to_body
from fairlead.wiring import retrained, stores
from fairlead.wiring.retrained import Ran

app = typer.Typer(
    name="runs",
    help="Retrainings, and what became of them: list, show.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("list")
def list_runs(
    endpoint: Annotated[str, typer.Argument(metavar="[ENDPOINT]", help="Of this endpoint alone.")] = "",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Every retraining, newest first: why it was asked for, how far it is, what came of it."""
    found = retrained.every(stores.state(home_of(home)), endpoint)
    rows = [
        {
            "asked": utc(one.at_ms),
            "endpoint": one.endpoint,
            "trigger": one.trigger,
            "state": state,
            "version": one.version or "-",
            "outcome": one.outcome,
            "id": one.id,
        }
        for state, one in found
    ]
    document = [{"request": to_body(one), "state": state} for state, one in found]
    emit(document, table(rows, empty="nothing was retrained yet: fairlead retrain ENDPOINT"), as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="A retraining's id, or its beginning.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """One retraining: its data tests, its gate, what it was made of and what came of it."""
    found = retrained.one(stores.state(home_of(home)), name)
    emit(to_body(found), _text(found), as_json)


def _text(found: Ran) -> str:
    one = found.request
    code = f" ({one.code})" if one.code else ""
    lines = [
        f"{one.endpoint}: {found.state}{code}{f', {one.outcome}' if one.outcome else ''}",
        f"asked {utc(one.at_ms)} by {one.trigger}: {one.why}",
        *(f"{name} {utc(at)}" for name, at in (("began", one.started_ms), ("ended", one.ended_ms)) if at),
    ]
    lines += _made_of(one)
    for title, verdict in (("data tests", found.tests), ("gate", found.gate)):
        lines += _judged(title, verdict) if verdict is not None else []
    return "\n".join(lines)


def _made_of(one: RetrainRequest) -> list[str]:
    made = [f"version {one.version}"] if one.version else []
    of = one.lineage
    if of is None:
        return made
    told: dict[str, Any] = {"data": of.data[:12], "pipeline": of.pipeline[:12], "commit": of.commit[:12], "run": of.run}
    span = f", {utc(of.from_ms)} to {utc(of.until_ms)}" if of.from_ms and of.until_ms else ""
    return [
        *made,
        f"{of.rows} rows and {of.holdout_rows} held out{span}, against {of.champion or 'no champion'}",
        ", ".join(f"{name} {value}" for name, value in told.items() if value),
    ]


def _judged(title: str, verdict: Verdict) -> list[str]:
    width = max((len(check.name) for check in verdict.checks), default=0)
    lines = ["", f"{title}: {verdict.answer.value}, {verdict.id}"]
    return lines + [f"  {one.answer.value:<12}  {one.name:<{width}}  {one.why}" for one in verdict.checks]
