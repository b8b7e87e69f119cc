"""The pages of rollouts out of the state store, and what a person asks of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairlead.console.facts.rollouts import Evidence, RolloutsFacts, Row
from fairlead.console.facts.trouble import Trouble
from fairlead.contracts.errors import Busy, Conflict, StateError, UsageError
from fairlead.contracts.state import StateStore
from fairlead.kit.clock import SystemClock
from fairlead.orchestrate import commands, looks
from fairlead.orchestrate.rollout import Rollout, Wish, ask
from fairlead.wiring import auditing
from fairlead.wiring.console.kept import Kept

ROWS: Final = 100
ASKS: Final = {
    "pause": commands.pause,
    "resume": commands.resume,
    "promote": commands.promote,
    "abort": commands.abort,
}


@dataclass(frozen=True, slots=True)
class RolloutPage:
    """``Rollouts`` over the home."""

    kept: Kept

    def rollouts(self, endpoint: str, rollout: str = "") -> RolloutsFacts:
        found = [one for one in commands.rollouts(self.kept.state) if endpoint in ("", one.plan.endpoint)]
        rows = tuple(_row(one) for one in found[:ROWS])
        running = next((one for one in rows if not one.ended), None) if endpoint else None
        shown = commands.chosen(found, endpoint, rollout) if endpoint and (found or rollout) else None
        evidence = _evidence(self.kept.state, shown) if shown else None
        more = max(0, len(found) - ROWS)
        return RolloutsFacts(endpoint, running, _row(shown) if shown else None, evidence, rows, more)

    def wished(self, what: str, endpoint: str, rollout: str, who: str) -> Row:
        if not rollout:
            raise Conflict(f"which rollout of {endpoint!r} is to {what}? the form names its id")
        found = ASKS[what](self.kept.state, endpoint, who=who, now_ms=SystemClock.wall_ms(), only=rollout)
        version = found.plan.candidate
        auditing.act(self.kept.home, f"rollout.{what}", endpoint, version, who=who, rollout=found.id)
        return _row(found)


def _evidence(store: StateStore, shown: Rollout) -> Evidence:
    try:
        record = looks.read(store, shown.id)
    except StateError as error:  # of another release; the rollout can be paused and aborted all the same
        return Evidence(shown.id, shown.started_ms, (), (), Trouble(error.code, str(error)))
    turns = tuple(one._asdict() for one in record.turns)
    return Evidence(shown.id, shown.started_ms, tuple(looks.told(record)), turns)


def _row(one: Rollout) -> Row:
    plan = one.plan
    return Row(
        one.id,
        plan.endpoint,
        plan.model,
        plan.champion,
        plan.candidate,
        plan.strategy.value,
        one.phase.value,
        one.weight,
        tuple(plan.ladder),
        one.step,
        one.answer.value,
        one.checks,
        one.verdict,
        one.reason,
        one.who,
        one.started_ms,
        one.ended,
        one.wish.told if one.wish else "",
        tuple(what for what in ASKS if _allowed(one, what)),
    )


def _allowed(one: Rollout, what: str) -> bool:
    try:
        return ask(one, Wish(what, "")) != one
    except (UsageError, Busy):
        return False
