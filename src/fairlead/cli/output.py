"""What every command shares: the options, the way to print, and the exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.contracts.errors import FairleadError, StorageFull, UsageError
from fairlead.kit import plugins
from fairlead.kit.files import unwritable, write_whole
from fairlead.kit.sentences import masked, without_secrets

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; the last is what a shell says of a command that Ctrl-C ended."""


def _hidden(url: str | None) -> str | None:
    """A URL of the command line. Raises UsageError for one with a password: everybody here can list processes."""
    if url and "${" not in url and url != without_secrets(url):
        raise UsageError(
            "a password on the command line is seen by everybody on this machine; write ${env:NAME} in its place, "
            "or set FAIRLEAD_TRACKING"
        )
    return url


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of embedded state.", show_default="FAIRLEAD_HOME or .fairlead")
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking",
        help="MLflow tracking URI.",
        show_default="MLFLOW_TRACKING_URI or SQLite in --home",
        callback=_hidden,
    ),
]
RuntimeOption = Annotated[str, typer.Option(help="Run with this runtime instead of the one the package chose.")]
TrustOption = Annotated[
    bool, typer.Option("--trust-pickle", help="Unpickle files given on this command line: they can run any code.")
]
RecordOption = Annotated[
    bool, typer.Option("--record/--no-record", help="Keep what was asked and answered, and follow rollouts.")
]
AccessOption = Annotated[
    bool | None,
    typer.Option("--access/--no-access", help="Whether callers must show a key (`fairlead keys`).", show_default=False),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Let other machines call without a key: something in front checks them.")
]
ArmOption = Annotated[
    str,
    typer.Option(
        help="Answer for this arm of rollouts, behind a route that shares the calls out: champion or candidate.",
        show_default="share them out here",
    ),
]
LogLevelOption = Annotated[str, typer.Option(help="debug, info, warning or error.")]


def emit(data: Any, text: str, as_json: bool) -> None:
    """Print ``data`` as JSON, or ``text``, to standard output."""
    sys.stdout.write((json.dumps(data, indent=2, default=str) if as_json else text.rstrip()) + "\n")
    sys.stdout.flush()


def deliver(data: Any, text: str, output: Path | None, as_json: bool, then: str = "") -> None:
    """Print what was rendered, or write it to ``output`` and say what can be done with it ``then``."""
    if output is None:
        emit(data, text, as_json)
        return
    write_whole(output, text.encode())
    emit({"output": str(output)}, f"wrote {output}" + (f"; {then}" if then else ""), as_json)


def table(rows: list[dict[str, Any]], columns: list[str] | None = None, empty: str = "nothing to show") -> str:
    """Rows as aligned plain text, column names above."""
    if not rows:
        return empty
    names = columns or list(rows[0])
    cells = [[str(row.get(name, "") if row.get(name) is not None else "") for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    lines = [[name.upper() for name in names], *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_ours(error: Exception) -> FairleadError:
    """Any error as one of ours: a sentence and a code."""
    if isinstance(error, FairleadError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return plugins.missing(error, "this command")
    if said := unwritable(error):
        return StorageFull(f"{said}; free some space, or write somewhere else")
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return FairleadError(f"{error.strerror}{where}")
    first = masked((str(error).strip().splitlines() or [""])[0])
    return FairleadError(f"unexpected {type(error).__name__}: {first}; run again with --debug for the traceback")
