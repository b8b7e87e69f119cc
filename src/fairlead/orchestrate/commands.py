"""What a person does with rollouts: start one, and ask the controller to pause, resume, promote or abort it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fairlead.contracts.errors import Busy, Conflict, NotFound, UsageError
from fairlead.contracts.state import Document, StateStore
from fairlead.contracts.types import Signature
from fairlead.kit.codec.records import from_body, to_body
from fairlead.kit.ids import request_id
from fairlead.orchestrate.compatible import compatible
from fairlead.orchestrate.plan import Plan, Strategy, checked
from fairlead.orchestrate.rollout import Phase, Rollout, Wish, begin
from fairlead.orchestrate.rollout import ask as asked
from fairlead.orchestrate.routing import routed

_TRIES = 5


def start(
    state: StateStore,
    plan: Plan,
    *,
    who: str,
    now_ms: int,
    signature_of: Callable[[str, str], Signature | None],
    alias_at: Callable[[str, str], str],
) -> Rollout:
    """Note a rollout for the controller to begin.

    ``signature_of(model, version)`` raises SourceNotFound for a version that is not there; None: not known, not
    compared.  ``alias_at(model, alias)``: the version it points at.  Raises UsageError for a plan that makes no sense,
    an identical version, an incompatible signature or a champion that is none; Busy when one runs on the endpoint.
    After an error nothing has changed.
    """
    checked(plan)
    old, new = signature_of(plan.model, plan.champion), signature_of(plan.model, plan.candidate)
    reasons = compatible(old, new) if old and new else []
    if reasons and plan.strategy is not Strategy.BLUE_GREEN:
        raise UsageError(
            f"version {plan.candidate} of {plan.model!r} cannot answer the callers of {plan.champion}: "
            f"{'; '.join(reasons)}; change it, or use strategy blue-green when the callers change with it"
        )
    if reasons and plan.shadow > 0:
        raise UsageError(
            f"version {plan.candidate} of {plan.model!r} cannot answer the same calls as {plan.champion} "
            f"({'; '.join(reasons)}); leave shadow out"
        )
    if plan.sticky and routed(state, plan.endpoint) is not None:
        raise UsageError(
            f"sticky {plan.sticky} cannot be kept: a route shares out the calls of {plan.endpoint!r} by chance; "
            "leave it out, or take the route's arms away"
        )
    if (now := alias_at(plan.model, plan.alias)) != plan.champion:
        raise UsageError(f"{plan.alias} of {plan.model!r} is {now or 'nothing'} and not {plan.champion}; start from it")
    return _claimed(state, plan, who, now_ms)


def pause(
    state: StateStore, endpoint: str, *, who: str, now_ms: int, why: str = "", only: str = "", instead: bool = False
) -> Rollout:
    """Hold the split where it is.

    ``only``, ``instead``: see ``_ask``. Raises NotFound, UsageError (wrong phase), Busy (another wish waits).
    """
    return _ask(state, endpoint, Wish("pause", who, why, now_ms), only, instead)


def resume(
    state: StateStore, endpoint: str, *, who: str, now_ms: int, why: str = "", only: str = "", instead: bool = False
) -> Rollout:
    """Go on with the step that was paused; it begins anew.

    ``only``, ``instead``: see ``_ask``. Raises NotFound, UsageError (wrong phase), Busy (another wish waits).
    """
    return _ask(state, endpoint, Wish("resume", who, why, now_ms), only, instead)


def promote(
    state: StateStore, endpoint: str, *, who: str, now_ms: int, why: str = "", only: str = "", instead: bool = False
) -> Rollout:
    """Promote now. Without a pass it is recorded as forced.

    ``only``, ``instead``: see ``_ask``. Raises NotFound, UsageError (wrong phase), Busy (another wish waits).
    """
    return _ask(state, endpoint, Wish("promote", who, why, now_ms), only, instead)


def abort(
    state: StateStore, endpoint: str, *, who: str, now_ms: int, why: str = "", only: str = "", instead: bool = False
) -> Rollout:
    """Back to the champion, also when it was promoted and is still kept, and whatever wish waits. Raises NotFound,
    UsageError (wrong phase)."""
    return _ask(state, endpoint, Wish("abort", who, why, now_ms), only, instead)


def rollouts(state: StateStore) -> list[Rollout]:
    """All there ever were, newest first."""
    found = [from_body(Rollout, document.body) for document in state.all("rollout")]
    return sorted(found, key=lambda one: (one.started_ms, one.id), reverse=True)


def chosen(found: Sequence[Rollout], endpoint: str, rollout_id: str = "") -> Rollout:
    """Of ``rollouts``: the one with this id, else the one that runs on the endpoint, else its last. Raises NotFound."""
    own = [one for one in found if one.plan.endpoint == endpoint]
    if rollout_id:
        own = [one for one in own if one.id == rollout_id]
    if not own:
        which = f"rollout {rollout_id} of" if rollout_id else "rollout of"
        raise NotFound(f"there is no {which} endpoint {endpoint!r}; `fairlead rollout list` shows those that there are")
    return next((one for one in own if not one.ended), own[0])


def running(state: StateStore, endpoint: str) -> Rollout:
    """The one that runs on an endpoint. Raises NotFound."""
    return from_body(Rollout, _running(state, endpoint).body)


def _claimed(state: StateStore, plan: Plan, who: str, now_ms: int) -> Rollout:
    """The rollout first, then the endpoint's pointer to it: the controller follows pointers only."""
    claim = state.get("rollout-of", plan.endpoint)
    running_id = str(claim.body.get("rollout", "")) if claim else ""
    busy = f"a rollout runs on endpoint {plan.endpoint!r}"
    if running_id and (there := state.get("rollout", running_id)) and not from_body(Rollout, there.body).ended:
        raise Busy(f"{busy}: {running_id}; wait for its end, or abort it")
    rollout, _ = begin(plan, f"{plan.endpoint}-{plan.candidate}-{request_id()}", who, now_ms)
    document = state.put("rollout", rollout.id, to_body(rollout), 0)
    try:
        state.put("rollout-of", plan.endpoint, {"rollout": rollout.id}, claim.revision if claim else 0)
    except Conflict:
        late = replace(rollout, phase=Phase.ABORTED, pending=(), reason="another rollout was started first")
        state.put("rollout", rollout.id, to_body(late), document.revision)
        raise Busy(f"{busy}: it was started at the same moment; wait for its end, or abort it") from None
    return rollout


def _running(state: StateStore, endpoint: str) -> Document:
    claim = state.get("rollout-of", endpoint)
    found = state.get("rollout", str(claim.body["rollout"])) if claim and claim.body.get("rollout") else None
    if found is None:
        raise NotFound(f"no rollout runs on endpoint {endpoint!r}; `fairlead rollout list` shows those that ended")
    return found


def _ask(state: StateStore, endpoint: str, wish: Wish, only: str, instead: bool) -> Rollout:
    """``only``: id of the rollout that is meant, which then must run.  ``instead``: in the place of a wish that waits.
    Raises Conflict."""
    for _ in range(_TRIES):
        document = _running(state, endpoint)
        found = from_body(Rollout, document.body)
        if only and document.key != only:
            raise Conflict(f"{only} is not the rollout that runs on {endpoint!r}: that is {document.key}; look again")
        rollout = asked(found, wish, instead=instead)
        if rollout == found:  # an abort waits already
            return rollout
        try:
            state.put("rollout", document.key, to_body(rollout), document.revision)
        except Conflict:
            continue  # the controller looked meanwhile
        return rollout
    raise Conflict(f"the rollout on {endpoint!r} changed {_TRIES} times meanwhile; {wish.what} it again")
