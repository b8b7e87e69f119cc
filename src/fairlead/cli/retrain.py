"""``fairlead retrain``."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.output import DONE, FAILED, AsJson, HomeOption, TrackingOption, emit
from fairlead.cli.spec import SpecOption, asked
from fairlead.contracts.plans import Answer
from fairlead.kit import log
from fairlead.kit.codec.records import to_body
from fairlead.wiring import auditing, retraining


def retrain(
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")],
    pipeline: Annotated[Path | None, typer.Option(help="The training pipeline, a Python file.")] = None,
    model: Annotated[str, typer.Option(help="The registered model.", show_default="from the endpoint")] = "",
    metric: Annotated[str, typer.Option(help="What the gate compares: roc_auc, accuracy, mae and so on.")] = "",
    min_lift: Annotated[float | None, typer.Option(help="By how much the challenger must be better.")] = None,
    policy: Annotated[str, typer.Option(help="superiority or non-inferiority.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Everything but registering and proposing.")] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="TEST", help="A data test that may fail: the data are right, the world has changed."),
    ] = None,
    request: Annotated[str, typer.Option(help="Serve this open request.")] = "",
    why: Annotated[str, typer.Option(help="A reason, kept in the timeline.")] = "",
    spec: SpecOption = None,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Test the data, train a challenger, hold it against the champion, register it and propose its rollout.

    Exit 0 when a version passed its gate (or would have), 1 when data tests or the gate stopped it. A cron job, a CI
    job and the controller run this same command.
    """
    log.configure(level=logging.WARNING)
    known = asked(spec, home, tracking)
    course = known.course(endpoint, model)
    if pipeline is not None:
        course = replace(course, pipeline=pipeline)
    gate = known.gate(endpoint)
    flags: dict[str, Any] = {"metric": metric, "min_lift": min_lift, "policy": policy}
    gate.update({name: value for name, value in flags.items() if value not in ("", None)})
    outcome = retraining.run(
        known.home, course, gate=gate, dry_run=dry_run, accept=accept or (), request=request, why=why
    )
    verdict = outcome.verdict
    if not dry_run:
        made = outcome.version.version if outcome.version else ""
        about = {"request": outcome.request.id, "verdict": verdict.id, "why": why}
        auditing.act(known.home, "retrain", endpoint, made, **about)
    lines = [f"  {check.name}: {check.answer.value}, {check.why}" for check in verdict.checks]
    made = f"version {outcome.version.version} of {course.model}" if outcome.version else "no version"
    head = f"{verdict.about} {verdict.answer.value}: {made} ({outcome.request.outcome})"
    document = {
        "request": to_body(outcome.request),
        "verdict": to_body(verdict),
        "version": outcome.version.version if outcome.version else None,
    }
    emit(document, "\n".join([head, *lines, f"verdict {verdict.id}"]), as_json)
    raise typer.Exit(DONE if verdict.about == "gate" and verdict.answer is Answer.PASS else FAILED)
