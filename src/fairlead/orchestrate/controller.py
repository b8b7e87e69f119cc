"""The loop that moves rollouts: take the lease, look, store, act. All decisions are in ``rollout.py``.

A rollout's document is written before its actions are carried out and after each one, every write fenced by the lease.
Each action looks first whether it has been done, so a controller that died between an action and its confirmation is
followed by one that does nothing twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from fairlead.contracts.errors import AliasMoved, Conflict, FairleadError, LeaseLost, SourceNotFound
from fairlead.contracts.plans import Happening, TrafficSplit, Verdict
from fairlead.contracts.state import Document, Lease, StateStore
from fairlead.kit.codec.records import from_body, to_body
from fairlead.orchestrate.looks import keep
from fairlead.orchestrate.observed import Observed
from fairlead.orchestrate.rollout import Action, AliasChange, Phase, Rollout, advance, confirmed, lost
from fairlead.package.registry import ROLLBACK

LEASE = "controller"
_LOOKED_BACK = 500
"""Newest lines of a journal among which a line that was written already must be."""
_log = logging.getLogger("fairlead.orchestrate")


class AliasMover(Protocol):
    """``package.registry.Moves``."""

    def current(self, model: str, alias: str) -> str: ...

    def move(
        self, model: str, alias: str, to: str, *, expected: str | None = None, why: str, evidence: str = ""
    ) -> object: ...


class Controller:
    """``observe``: what happened since ``rollout.since_ms`` (see ``Observed``).  ``update_reference``: called with
    endpoint, model and version; may be called twice.  ``owner``: tells this process from all others."""

    def __init__(
        self,
        state: StateStore,
        *,
        observe: Callable[[Rollout], Observed],
        moves: AliasMover,
        update_reference: Callable[[str, str, str], None],
        owner: str,
        lease_seconds: float = 10.0,
    ) -> None:
        self._state = state
        self._observe = observe
        self._moves = moves
        self._update_reference = update_reference
        self._owner = owner
        self._lease_seconds = lease_seconds

    def tick(self, now_ms: int) -> bool:
        """One look at every rollout; False when another process holds the lease. A rollout that cannot be looked at
        is logged and left for the next tick. Raises Unavailable when the state store does not answer."""
        if self._state.acquire(LEASE, self._owner, self._lease_seconds) is None:
            return False
        for claim in self._state.all("rollout-of"):
            if not claim.body.get("rollout"):
                continue
            lease = self._state.acquire(LEASE, self._owner, self._lease_seconds)
            if lease is None:
                return False
            try:
                self._turn(claim, lease, now_ms)
            except LeaseLost:
                return False
            except Conflict:
                continue  # somebody's wish was noted meanwhile
            except FairleadError as error:
                fields = {"endpoint": claim.key, "rollout": claim.body["rollout"], "error": str(error)}
                _log.warning("rollout left for the next tick", extra={"fields": fields})
        return True

    def _turn(self, claim: Document, lease: Lease, now_ms: int) -> None:
        document = self._state.get("rollout", claim.body["rollout"])
        if document is None:
            return
        rollout = from_body(Rollout, document.body)
        if not rollout.pending:
            looks = rollout.wish is None and rollout.phase in (Phase.SHADOW, Phase.CANARY)
            observed = self._observe(rollout) if looks else None
            moved, _ = advance(rollout, observed or Observed(), now_ms)
            if moved != rollout:
                keep(self._state, rollout, moved, observed, now_ms, lease)
                document = self._store(document, moved, lease)
            rollout = moved
        while rollout.pending:
            before, rollout = rollout, self._after(rollout, rollout.pending[0], lease, now_ms)
            if rollout.revision != before.revision:
                keep(self._state, before, rollout, None, now_ms, lease)
            document = self._store(document, rollout, lease)
        if rollout.ended and rollout.wish is None:
            self._state.put("rollout-of", claim.key, {"rollout": ""}, claim.revision, fence=lease)

    def _store(self, document: Document, rollout: Rollout, lease: Lease) -> Document:
        return self._state.put("rollout", document.key, to_body(rollout), document.revision, fence=lease)

    def _after(self, rollout: Rollout, action: Action, lease: Lease, now_ms: int) -> Rollout:
        """Carry one action out; the state after it."""
        if action.set_split is not None:
            self._split(action.set_split, lease)
        elif action.write_verdict is not None:
            self._verdict(action.write_verdict, lease)
        elif action.tell is not None:
            self._tell(action.tell, f"{rollout.id}/{action.key}", lease)
        elif action.update_reference:
            self._update_reference(rollout.plan.endpoint, rollout.plan.model, action.update_reference)
        elif action.move_alias is not None:
            try:
                self._alias(action.move_alias)
            except (AliasMoved, SourceNotFound) as error:
                return lost(rollout, str(error), now_ms)[0]
        return confirmed(rollout, action.key, now_ms)

    def _split(self, split: TrafficSplit, lease: Lease) -> None:
        found = self._state.get("split", split.endpoint)
        body = to_body(split)
        if found is None or found.body != body:
            self._state.put("split", split.endpoint, body, found.revision if found else 0, fence=lease)

    def _verdict(self, verdict: Verdict, lease: Lease) -> None:
        written = self._state.entries("verdict", verdict.model, limit=_LOOKED_BACK)
        if not any(entry.body.get("id") == verdict.id for entry in written):
            self._state.append("verdict", verdict.model, to_body(verdict), fence=lease)

    def _tell(self, happening: Happening, key: str, lease: Lease) -> None:
        written = self._state.entries("timeline", happening.endpoint, limit=_LOOKED_BACK)
        if not any(_key_of(entry.body) == key for entry in written):
            body = to_body(happening)
            body["evidence"] = {**body["evidence"], "key": key}
            self._state.append("timeline", happening.endpoint, body, fence=lease)

    def _alias(self, change: AliasChange) -> None:
        """The registry knows no fence: its compare-and-set keeps a controller that lost the lease from a wrong move."""
        if self._moves.current(change.model, change.alias) != change.after:
            evidence = ROLLBACK if change.back else change.verdict
            self._moves.move(
                change.model, change.alias, change.after, expected=change.before, why=change.why, evidence=evidence
            )


def _key_of(body: dict[str, Any]) -> str:
    evidence = body.get("evidence")
    return str(evidence.get("key", "")) if isinstance(evidence, dict) else ""
