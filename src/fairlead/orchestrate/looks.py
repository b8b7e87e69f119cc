"""What the looks at a rollout said, one after the other: a bounded record, thinned as it grows. Pure, and its document.

The rollout itself keeps its last look; this is how it came to that. A record is written just before the rollout that
its newest look led to, so whoever dies between the two looks again and loses nothing; a look that is written and not
acted upon was a look all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from fairlead.contracts.errors import StateError
from fairlead.contracts.plans import Answer, Check
from fairlead.contracts.state import Document, Lease, StateStore
from fairlead.kit.codec.records import from_body, to_body
from fairlead.orchestrate.intervals import interval
from fairlead.orchestrate.observed import Observed
from fairlead.orchestrate.rollout import Phase, Rollout
from fairlead.orchestrate.verdict import SAMPLE_RATIO, Levels, judged

KIND: Final = "rollout-looks"
BOUND: Final = 400
"""Looks that a record holds at most."""
EXACT: Final = 100
"""The newest so many are all there."""
TURNS: Final = 100
PAUSE_MS: Final = 1_000
PART: Final = 200
"""Within a step a look is kept when a 200th of the step's time has passed since the last, and a second at least."""
_DIGITS: Final = 6
"""Of each number, that count."""


class Measured(NamedTuple):
    """One gate at one look. ``estimate``, ``lower``, ``upper``: see ``intervals.Interval``; None: nothing to compare,
    or nothing that bounds it.  ``worse``, ``fine``: log evidence that the candidate is worse than the margin, and that
    it is not, where the gate's test is made of it.
    """

    answer: str
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    worse: float | None = None
    fine: float | None = None


class Look(NamedTuple):
    """``number``: how many looks were kept before.  ``weight``: percent that the candidate got.  ``champion``,
    ``candidate``: calls of each since the step began.  ``gates``: in the order of ``Looks.gates``, None where a gate
    has no place.
    """

    number: int
    at_ms: int
    phase: str
    step: int
    weight: float
    champion: int
    candidate: int
    answer: str
    gates: tuple[Measured | None, ...]


class Turn(NamedTuple):
    """A change of phase or step: what followed from a look, or from a person's wish. ``verdict``: its id, if any."""

    revision: int
    at_ms: int
    phase: str
    step: int
    weight: float
    answer: str
    verdict: str
    why: str


@dataclass(frozen=True, slots=True)
class Limit:
    """What a gate is held against in all looks. ``margin``: None for the sample ratio, which has none.  ``fail_at``,
    ``pass_at``: log evidence at which it fails and passes.
    """

    name: str
    margin: float | None
    fail_at: float
    pass_at: float


@dataclass(frozen=True, slots=True)
class Looks:
    """Document ``rollout-looks``. ``gates``: what is looked at.  ``looks``, ``turns``: oldest first.  ``every``: of the
    looks before the newest ``EXACT`` each so many-th is there, the first among them.
    """

    gates: tuple[Limit, ...] = ()
    looks: tuple[Look, ...] = ()
    turns: tuple[Turn, ...] = ()
    every: int = 1


def added(record: Looks, look: Look) -> Looks:
    """With one more look. When there are too many, every second of the older ones goes, and from then on too."""
    looks, every = (*record.looks, look), record.every
    while True:
        newest = look.number - EXACT
        kept = tuple(one for one in looks if one.number > newest or one.number % every == 0)
        if len(kept) <= BOUND:
            return replace(record, looks=kept, every=every)
        every *= 2


def grown(record: Looks, before: Rollout, after: Rollout, observed: Observed | None, now_ms: int) -> Looks:
    """The record after ``before`` became ``after`` by a look at what was ``observed``, or by something else (None).
    The same record when nothing is to be kept of it."""
    if not record.gates:
        record = replace(record, gates=_limits(before), turns=(_turn(before, before.entered_ms),))
    checks = _checks(after)
    if observed is not None and checks and _due(record, before, after, now_ms):
        number = record.looks[-1].number + 1 if record.looks else 0
        record = added(record, _look(number, before, after, checks, observed, now_ms))
    if after.revision != before.revision:
        turns = [one for one in record.turns if one.revision < after.revision]  # who died before it was stored
        record = replace(record, turns=(*turns, _turn(after, now_ms))[-TURNS:])
    return record


def read(state: StateStore, rollout_id: str) -> Looks:
    """Empty when there is none. Raises StateError."""
    document = state.get(KIND, rollout_id)
    return from_body(Looks, document.body) if document else Looks()


def keep(
    state: StateStore, before: Rollout, after: Rollout, observed: Observed | None, now_ms: int, fence: Lease
) -> None:
    """Write what a look said, or what else changed. A record that cannot be read, of another release, is begun anew.
    Raises what the store raises."""
    document = state.get(KIND, before.id)
    record = _read(document)
    new = grown(record, before, after, observed, now_ms)
    if new != record:
        state.put(KIND, before.id, to_body(new), document.revision if document else 0, fence=fence)


def told(record: Looks) -> list[dict[str, Any]]:
    """Every look for whoever shows it, with names: ``gates`` by name, each with its limits."""
    return [
        {
            **{name: value for name, value in one._asdict().items() if name != "gates"},
            "gates": {
                limit.name: _named(limit, found)
                for limit, found in zip(record.gates, one.gates, strict=False)
                if found is not None
            },
        }
        for one in record.looks
    ]


def _named(limit: Limit, found: Measured) -> dict[str, Any]:
    return {**found._asdict(), "margin": limit.margin, "fail_at": limit.fail_at, "pass_at": limit.pass_at}


def _read(document: Document | None) -> Looks:
    if document is None:
        return Looks()
    try:
        return from_body(Looks, document.body)
    except StateError:
        return Looks()


def _limits(rollout: Rollout) -> tuple[Limit, ...]:
    levels = Levels.of(rollout.plan.alpha, rollout.plan.comparisons)
    fail_at, pass_at = _short(levels.fail_at), _short(levels.pass_at)
    gates = [Limit(one.name, one.margin, fail_at, pass_at) for one in rollout.plan.gates]
    return (*gates, Limit(SAMPLE_RATIO, None, fail_at, pass_at))


def _checks(after: Rollout) -> tuple[Check, ...]:
    """Of the look that led here: where it passed a step they went into the verdict that is to be written."""
    passed = next((action.write_verdict for action in after.pending if action.write_verdict is not None), None)
    return after.checks or (passed.checks if passed else ())


def _due(record: Looks, before: Rollout, after: Rollout, now_ms: int) -> bool:
    last = record.looks[-1] if record.looks else None
    if last is None or after.revision != before.revision or (last.phase, last.step) != (before.phase, before.step):
        return True
    pause = max(PAUSE_MS, (now_ms - before.entered_ms) / PART)
    return now_ms - last.at_ms >= pause or last.answer != after.answer


def _look(
    number: int, before: Rollout, after: Rollout, checks: tuple[Check, ...], observed: Observed, now_ms: int
) -> Look:
    by_name = {check.name: check for check in checks}
    plan, paired = before.plan, before.phase is Phase.SHADOW
    levels = Levels.of(plan.alpha, plan.comparisons)
    gates: list[Measured | None] = []
    for one in plan.gates:
        check = by_name.get(one.name)
        if check is None or not judged(one, paired=paired):
            gates.append(None)
            continue
        found = interval(one, check, observed, levels, paired=paired)
        bounds = (found.estimate, found.lower, found.upper) if found else (None, None, None)
        gates.append(_measured(check, *bounds))
    ratio = by_name.get(SAMPLE_RATIO)
    share = observed.candidate.calls / max(1, observed.candidate.calls + observed.champion.calls)
    gates.append(_measured(ratio, share, None, None) if ratio else None)
    return Look(
        number,
        now_ms,
        before.phase.value,
        before.step,
        before.weight,
        observed.champion.calls,
        observed.candidate.calls,
        _answer(after, checks),
        tuple(gates),
    )


def _answer(after: Rollout, checks: tuple[Check, ...]) -> str:
    """A step that was passed has begun anew, without an answer of its own."""
    return after.answer.value if after.checks else Answer.PASS.value if checks else Answer.INCONCLUSIVE.value


def _measured(check: Check, estimate: float | None, lower: float | None, upper: float | None) -> Measured:
    seen: Mapping[str, Any] = check.evidence
    worse = seen.get("log_evidence_worse", seen.get("log_evidence"))
    numbers = (estimate, lower, upper, worse, seen.get("log_evidence_fine"))
    return Measured(check.answer.value, *(None if one is None else _short(one) for one in numbers))


def _turn(after: Rollout, at_ms: int) -> Turn:
    told = next((action.tell.text for action in reversed(after.pending) if action.tell is not None), "")
    return Turn(
        after.revision,
        at_ms,
        after.phase.value,
        after.step,
        after.weight,
        after.answer.value,
        after.verdict,
        after.reason or told,
    )


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
