"""``fairlead cascade``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.output import AsJson, HomeOption, emit, table
from fairlead.cli.where import home_of
from fairlead.contracts.errors import UsageError
from fairlead.kit.clock import SystemClock
from fairlead.serve.llm.cascade import record
from fairlead.serve.llm.cascade.record import Found, Record
from fairlead.wiring.llm import cascades, fits

app = typer.Typer(
    help="When the answer of a cheap language model is kept: fit, show.", no_args_is_help=True, add_completion=False
)

Endpoint = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The cascade, as the spec names it.")]
StepOption = Annotated[str, typer.Option(help="The cheap model, as the spec names it.")]


@app.command("fit")
def fit_command(
    endpoint: Endpoint,
    step: StepOption,
    data: Annotated[Path, typer.Option(help="Labelled answers: JSON lines with cheap, big, and prompt or logprobs.")],
    signal: Annotated[
        str, typer.Option(help="mean or min of the tokens' probabilities, or router (the question alone).")
    ] = "",
    max_loss: Annotated[
        float, typer.Option(help="Share of calls that may be wrong where the dear model would not be.")
    ] = 0.02,
    delta: Annotated[float, typer.Option(help="Probability with which that may fail.")] = 0.05,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Find from which confidence on answers are kept, and train a router where there are no probabilities."""
    where = home_of(home)
    made = fits.fitted(where, SystemClock(), endpoint, step, data, signal=signal, max_loss=max_loss, delta=delta)
    points = [point._asdict() for point in made.points]
    shown = [{name: f"{value:.3f}" for name, value in point.items()} for point in points]
    text = _text(made.record)
    if points and made.record.tested is not None:
        text += (
            f"\n\nQuality by share of the calls that go to the dear model, on {made.record.tested.rows} other rows:\n"
        )
        text += table(shown)
        text += f"\nOf the gap between the two, {made.recovered:.2f} is closed on average; chance closes 0.50."
    emit(record.told(made.record) | {"path": made.path, "frontier": points, "recovered": made.recovered}, text, as_json)


@app.command()
def show(endpoint: Endpoint, step: StepOption, home: HomeOption = None, as_json: AsJson = False) -> None:
    """What was fitted."""
    where = cascades.path(home_of(home), endpoint, step)
    found = record.read(where)
    if found is None:
        raise UsageError(f"nothing was fitted for {step} of {endpoint} ({where}); fairlead cascade fit does that")
    emit(record.told(found), _text(found), as_json)


def _text(found: Record) -> str:
    kept = "no answer is kept" if found.threshold is None else f"answers are kept from {found.threshold:.4f} on"
    lines = [
        f"{found.made}, by {found.signal}, on {found.data}: {kept}.",
        f"  promised: a loss of at most {found.max_loss:g}, with {1 - found.delta:.0%}",
        f"  fitted:   {_figures(found.fitted)}",
    ]
    if found.tested is not None:
        lines.append(f"  tested:   {_figures(found.tested)}")
    return "\n".join(lines)


def _figures(one: Found) -> str:
    figures: dict[str, Any] = {"kept": one.kept, "loss": one.loss, "from": one.low, "to": one.high}
    return f"{one.rows} rows, " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
