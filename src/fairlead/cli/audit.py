"""``fairlead audit``: who did what, and the proof that it is all there."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from fairlead.audit import reading
from fairlead.audit.verify import verify as verified
from fairlead.cli.output import DONE, FAILED, AsJson, HomeOption, emit
from fairlead.cli.times import since_ms
from fairlead.cli.where import home_of, spec_path
from fairlead.contracts.errors import UsageError
from fairlead.kit.clock import SystemClock
from fairlead.kit.spec import read as files
from fairlead.wiring import auditing

app = typer.Typer(
    name="audit",
    help="Who did what to which endpoint: tail, verify, export.",
    no_args_is_help=True,
    add_completion=False,
)

LOOK_SECONDS = 0.3


@app.command()
def tail(
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many entries.")] = 20,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as more come, until Ctrl-C.")] = False,
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines instead of text.")] = False,
) -> None:
    """The last entries of all who wrote, in the order of time."""
    folder = auditing.folder(home_of(home))
    more = reading.Follower(folder) if follow else None
    _print(deque(reading.between(folder), maxlen=lines), as_json)
    while more is not None:
        time.sleep(LOOK_SECONDS)
        _print(more.more(), as_json)


@app.command()
def verify(
    key: Annotated[
        str, typer.Option("--key", help="Of a sealed log: env:NAME or file:PATH.", show_default="as the spec says")
    ] = "",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Is every entry there, as it was written? Exit 1 names the first that was edited, removed, inserted or moved."""
    place = home_of(home)
    found = verified(auditing.folder(place), auditing.seal(key or _key()), auditing.heads(place))
    head = f"{found.entries:,} entries in {found.chains} chains"
    head += f", {found.keyed:,} sealed with the key" if found.keyed else ""
    said = [str(one) for one in found.findings] or [f"{head}: all there, as they were written"]
    document = {
        "ok": not found.findings,
        "chains": found.chains,
        "entries": found.entries,
        "keyed": found.keyed,
        "findings": [{"file": one.file, "line": one.line, "what": one.what} for one in found.findings],
        "notes": found.notes,
    }
    emit(document, "\n".join([*said, *(f"note: {one}" for one in found.notes)]), as_json)
    raise typer.Exit(FAILED if found.findings else DONE)


@app.command()
def export(
    output: Annotated[Path, typer.Option("--output", help="The file to write; - is standard output.")],
    since: Annotated[
        str, typer.Option("--from", metavar="TIME", help="30s, 12h, 7d ago, or an ISO time (UTC).", show_default="all")
    ] = "",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="The same; before it.", show_default="now")] = "",
    form: Annotated[str, typer.Option("--format", help="jsonl or csv.")] = "jsonl",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write the entries of a time into a file."""
    if form not in ("jsonl", "csv"):
        raise UsageError(f"--format is {form!r}; expected jsonl or csv")
    now, folder = SystemClock.wall_ms(), auditing.folder(home_of(home))
    first = since_ms(since, now, "--from") if since else 0
    last = since_ms(until, now, "--to") if until else None
    if last is not None and last <= first:
        raise UsageError(f"--to {until} is not after --from {since}")
    write = reading.as_csv if form == "csv" else reading.as_json
    count = 0
    with contextlib.ExitStack() as stack:
        to_file = str(output) != "-"
        out = stack.enter_context(output.open("wb")) if to_file else sys.stdout.buffer
        out.write(reading.csv_header() if form == "csv" else b"")
        for chain, line in reading.between(folder, first, last):
            out.write(write(chain, line))
            count += 1
        out.flush()
        if to_file:
            os.fsync(out.fileno())
    if to_file:
        emit({"entries": count, "output": str(output)}, f"{count:,} entries are in {output}", as_json)


def _key() -> str:
    """The key's reference in the spec that lies here."""
    path = spec_path()
    return files.read(path).spec.audit.key if path else ""


def _print(told: Iterable[reading.Told], as_json: bool) -> None:
    for chain, line in told:
        text = reading.as_json(chain, line).decode() if as_json else f"{reading.as_text(line)}\n"
        sys.stdout.write(text)
    sys.stdout.flush()
