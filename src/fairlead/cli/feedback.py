"""``fairlead feedback``: what turned out to be true, from a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, TextIO

import typer

from fairlead.cli.output import FAILED, AsJson, HomeOption, emit
from fairlead.cli.where import home_of
from fairlead.contracts.errors import UsageError
from fairlead.kit.clock import SystemClock
from fairlead.wiring import reading, stores, watching


def feedback(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint that predicted.")],
    csv: Annotated[
        Path,
        typer.Option(
            "--csv", metavar="FILE", help="Columns: prediction_id or key, label or reward; row, at. -: standard input."
        ),
    ],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Keep the labels of a CSV file. Bad lines are told and left out; then the exit code is 1."""
    settings = home_of(home)
    with _lines(csv) as lines:
        state = stores.state(settings)
        reading.check(state, stores.events(settings) if watching.has_events() else None, endpoint)
        taken = reading.take_labels(state, endpoint, lines, SystemClock.wall_ms())
    accepted = taken.accepted
    counts = {"new": accepted.new, "same": accepted.same, "corrected": accepted.corrected}
    text = f"{endpoint}: {accepted.new:,} new, {accepted.same:,} the same, {accepted.corrected:,} corrected"
    if taken.bad_lines:
        text += f"; {taken.bad_lines:,} bad {'line' if taken.bad_lines == 1 else 'lines'} left out:\n{taken.as_text()}"
    bad = [{"line": number, "why": why} for number, why in taken.bad]
    emit({"endpoint": endpoint, **counts, "bad_lines": taken.bad_lines, "bad": bad}, text, as_json)
    if taken.bad_lines:
        raise typer.Exit(FAILED)


@contextmanager
def _lines(path: Path) -> Iterator[TextIO]:
    """The lines of a file in UTF-8; bytes that are none spoil their own line only."""
    if str(path) == "-":
        yield TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="surrogateescape", newline="")
        return
    if not path.is_file():
        raise UsageError(f"--csv {path} is no file; name a CSV file, or - for standard input")
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        yield lines
