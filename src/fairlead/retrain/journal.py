"""What a run writes into the state store: its request's status, the timeline, verdicts, looks at the hold-out.

Every write is fenced by the run's lease: a run that lost it writes nothing more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fairlead.contracts.errors import Conflict, FairleadError
from fairlead.contracts.plans import Check, Happening, RetrainRequest, Verdict
from fairlead.contracts.state import StateStore
from fairlead.kit import ids
from fairlead.kit.clock import Clock
from fairlead.kit.codec.records import to_body
from fairlead.retrain import requests
from fairlead.retrain.requests import Hold


class Journal:
    """Of one run of one endpoint, which holds the endpoint's lease. ``take`` comes before all but ``bury``."""

    def __init__(self, state: StateStore, endpoint: str, clock: Clock, hold: Hold) -> None:
        self._state, self._endpoint, self._clock, self._hold = state, endpoint, clock, hold
        self._request: RetrainRequest

    def bury(self) -> None:
        """Requests that say they run while this run holds the lease are of a process that was killed."""
        for dead in requests.every(self._state, self._endpoint):
            if dead.status == "running":
                self._move(dead, status="failed", outcome=requests.DIED)
                self.tell("retrain", f"retraining failed: {requests.DIED}", request=dead.id)

    def take(self, request_id: str, why: str, *, dry: bool) -> RetrainRequest:
        """The request ``request_id``, or the oldest open one, or a person's new one; it is running now.

        ``dry``: a copy of it, so that it stays open.
        """
        if request_id:
            found = requests.find(self._state, request_id, self._endpoint)
        else:
            waiting = [one for one in requests.every(self._state, self._endpoint) if one.status == "open"]
            found = waiting[0] if waiting else RetrainRequest("", self._endpoint, "human", why, self._clock.wall_ms())
        if dry or not found.id:
            found = replace(found, id=ids.request_id(), at_ms=self._clock.wall_ms())
            requests.ask(self._state, found, fence=self._hold.lease)
        self._request = self._move(found, status="running", started_ms=self._clock.wall_ms())
        self.tell("retrain", f"retraining began ({found.trigger}): {found.why}", request=found.id)
        return self._request

    def note(self, **fields: Any) -> None:
        """Fields of the request that are known now."""
        self._request = self._move(self._request, **fields)

    def end(self, status: str, outcome: str, **fields: Any) -> RetrainRequest:
        self.note(status=status, outcome=outcome, ended_ms=self._clock.wall_ms(), **fields)
        return self._request

    def failed(self, why: str, code: str) -> None:
        """Say why, if the store and the lease still let us."""
        with contextlib.suppress(FairleadError):
            self.end("failed", why, code=code)
            self.tell("retrain", f"retraining failed: {why}", request=self._request.id)

    def looked(self, digest: str) -> int:
        """Count one look at a hold-out; how many there were before. Looks for all endpoints count."""
        while True:
            found = self._state.get("holdout", digest)
            uses, revision = (int(found.body["uses"]), found.revision) if found else (0, 0)
            with contextlib.suppress(Conflict):
                self._state.put("holdout", digest, {"uses": uses + 1}, revision, fence=self._hold.lease)
                return uses

    def verdict(self, verdict: Verdict) -> None:
        self._state.append("verdict", verdict.model, to_body(verdict), fence=self._hold.lease)

    def accepted(self, checks: Sequence[Check], names: Sequence[str]) -> None:
        """Tell what a person took for the truth although a data test found it wrong."""
        for check in checks:
            if check.name in names and check.evidence.get("by"):
                self.tell("data", f"{check.name} {check.why}", request=self._request.id)

    def tell(self, what: str, text: str, **evidence: Any) -> None:
        line = Happening(self._endpoint, what, text, self._clock.wall_ms(), evidence)
        self._state.append("timeline", line.endpoint, to_body(line), fence=self._hold.lease)

    def _move(self, request: RetrainRequest, **to: Any) -> RetrainRequest:
        return requests.moved(self._state, request, fence=self._hold.lease, **to)
