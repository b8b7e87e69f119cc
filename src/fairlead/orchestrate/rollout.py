"""The state machine of a rollout: shadow, canary steps, promotion, abort. Pure: state and counts in, state and
actions out.

A new state carries the actions that lead to it as ``pending``. The controller stores the state first, then carries the
actions out one by one, and stores each as done (``confirmed``); every action may be carried out twice. So a controller
that dies anywhere is followed by one that ends the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from fairlead.contracts.errors import Busy, UsageError
from fairlead.contracts.plans import Answer, Check, Happening, TrafficSplit, Verdict
from fairlead.orchestrate.observed import Observed
from fairlead.orchestrate.plan import Plan, Strategy
from fairlead.orchestrate.verdict import SAMPLE_RATIO, look, overall


class Phase(StrEnum):
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTING = "promoting"
    KEEPING = "keeping"
    DONE = "done"
    ABORTING = "aborting"
    ABORTED = "aborted"
    PAUSED = "paused"


ENDED = (Phase.DONE, Phase.ABORTED)


@dataclass(frozen=True, slots=True)
class AliasChange:
    """Point ``alias`` of ``model`` from version ``before`` to ``after``; ``back``: a promotion is undone."""

    model: str
    alias: str
    before: str
    after: str
    verdict: str
    why: str
    back: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do: the one field that is set. ``key`` tells it from all others of its rollout."""

    key: str
    set_split: TrafficSplit | None = None
    move_alias: AliasChange | None = None
    write_verdict: Verdict | None = None
    tell: Happening | None = None
    update_reference: str = ""
    """The version whose reference the endpoint is watched against from now on."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for; it is granted at the next tick. ``what``: pause, resume, promote or abort."""

    what: str
    who: str
    why: str = ""
    at_ms: int = 0

    @property
    def told(self) -> str:
        """Who asked for what, and when."""
        at = f" at {datetime.fromtimestamp(self.at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC" if self.at_ms else ""
        return f"{self.who or 'somebody'} asked to {self.what}{at}"


@dataclass(frozen=True, slots=True)
class Rollout:
    """``step``: place in ``plan.ladder``.  ``entered_ms``: when the split of this phase was set.  ``revision`` grows
    with each change of phase.  ``checks`` and ``answer``: the last look.  ``verdict``: id of the last one.
    ``back_to``: the phase that a paused rollout goes on with.  ``control_since_ms``, ``control_until_ms``: when the
    champion served, if it does not now (0: it does)."""

    id: str
    plan: Plan
    phase: Phase
    who: str
    started_ms: int
    entered_ms: int
    step: int = -1
    revision: int = 1
    answer: Answer = Answer.INCONCLUSIVE
    checks: tuple[Check, ...] = ()
    verdict: str = ""
    reason: str = ""
    back_to: Phase | None = None
    control_since_ms: int = 0
    control_until_ms: int = 0
    wish: Wish | None = None
    pending: tuple[Action, ...] = ()

    @property
    def weight(self) -> float:
        """Percent of the calls that the candidate gets in this phase."""
        return self.plan.ladder[self.step] if self.step >= 0 else 0.0

    @property
    def since_ms(self) -> int:
        """From when calls count for this step."""
        return self.entered_ms + round(self.plan.settle_seconds * 1000)

    @property
    def ended(self) -> bool:
        return self.phase in ENDED and not self.pending


Moved = tuple[Rollout, list[Action]]


def begin(plan: Plan, rollout_id: str, who: str, now_ms: int) -> Moved:
    """The first state of a checked plan."""
    phase, step = (Phase.SHADOW, -1) if plan.shadows else (Phase.CANARY, 0)
    fresh = Rollout(rollout_id, plan, phase, who, now_ms, now_ms, step, revision=0)
    text = f"{who or 'somebody'} started a {plan.strategy} rollout of {plan.model} {plan.champion} -> {plan.candidate}"
    return _entered(fresh, now_ms, text)


def advance(rollout: Rollout, observed: Observed, now_ms: int) -> Moved:
    """One look. Pending actions come first, then a person's wish, then the evidence."""
    if rollout.pending:
        return rollout, list(rollout.pending)
    if rollout.wish is not None:
        return _granted(replace(rollout, wish=None), rollout.wish, now_ms)
    match rollout.phase:
        case Phase.SHADOW | Phase.CANARY:
            return _judged(rollout, observed, now_ms)
        case Phase.PROMOTING if rollout.plan.keep_seconds > 0:
            return replace(rollout, phase=Phase.KEEPING, entered_ms=now_ms, revision=rollout.revision + 1), []
        case Phase.PROMOTING:
            return _done(rollout, now_ms)
        case Phase.KEEPING if now_ms - rollout.entered_ms >= rollout.plan.keep_seconds * 1000:
            return _done(rollout, now_ms)
        case Phase.ABORTING:
            return replace(rollout, phase=Phase.ABORTED, revision=rollout.revision + 1), []
    return rollout, []


def confirmed(rollout: Rollout, key: str, now_ms: int) -> Rollout:
    """The first pending action was carried out. A step begins when its split is set, however late that was."""
    first, *rest = rollout.pending
    if first.key != key:
        raise UsageError(f"rollout {rollout.id}: {key} is not the pending action {first.key}; read the rollout again")
    entered = now_ms if first.set_split is not None else rollout.entered_ms
    return replace(rollout, pending=tuple(rest), entered_ms=entered)


def lost(rollout: Rollout, why: str, now_ms: int) -> Moved:
    """The alias could not be moved (somebody else moved it, or the version is gone): back to the champion.

    When it was a promotion that was to be undone, only the alias stays where somebody else put it.
    """
    rest = rollout.pending[1:]
    if rollout.phase is Phase.ABORTING:
        told = _told(rollout, f"the alias was left as it is: {why}", now_ms)
        return replace(rollout, reason=f"{rollout.reason}; {why}", pending=(*rest, told)), [*rest, told]
    return _aborted(replace(rollout, pending=()), f"not promoted: {why}", now_ms, undo=False)


def ask(rollout: Rollout, wish: Wish, *, instead: bool = False) -> Rollout:
    """Note a person's wish. An abort takes the place of any other that waits, every wish does with ``instead``; an
    abort that waits already stays as it is.

    Raises UsageError when the phase does not allow it, Busy when another wish waits.
    """
    allowed = {
        "pause": (Phase.SHADOW, Phase.CANARY),
        "resume": (Phase.PAUSED,),
        "promote": (Phase.SHADOW, Phase.CANARY, Phase.PAUSED),
        "abort": (Phase.SHADOW, Phase.CANARY, Phase.PAUSED, Phase.PROMOTING, Phase.KEEPING),
    }
    if wish.what not in allowed:
        raise UsageError(f"{wish.what!r} cannot be asked of a rollout; ask for one of {', '.join(allowed)}")
    if rollout.phase not in allowed[wish.what]:
        raise UsageError(
            f"rollout {rollout.id} is {rollout.phase}: it cannot {wish.what}; that needs "
            f"{' or '.join(allowed[wish.what])}"
        )
    waits = rollout.wish
    if waits is not None and wish.what == waits.what == "abort":
        return rollout
    if waits is not None and wish.what != "abort" and not instead:
        raise Busy(
            f"rollout {rollout.id}: {waits.told}, which waits for the controller; wait until it is done, or put "
            f"{wish.what} in its place (--replace); abort needs no leave"
        )
    return replace(rollout, wish=wish)


def _granted(rollout: Rollout, wish: Wish, now_ms: int) -> Moved:
    """The phase may have changed since the wish was noted; one that no longer fits is dropped and told."""
    by = f"{wish.who or 'somebody'} asked to {wish.what}{f': {wish.why}' if wish.why else ''}"
    try:
        ask(rollout, wish)
    except UsageError as error:
        told = _told(rollout, f"{by}; too late: {error}", now_ms)
        return replace(rollout, revision=rollout.revision + 1, pending=(told,)), [told]
    if wish.what == "pause":
        return _paused(rollout, by, now_ms)
    if wish.what == "resume":
        resumed = replace(rollout, phase=rollout.back_to or Phase.CANARY, back_to=None, reason="")
        return _entered(resumed, now_ms, by)
    if wish.what == "promote":
        return _promoted(rollout, now_ms, by, who=wish.who)
    return _aborted(rollout, by, now_ms, undo=rollout.phase is Phase.KEEPING or rollout.phase is Phase.PROMOTING)


def _judged(rollout: Rollout, observed: Observed, now_ms: int) -> Moved:
    plan = rollout.plan
    seconds = (now_ms - rollout.since_ms) / 1000.0
    shadow = rollout.phase is Phase.SHADOW
    if shadow and plan.shadow <= 0.0:
        return _loaded(rollout, observed, seconds, now_ms)
    live = not shadow and rollout.weight < 100.0 and not plan.sticky  # units that come again are no independent calls
    checks = look(
        observed,
        plan.gates,
        alpha=plan.alpha,
        comparisons=plan.comparisons,
        paired=shadow,
        shares=(100.0 - rollout.weight, rollout.weight) if live else None,
    )
    answered = observed.candidate.calls - observed.candidate.errors
    enough = answered >= (plan.shadow_calls if shadow else plan.min_calls) and seconds >= plan.min_seconds
    answer = overall(checks)
    if answer is Answer.PASS and not enough:
        answer = Answer.INCONCLUSIVE
    seen = replace(rollout, checks=checks, answer=answer)
    failed = [check for check in checks if check.answer is Answer.FAIL]
    if [check.name for check in failed] == [SAMPLE_RATIO]:
        return _paused(replace(seen, answer=Answer.INCONCLUSIVE), f"sample-ratio mismatch: {failed[0].why}", now_ms)
    if failed:
        worst = next(check for check in failed if check.name != SAMPLE_RATIO)
        return _aborted(seen, f"{worst.name}: {worst.why}", now_ms)
    if answer is Answer.PASS:
        return _passed(seen, now_ms)
    return _late(seen, now_ms) if seconds >= plan.max_seconds else (seen, [])


def _loaded(rollout: Rollout, observed: Observed, seconds: float, now_ms: int) -> Moved:
    """Blue-green without shadow: nothing of the candidate is seen yet; the champion is, to compare with later."""
    plan = rollout.plan
    if observed.champion.calls >= plan.shadow_calls and seconds >= plan.min_seconds:
        return _next(rollout, now_ms, f"{observed.champion.calls} calls of the champion seen")
    return _late(rollout, now_ms) if seconds >= plan.max_seconds else (rollout, [])


def _late(rollout: Rollout, now_ms: int) -> Moved:
    unsure = [f"{check.name}: {check.why}" for check in rollout.checks if check.answer is Answer.INCONCLUSIVE]
    why = f"inconclusive after {rollout.plan.max_seconds:g} s ({'; '.join(unsure) or 'too few calls'})"
    return _aborted(rollout, why, now_ms) if rollout.plan.on_timeout == "abort" else _paused(rollout, why, now_ms)


def _passed(rollout: Rollout, now_ms: int) -> Moved:
    """The step was passed: the next one, the promotion, or for shadow alone the end."""
    plan = rollout.plan
    if rollout.step + 1 < len(plan.ladder):
        return _next(rollout, now_ms, "; ".join(f"{check.name}: {check.why}" for check in rollout.checks))
    if plan.strategy is not Strategy.SHADOW:
        return _promoted(rollout, now_ms, "passed every step", who="")
    ended = _turned(rollout, Phase.DONE, "passed in shadow; a canary may follow")
    verdict = _verdict(ended, Answer.PASS, now_ms)
    actions = _numbered(
        ended,
        Action("", write_verdict=verdict),
        Action("", set_split=plan.alone(plan.champion, salt=rollout.id)),
        _told(ended, f"{plan.model} {plan.candidate} passed in shadow", now_ms),
    )
    return replace(ended, verdict=verdict.id, pending=actions), list(actions)


def _next(rollout: Rollout, now_ms: int, why: str) -> Moved:
    up = replace(rollout, phase=Phase.CANARY, step=rollout.step + 1)
    if up.weight >= 100.0:
        up = replace(up, control_since_ms=rollout.since_ms, control_until_ms=now_ms)
    return _entered(up, now_ms, f"{rollout.phase} at {rollout.weight:g} % passed: {why}" if rollout.checks else why)


def _entered(rollout: Rollout, now_ms: int, why: str) -> Moved:
    """Begin to look anew, with the split of the phase. What passed before leaves its verdict."""
    plan = rollout.plan
    shadow = plan.shadow if rollout.phase is Phase.SHADOW else 0.0
    fresh = replace(_turned(rollout, rollout.phase, ""), entered_ms=now_ms, answer=Answer.INCONCLUSIVE, checks=())
    passed = rollout.answer is Answer.PASS and rollout.checks
    verdict = _verdict(replace(fresh, checks=rollout.checks), Answer.PASS, now_ms) if passed else None
    share = f"{rollout.weight:g} %" if not shadow else f"a shadow of {shadow:g} %"
    actions = _numbered(
        fresh,
        *([Action("", write_verdict=verdict)] if verdict else []),
        Action("", set_split=plan.split(rollout.weight, shadow, salt=rollout.id)),
        _told(fresh, f"{plan.model} {plan.candidate} gets {share} of the calls: {why}", now_ms),
    )
    return replace(fresh, verdict=verdict.id if verdict else rollout.verdict, pending=actions), list(actions)


def _promoted(rollout: Rollout, now_ms: int, why: str, *, who: str) -> Moved:
    plan = rollout.plan
    forced = rollout.answer is not Answer.PASS or rollout.phase is not Phase.CANARY
    turned = _turned(rollout, Phase.PROMOTING, why)
    verdict = _verdict(turned, rollout.answer, now_ms, forced=forced, who=who)
    how = "by force" if forced else "by verdict"
    kept = plan.split(100.0, salt=rollout.id) if plan.keep_seconds > 0 else plan.alone(plan.candidate, salt=rollout.id)
    change = AliasChange(
        plan.model, plan.alias, plan.champion, plan.candidate, verdict.id, f"rollout {rollout.id}: {why}"
    )
    actions = _numbered(
        turned,
        Action("", write_verdict=verdict),
        Action("", move_alias=change),
        Action("", set_split=kept),
        Action("", update_reference=plan.candidate),
        _told(turned, f"{plan.model} {plan.candidate} is {plan.alias} {how} {verdict.id}: {why}", now_ms),
    )
    return replace(turned, verdict=verdict.id, pending=actions), list(actions)


def _done(rollout: Rollout, now_ms: int) -> Moved:
    plan = rollout.plan
    ended = _turned(rollout, Phase.DONE, rollout.reason)
    actions = _numbered(
        ended,
        Action("", set_split=plan.alone(plan.candidate, salt=rollout.id)),
        _told(ended, f"the rollout of {plan.model} {plan.candidate} is done", now_ms),
    )
    return replace(ended, pending=actions), list(actions)


def _aborted(rollout: Rollout, why: str, now_ms: int, *, undo: bool = False) -> Moved:
    """All calls back to the champion first, then the rest. ``undo``: the alias has moved already."""
    plan = rollout.plan
    turned = _turned(rollout, Phase.ABORTING, why)
    answer = overall(rollout.checks) if not undo else Answer.INCONCLUSIVE
    verdict = _verdict(turned, Answer.INCONCLUSIVE if answer is Answer.PASS else answer, now_ms)
    back = AliasChange(plan.model, plan.alias, plan.candidate, plan.champion, verdict.id, why, back=True)
    actions = _numbered(
        turned,
        Action("", set_split=plan.alone(plan.champion, salt=rollout.id)),
        Action("", write_verdict=verdict),
        *([Action("", move_alias=back), Action("", update_reference=plan.champion)] if undo else []),
        _told(turned, f"{plan.model} {plan.candidate} was rolled back to {plan.champion}: {why}", now_ms),
    )
    return replace(turned, verdict=verdict.id, pending=actions), list(actions)


def _paused(rollout: Rollout, why: str, now_ms: int) -> Moved:
    """The split stays as it is; nothing is decided until somebody resumes, promotes or aborts."""
    turned = replace(_turned(rollout, Phase.PAUSED, why), back_to=rollout.phase)
    actions = _numbered(turned, _told(turned, f"paused at {rollout.weight:g} %: {why}", now_ms))
    return replace(turned, pending=actions), list(actions)


def _turned(rollout: Rollout, phase: Phase, why: str) -> Rollout:
    return replace(rollout, phase=phase, reason=why, revision=rollout.revision + 1)


def _verdict(rollout: Rollout, answer: Answer, now_ms: int, *, forced: bool = False, who: str = "") -> Verdict:
    plan = rollout.plan
    return Verdict(
        f"{rollout.id}-{rollout.revision}",
        "rollout",
        plan.model,
        plan.candidate,
        plan.champion,
        answer,
        rollout.checks,
        now_ms,
        forced,
        who,
    )


def _told(rollout: Rollout, text: str, now_ms: int) -> Action:
    seen = {"rollout": rollout.id, "phase": rollout.phase.value, "weight": rollout.weight, "verdict": rollout.verdict}
    return Action(f"{rollout.revision}-told", tell=Happening(rollout.plan.endpoint, "rollout", text, now_ms, seen))


def _numbered(rollout: Rollout, *actions: Action) -> tuple[Action, ...]:
    return tuple(replace(action, key=f"{rollout.revision}-{place}") for place, action in enumerate(actions))
