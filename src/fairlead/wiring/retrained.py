"""Retrainings as their records tell them: the request, the verdicts on data and version, the rollout after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairlead.contracts.errors import NotFound
from fairlead.contracts.plans import RetrainRequest, Verdict
from fairlead.contracts.state import StateStore
from fairlead.kit.codec.records import from_body
from fairlead.kit.config import nearest
from fairlead.retrain import requests
from fairlead.wiring import reading

LOST: Final = "lost"
_SKEW_MS: Final = 86_400_000
"""By so much the clock of a store may be behind that of a run."""
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Ran:
    """One retraining. ``state``: the status of its request, or ``lost`` where it says that it runs and its process is
    gone.  ``tests``, ``gate``: None where there was none, or a dry run kept none.  ``rollout``: id of the newest one of
    the version that it made.
    """

    request: RetrainRequest
    state: str
    tests: Verdict | None
    gate: Verdict | None
    rollout: str


def every(state: StateStore, endpoint: str = "") -> list[tuple[str, RetrainRequest]]:
    """State and request of each, of one endpoint where it is named, newest first."""
    found = requests.every(state, endpoint)
    running = {one.endpoint for one in found if one.status == "running"}
    held = {name for name in running if state.holder(requests.lease_of(name)) is not None}
    return [(LOST if one.status == "running" and one.endpoint not in held else one.status, one) for one in found[::-1]]


def one(state: StateStore, name: str) -> Ran:
    """The retraining whose request has this id, or an id that alone begins with it. Raises NotFound."""
    known = {request.id: (status, request) for status, request in every(state)}
    ids = [name] if name in known else sorted(id_ for id_ in known if name and id_.startswith(name))
    if len(ids) > 1:
        shown = ", ".join(ids[:_SHOWN])
        raise NotFound(f"retraining {name[:80]!r} is the beginning of {len(ids)} ids: {shown}; give more of it")
    if not ids:
        said = nearest(name[:80], list(known)) or "; `fairlead runs list` names those there are"
        raise NotFound(f"no retraining has the id {name[:80]!r}{said}")
    status, request = known[ids[0]]
    judged = _verdicts(state, request)
    tests, gate = judged.get(request.tested), judged.get(request.verdict)
    return Ran(
        request,
        status,
        tests or (gate if gate is not None and gate.about == "data" else None),
        gate if gate is not None and gate.about != "data" else None,
        _rollout(state, request),
    )


def _verdicts(state: StateStore, request: RetrainRequest) -> dict[str, Verdict]:
    """Those that the request names, by their ids."""
    wanted = {request.tested, request.verdict} - {""}
    if not wanted:
        return {}
    until = request.ended_ms + _SKEW_MS if request.ended_ms else None
    model = request.lineage.model if request.lineage else reading.model_of(state, request.endpoint)
    entries = state.entries("verdict", model, since_ms=max(0, request.at_ms - _SKEW_MS), until_ms=until)
    return {one.body["id"]: from_body(Verdict, one.body) for one in entries if one.body.get("id") in wanted}


def _rollout(state: StateStore, request: RetrainRequest) -> str:
    """By its stored form: the record itself stands on scipy."""
    if not request.version:
        return ""
    found = [
        one
        for one in state.all("rollout")
        if one.body.get("plan", {}).get("endpoint") == request.endpoint
        and one.body["plan"].get("candidate") == request.version
    ]
    return max(found, key=lambda one: one.at_ms).key if found else ""
