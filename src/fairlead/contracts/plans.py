"""What the stages leave for each other in the state store: references, splits, rollouts, verdicts, requests.

Every record is written as JSON by ``kit/codec/records.py``. ``KINDS`` says under which kind and key each is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

ROUTE = "route"
"""Stands for a worker's place in the key of what a route in front of the servers has applied."""

Evidence = Mapping[str, Any]
"""Numbers that a decision stood on: JSON scalars, lists and mappings."""


class Answer(StrEnum):
    """What a gate says. Inconclusive is an answer: there is not enough evidence, and nothing moves."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. ``why``: one sentence with the numbers, for people."""

    name: str
    answer: Answer
    why: str
    evidence: Evidence = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate, a rollout or the data tests decided, and on what. ``about``: ``gate``, ``rollout`` or ``data``."""

    id: str
    about: str
    model: str
    version: str
    against: str
    answer: Answer
    checks: tuple[Check, ...]
    at_ms: int
    forced: bool = False
    who: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """``weight``: 0 to 100 percent of the calls.  ``shadow``: percent of calls that are answered too, unseen."""

    version: str
    arm: str
    weight: float = 0.0
    shadow: float = 0.0


@dataclass(frozen=True, slots=True)
class TrafficSplit:
    """Which versions of an endpoint get which share. Weights add up to 100. ``model``: the registered model.

    ``sticky``: ``header:NAME`` or ``field:NAME`` whose value decides; empty: the request id.  ``salt`` changes with
    each rollout, so that the same units are not always first.
    """

    endpoint: str
    model: str
    shares: tuple[Share, ...]
    sticky: str = ""
    salt: str = ""


@dataclass(frozen=True, slots=True)
class RunLineage:
    """What a retraining was made of. ``champion``: the version it was held against, empty for none.

    ``rows``, ``holdout_rows``: of training and hold-out.  ``from_ms``, ``until_ms``: the oldest and newest row of both,
    None where the column that orders them is no clock.  ``data``, ``holdout``, ``pipeline``: SHA-256 (hex).
    ``commit``: of the pipeline's repository.  ``run``: id in the tracking server, once it is kept there.
    """

    model: str
    champion: str
    rows: int
    holdout_rows: int
    from_ms: int | None
    until_ms: int | None
    data: str
    holdout: str
    pipeline: str
    commit: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class RetrainRequest:
    """Somebody or something asks for a new version. ``trigger``: drift, performance, schedule, data or human.

    ``started_ms``, ``ended_ms``: of its run, 0 for not yet.  ``code``: of the error by which it failed.  ``tested``: id
    of the data tests' verdict.  ``lineage``: None before its data are loaded.
    """

    id: str
    endpoint: str
    trigger: str
    why: str
    at_ms: int
    evidence: Evidence = field(default_factory=dict)
    status: str = "open"
    """open, running, done, blocked or failed"""
    outcome: str = ""
    version: str = ""
    verdict: str = ""
    started_ms: int = 0
    ended_ms: int = 0
    code: str = ""
    tested: str = ""
    lineage: RunLineage | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the timeline. ``what``: ``deploy``, ``alias``, ``verdict``, ``rollout``, ``alert``, ``drift``,
    ``performance``, ``retrain``, ``data``, ``config``.  ``text``: one sentence for people."""

    endpoint: str
    what: str
    text: str
    at_ms: int
    evidence: Evidence = field(default_factory=dict)


KINDS = {
    "split": "document by endpoint: TrafficSplit",
    "rollout": "document by rollout id: orchestrate.rollout.Rollout",
    "rollout-looks": "document by rollout id: orchestrate.looks.Looks, what the looks at it said, thinned",
    "rollout-of": "document by endpoint: {rollout: id of the one that runs, or empty}",
    "reference": "document by model/version: monitor.binning.Reference",
    "baseline": "document by model/version: wiring.baselines.Baseline, what its performance is watched against",
    "schedule": "document by endpoint: {since_ms: when its cron trigger began to count}",
    "watch": "document by endpoint: {version: whose reference it is watched against}",
    "applied": "document by endpoint/host.worker: {revision, versions, error, at_ms, arm} of the split there; by "
    "endpoint/route: orchestrate.routing.Routed",
    "monitor": "document by endpoint: what the monitors remember",
    "retrain": "document by request id: RetrainRequest",
    "verdict": "journal by model: Verdict",
    "timeline": "journal by endpoint: Happening",
    "holdout": "document by data digest: {uses: how often a gate looked at it}",
}
"""Kind to where it is kept and what it is."""
