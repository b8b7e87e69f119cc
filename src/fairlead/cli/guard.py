"""``fairlead guard``: try what guardrails find, and train the classifier of detector ``injection``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.output import AsJson, emit, table
from fairlead.contracts.errors import UsageError
from fairlead.kit import files
from fairlead.wiring.llm import guard_training, guard_trial

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Guardrails: try them, train their classifier.")


@app.command()
def check(
    text: Annotated[str, typer.Option("--text", help="What to look at; - reads it from standard input.")] = "-",
    detector: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME:KIND,KIND; several times.", show_default="injection, pii")
    ] = None,
    channel: Annotated[str, typer.Option(help="Where it comes from: user, tool, answer or system.")] = "user",
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score from which a finding counts.", show_default="its own")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What detectors find in a text, and the text with it masked. What was found is never printed."""
    if text == "-":
        text = sys.stdin.read()
    trial = guard_trial.look(text, detector or ["injection", "pii"], channel, threshold)
    rows = [one.told() for one in trial.found]
    document = {"findings": rows, "masked": trial.masked, "seconds": round(trial.seconds, 6)}
    emit(document, f"{table(rows, empty='nothing was found')}\n\n{trial.masked}", as_json)


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="JSON Lines: text, label (empty: harmless), maybe group, source, held.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="ONNX file to write.")],
    detector: Annotated[str, typer.Option(help="Of which detector.")] = "injection",
    note: Annotated[str, typer.Option(help="Written into the file: what the examples are, under which licence.")] = "",
    as_json: AsJson = False,
) -> None:
    """Train a classifier of your own; the same examples give the same file. A third of the groups is held out."""
    if not data.is_file():
        raise UsageError(f"{data} is not a file; give JSON Lines with text and label")
    made = guard_training.train(detector, data, note)
    files.write_whole(output, made.file)
    held = made.figures.get("held_out", {})
    text = ", ".join(f"{name} {value}" for name, value in held.items())
    emit({"output": str(output), "bytes": len(made.file), **made.figures}, f"wrote {output}; held out: {text}", as_json)
