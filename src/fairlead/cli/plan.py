"""``fairlead plan``: what a load needs, before there is a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.output import AsJson, emit
from fairlead.contracts.errors import UsageError
from fairlead.plan import littles_law
from fairlead.plan.littles_law import Load, Planned

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What a load needs.")


@app.callback()
def plan() -> None:
    """What a load needs."""


@app.command()
def replicas(
    rate: Annotated[float, typer.Option("--rate", help="Calls a second, at the peak.")],
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="Time of one call.", show_default="of --measured")
    ] = None,
    concurrency: Annotated[
        float | None,
        typer.Option(
            "--concurrency",
            help="Calls in flight that one replica holds inside its deadline, measured.",
            show_default="of --measured",
        ),
    ] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option("--measured", help="What `fairlead bench llm --slo ... --json` printed; again for each load."),
    ] = None,
    share: Annotated[
        float, typer.Option("--share", min=0.5, max=1.0, help="Of the requests of --measured that keep the objectives.")
    ] = 0.99,
    headroom: Annotated[
        float, typer.Option("--headroom", help="Share of the load that is added to it.")
    ] = littles_law.HEADROOM,
    max_wait: Annotated[
        float | None,
        typer.Option("--max-wait", help="Seconds that 99 % of the calls wait at most.", show_default="any"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replicas for a load, by Little's law, and what callers wait there when they come at random (M/M/c)."""
    if measured:
        if seconds is not None or concurrency is not None:
            raise UsageError("--measured tells --seconds and --concurrency; leave these out")
        seconds, concurrency = _measured(measured, share)
    if seconds is None or concurrency is None:
        missing = "--seconds" if seconds is None else "--concurrency"
        raise UsageError(f"{missing} is missing; measure it, or give --measured FILE")
    found = littles_law.plan(Load(rate, seconds, concurrency, headroom), max_wait)
    emit(_document(found), _text(found), as_json)


def _measured(files: list[Path], share: float) -> tuple[float, float]:
    """Mean seconds and calls in flight of the heaviest load whose objectives were kept. Raises UsageError."""
    held: list[tuple[float, float]] = []
    for path in files:
        try:
            one = json.loads(path.read_bytes())
            kept, objectives = float(one["goodput_share"]), one["objectives"]
            seconds, rate = float(one["e2el"]["mean"]), float(one["requests_per_second"])
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is not what `fairlead bench llm --json` prints: {error!r}") from None
        if not objectives:
            raise UsageError(f"{path} has no objective, so nobody knows whether the load was held; measure with --slo")
        if kept >= share:
            held.append((rate * seconds, seconds))
    if not held:
        raise UsageError(f"in none of {len(files)} files {share:.0%} of the requests keep the objectives; load it less")
    concurrency, seconds = max(held)
    return seconds, max(1.0, concurrency)


def _document(found: Planned) -> dict[str, Any]:
    load, wait = found.load, found.wait
    return {
        "rate": load.rate,
        "seconds": load.seconds,
        "concurrency": load.concurrency,
        "headroom": load.headroom,
        "in_flight": load.in_flight,
        "floor": found.floor,
        "replicas": found.replicas,
        "target_concurrency": load.target,
        "utilization": found.utilization,
        "wait": None if wait is None else {"share": wait.share, "mean": wait.mean, "p99": wait.p99},
    }


def _text(found: Planned) -> str:
    load, wait = found.load, found.wait
    lines = [
        f"{load.in_flight:,.1f} calls in flight: {load.rate:g} a second, {load.seconds:g} s each (Little's law)",
        f"{found.floor:,.2f} replicas hold them, at {load.concurrency:g} each; with less the queue grows without end",
        f"{found.replicas:,} replicas, with {load.headroom:.0%} beside the load: {found.utilization:.0%} taken",
        f"target of an autoscaler: {load.target:.2f} calls in flight for each replica",
    ]
    if wait is None:
        lines.append("no place is free: callers wait without end; give more headroom")
    else:
        lines.append(
            f"{wait.share:.1%} of the calls wait, {wait.mean * 1000:,.1f} ms on average, p99 "
            f"{wait.p99 * 1000:,.1f} ms (M/M/c)"
        )
    return "\n".join(lines)
