"""What a retraining and a rollout work with, from a home and an endpoint's course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from fairlead.contracts.errors import SourceNotFound, UsageError
from fairlead.contracts.plans import Verdict
from fairlead.contracts.stores import Version
from fairlead.contracts.types import Signature
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home, nearest
from fairlead.orchestrate import commands
from fairlead.orchestrate.plan import Plan
from fairlead.orchestrate.rollout import Rollout
from fairlead.retrain import run as runs
from fairlead.retrain.answers import Opened
from fairlead.retrain.data_tests import DataPolicy
from fairlead.retrain.gate import GatePolicy
from fairlead.retrain.held import HeldOut
from fairlead.wiring import baselines, reading
from fairlead.wiring.loop import Course
from fairlead.wiring.stores import events, load_model, moves, opener, registry, state, tracker
from fairlead.wiring.watching import has_events


def model_of(home: Home, endpoint: str) -> str:
    """The registered model behind an endpoint that no spec names: that of its split, else the model of the same name.

    Raises SourceNotFound that names the nearest known one.
    """
    split = reading.split_of(state(home), endpoint)
    if split is not None and split.model:
        return split.model
    known = registry(home).models()
    if endpoint in known:
        return endpoint
    raise SourceNotFound(
        f"no registered model is known for endpoint {endpoint!r}{nearest(endpoint, known)}; name it with --model"
    )


def plan(home: Home, course: Course, candidate: str, more: Mapping[str, Any] | None = None) -> Plan:
    """The rollout of ``candidate`` from what the alias names now. ``more``: fields that override the course's.

    Raises SourceNotFound when the alias names nothing.
    """
    champion = moves(home).current(course.model, course.alias)
    if not champion:
        raise SourceNotFound(
            f"{course.model!r} has no {course.alias}; set it with `fairlead models alias {course.model} "
            f"{course.alias} {candidate} --why ...`"
        )
    return Plan(
        course.endpoint,
        course.model,
        champion,
        candidate,
        alias=course.alias,
        **{**course.rollout, **(more or {})},
    )


def begin(home: Home, asked: Plan) -> Rollout:
    """Note a rollout, after what both versions are counted on is settled. Raises what ``commands.start`` raises."""
    store = state(home)

    def signature_of(model: str, version: str) -> Signature | None:
        return opener(home).open(f"models:/{model}/{version}").artefact.signature

    rollout = commands.start(
        store,
        asked,
        who=home.user,
        now_ms=SystemClock.wall_ms(),
        signature_of=signature_of,
        alias_at=moves(home).current,
    )
    if not baselines.watched_version(store, asked.endpoint):
        found = events(home) if has_events() else None
        if baselines.ensure_reference(store, found, asked.endpoint, asked.model, asked.champion):
            baselines.watch_against(store, asked.endpoint, asked.model, asked.champion)
    return rollout


def parts(home: Home, course: Course) -> runs.Parts:
    """What a run of this endpoint works with."""
    store = state(home)

    def propose(made: Version, verdict: Verdict) -> None:
        if moves(home).current(course.model, course.alias):
            begin(home, plan(home, course, made.version))
            return
        why = "the first version that passed its gate"
        moves(home).move(course.model, course.alias, made.version, expected="", why=why, evidence=verdict.id)
        baselines.watch_against(store, course.endpoint, made.model, made.version)

    def remember(made: Version, held: HeldOut) -> None:
        how = course.monitored
        baselines.keep(store, made.model, made.version, held, how.performance, how.season)

    def open_model(uri: str) -> Opened:
        return Opened(load_model(opener(home).open(uri)))

    return runs.Parts(
        state=store,
        registry=registry(home),
        tracker=tracker(home),
        open_model=open_model,
        clock=SystemClock(),
        home=home.root,
        who=home.user,
        propose=propose,
        remember=remember,
        events=events(home) if has_events() else None,
        checks=plugins.load("fairlead.checks", "pandera")() if plugins.installed("pandera") else None,
    )


def run(
    home: Home,
    course: Course,
    *,
    gate: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    accept: Sequence[str] = (),
    request: str = "",
    why: str = "",
) -> runs.Outcome:
    """One retraining. ``gate``, ``data``: fields of the policies.  ``accept``: data tests that may fail.

    Raises UsageError without a pipeline, and what ``retrain.run.run`` raises.
    """
    if course.pipeline is None:
        raise UsageError(
            f"no training pipeline is known for endpoint {course.endpoint!r}; give --pipeline FILE.py, or name it in "
            "the spec (retrain.pipeline)"
        )
    asked = runs.Plan(
        course.endpoint,
        course.model,
        course.pipeline,
        gate=GatePolicy(**_known(GatePolicy, gate or {}, "gate")),
        data=DataPolicy(**_known(DataPolicy, data or {}, "data")),
        alias=course.alias,
        dry_run=dry_run,
        accept=tuple(accept),
    )
    return runs.run(asked, parts(home, course), request, why or "asked for by hand")


def _known(kind: type, given: Mapping[str, Any], what: str) -> dict[str, Any]:
    names = [one.name for one in fields(kind)]
    for name in given:
        if name not in names:
            raise UsageError(f"retrain.{what} has no field {name!r}{nearest(name, names)}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
