"""``fairlead batch``."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import sys
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli import running, where
from fairlead.cli.output import (
    DONE,
    FAILED,
    INTERRUPTED,
    AsJson,
    HomeOption,
    RuntimeOption,
    TrackingOption,
    TrustOption,
    as_ours,
    emit,
)
from fairlead.contracts.errors import Cancelled, UsageError
from fairlead.kit import log, plugins
from fairlead.kit.config import nearest
from fairlead.kit.spec import read as files
from fairlead.serve.jobs.checkpoint import Totals
from fairlead.serve.jobs.drive import Progress
from fairlead.serve.jobs.worker import failed
from fairlead.serve.messages import frame
from fairlead.wiring import batching, serving, specs

_BAR_SECONDS = 0.5


class Form(StrEnum):
    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"


def batch(
    model: Annotated[
        str, typer.Argument(help="What `fairlead serve` takes, or the name of an endpoint in the fairlead.yaml here.")
    ],
    source: Annotated[
        str,
        typer.Option(
            "--input", help="CSV, JSON Lines (both also .gz) or Parquet; a folder of them; s3://BUCKET/PREFIX."
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", help="One file (.parquet, .csv, .jsonl) or a folder of shards; s3:// too.")
    ],
    version: Annotated[str, typer.Option(help="Version of a registered model.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a job that did not come to its end.")] = False,
    keep: Annotated[
        str, typer.Option(metavar="COLUMNS", help="Columns of the input to carry along: a,b or '*' for all.")
    ] = "",
    columns: Annotated[
        str, typer.Option(metavar="COLUMNS", help="For a model with one tensor: the columns that make it, in order.")
    ] = "",
    form: Annotated[
        Form | None, typer.Option("--format", help="Of the shards in a folder.", show_default="parquet")
    ] = None,
    max_rejected: Annotated[
        str, typer.Option(metavar="N|P%", help="More rejected rows fail the job.", show_default="no limit")
    ] = "",
    workers: Annotated[int, typer.Option(min=0, max=1024, help="Processes, of one thread each; 0: every core.")] = 0,
    rows: Annotated[int, typer.Option(min=0, help="Rows in a batch; 0: by the size of a row, at most 4096.")] = 0,
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows of a shard; Parquet: whole row groups.")] = 100_000,
    runtime: RuntimeOption = "",
    trust_pickle: TrustOption = False,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
    worker_of: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Score a table: every row through the model, in order, in shards that are there whole or not at all."""
    log.configure(level=running.level_of("warning"))
    place = where.home_of(home, tracking)
    if worker_of:
        _work(place, worker_of)
        return
    if runtime:
        plugins.known("fairlead.runtimes", runtime)
    most, share = _limit(max_rejected)
    bar = _Bar(shown=sys.stderr.isatty())
    asked = batching.Asked(
        _target(model, runtime, trust_pickle), source, output, version, form or "",
        _names(keep), _names(columns), rows, shard_rows, workers, most,
    )  # fmt: skip
    begun = batching.job(place, asked, running.worker_command("batch"), bar)
    raise typer.Exit(_run(begun, bar, share, resume=resume, as_json=as_json))


def _run(begun: batching.Begun, bar: _Bar, share: float, *, resume: bool, as_json: bool) -> int:
    """To its end, or to a signal; the exit code. ``share``: of the rows that may be rejected."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: begun.driver.stop(number))
    started = time.monotonic()
    try:
        totals = begun.run(resume)
    except Cancelled as error:
        bar.end()
        sys.stderr.write(f"fairlead: {error}\n")
        if as_json:
            emit({"error": str(error), "code": error.code}, "", as_json)
        return INTERRUPTED
    finally:
        bar.end()
    _say(begun, totals, time.monotonic() - started, as_json)
    if why := _too_many(totals, share):
        sys.stderr.write(f"fairlead: {why}\n")
        return FAILED
    return DONE


def _target(model: str, runtime: str, trust_pickle: bool) -> serving.Target:
    """An endpoint of the spec that lies here, else a model URI. Raises UsageError."""
    path = where.spec_path()
    if path is not None:
        endpoints = files.read(path).spec.endpoints
        if model in endpoints:
            found = specs.target(model, endpoints[model])
            trusted = found.trust_pickle or trust_pickle
            return replace(found, trust_pickle=trusted, runtime=runtime or found.runtime)
        if re.fullmatch(r"[A-Za-z0-9._-]+", model) and not Path(model).exists():
            known = tuple(endpoints)
            raise UsageError(
                f"{model!r} is neither a file nor an endpoint of {path}{nearest(model, known)} "
                f"(it has {', '.join(known)})"
            )
    return serving.target(model, trust_pickle=trust_pickle, runtime=runtime)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _limit(text: str) -> tuple[float, float]:
    """Most rows, and the largest share of rows, that may be rejected. Raises UsageError."""
    if not text:
        return float("inf"), 1.0
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    if percent and float(percent[1]) <= 100:
        return float("inf"), float(percent[1]) / 100
    if text.isascii() and text.isdigit():
        return float(text), 1.0
    raise UsageError(f"--max-rejected is {text!r}; expected a number of rows, or a share such as 0.5%")


def _too_many(totals: Totals, share: float) -> str:
    if totals.rows and totals.rejected == totals.rows:
        return f"every row was rejected ({totals.reason})"
    if totals.rejected > share * totals.rows:
        return (
            f"{totals.rejected} of {totals.rows} rows were rejected ({totals.rejected / totals.rows:.2%}), and "
            f"--max-rejected is {share:.2%} (first: {totals.reason})"
        )
    return ""


def _say(begun: batching.Begun, totals: Totals, seconds: float, as_json: bool) -> None:
    progress, manifest = begun.driver.progress, begun.manifest
    speed = progress.rows / seconds if seconds > 0 else 0.0
    rejected = begun.rejected if totals.rejected else None
    document: dict[str, Any] = {
        "rows": totals.rows,
        "scored": totals.scored,
        "rejected": totals.rejected,
        "rejected_file": rejected,
        "seconds": round(seconds, 3),
        "rows_per_second": round(speed),
        "shards": totals.shards,
        "resumed_shards": progress.resumed,
        "model": manifest.model,
        "version": manifest.version,
        "digest": manifest.digest,
        "output": begun.output,
    }
    resumed = f", {progress.resumed} of {totals.shards} shards were there" if progress.resumed else ""
    text = f"{totals.scored:,} rows scored in {seconds:.1f} s ({speed:,.0f} rows/s{resumed}) -> {begun.output}\n"
    if rejected:
        text += f"{totals.rejected:,} rows rejected -> {rejected} (first: {totals.reason})\n"
    emit(document, text, as_json)


class _Bar:
    """One line on a terminal: rows, rows a second, and how long it will take."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._last = self._begun = time.monotonic()
        self._first: float | None = None
        self._drawn = False

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if not self._shown or now - self._last < _BAR_SECONDS:
            return
        self._last = now
        if self._first is None:
            self._first = progress.share
        speed = progress.rows / (now - self._begun)
        gone = progress.share - self._first
        left = (1 - progress.share) / gone * (now - self._begun) if gone > 0 else 0.0
        text = f"{progress.totals.rows:,} rows  {progress.share:4.0%}  {speed:,.0f} rows/s"
        text += f"  {left:,.0f} s left" if left else ""
        text += f"  {progress.totals.rejected:,} rejected" if progress.totals.rejected else ""
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
        self._drawn = True

    def end(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            self._drawn = False


def _work(place: Any, worker_of: str) -> None:
    """Be one worker. What goes wrong is told to the job, which tells the user."""
    descriptor = int(worker_of.partition(":")[2])
    with socket.socket(fileno=descriptor) as link:
        link.set_inheritable(False)
        try:
            batching.worker(place, link)
        except Exception as error:  # noqa: BLE001 - the job tells it
            with contextlib.suppress(OSError):
                link.sendall(frame(failed(as_ours(error))))
            raise typer.Exit(FAILED) from None
