"""``fairlead verdict``: what gates and rollouts decided, and on what evidence."""

from __future__ import annotations

from typing import Annotated

import typer

from fairlead.cli.output import AsJson, HomeOption, TrackingOption, emit, table
from fairlead.cli.times import utc
from fairlead.cli.where import home_of
from fairlead.contracts.plans import Verdict
from fairlead.kit.codec.records import to_body
from fairlead.monitor.timeline import pairs
from fairlead.wiring import reading, stores

app = typer.Typer(
    name="verdict",
    help="What gates, rollouts and data tests decided: show, list.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="A verdict's id, or its beginning.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """One verdict: every check with its answer, the reason and the numbers."""
    found = reading.verdict(stores.state(home_of(home)), name)
    emit(to_body(found), _text(found), as_json)


@app.command("list")
def list_verdicts(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered model.")],
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """The verdicts on a model's versions, newest first."""
    settings = home_of(home, tracking)
    found = reading.verdicts(stores.state(settings), stores.registry(settings), model)
    rows = [
        {
            "when": utc(one.at_ms),
            "about": one.about,
            "version": one.version,
            "against": one.against or "-",
            "answer": one.answer.value + (" (forced)" if one.forced else ""),
            "checks": f"{sum(check.answer == 'pass' for check in one.checks)} of {len(one.checks)} pass",
            "id": one.id,
        }
        for one in found
    ]
    emit([to_body(one) for one in found], table(rows, empty=f"nothing was decided about {model} yet"), as_json)


def _text(found: Verdict) -> str:
    against = f" against version {found.against}" if found.against else ""
    who = f", by {found.who}" if found.who else ""
    lines = [
        f"{found.about}: {found.answer.value.upper()}{' (forced)' if found.forced else ''}",
        f"{found.model} version {found.version}{against}, {utc(found.at_ms)}{who}, {found.id}",
        "",
    ]
    width = max((len(check.name) for check in found.checks), default=0)
    for check in found.checks:
        lines.append(f"{check.answer.value:<12}  {check.name:<{width}}  {check.why}")
        if told := "; ".join(pairs(check.evidence)):
            lines.append(f"{'':<12}  {'':<{width}}  {told}")
    return "\n".join(lines)
