"""Carries a split out where a route in front of the servers shares the calls, as in a cluster.

Servers of each arm follow the ``TrafficSplit`` of the store as everywhere, each its own arm of it; the route gives each
arm its part. So the state machine of rollouts is the same: it writes the split, and this makes the route agree with it.
An arm gets more only when it serves what the split says; what takes calls away waits for nobody. When the target or
the store does not answer, nothing moves.

A controller that lost the lease does no harm: a shift names the revision that was read, and the route bears the token
of the lease under which it was shifted last, so an older one is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fairlead.contracts.errors import FairleadError, LeaseLost, ObjectConflict, TargetError, TargetUnreachable
from fairlead.contracts.plans import ROUTE, TrafficSplit
from fairlead.contracts.state import Lease, StateStore
from fairlead.contracts.target import ARMS, Route, Target
from fairlead.kit.clock import Clock
from fairlead.kit.codec.records import from_body, to_body

TRIES: Final = 4
"""How often a route that changed meanwhile is read again in one turn."""
PAUSE: Final = 2.0
"""Seconds until a target that did not do as it was asked is asked again."""
AGAIN: Final = 10.0
"""Seconds between two looks at a route that agrees: somebody may have changed it by hand."""
_log = logging.getLogger("fairlead.orchestrate")


@dataclass(frozen=True, slots=True)
class Routed:
    """What a route was last known to do. ``revision``: of the split that it agrees with.  ``versions``: by arm.

    ``error``: why it does not agree with a newer one.
    """

    revision: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    at_ms: int = 0


def weights(split: TrafficSplit) -> dict[str, int]:
    """Of each arm, in whole numbers: hundredths of a percent where percents are not whole."""
    shares = {arm: sum(one.weight for one in split.shares if one.arm == arm) for arm in ARMS}
    scale = 1 if all(float(share).is_integer() for share in shares.values()) else 100
    return {arm: round(share * scale) for arm, share in shares.items()}


def versions(split: TrafficSplit) -> dict[str, str]:
    """What each arm serves; an arm without a share serves as most do."""
    most = max(split.shares, key=lambda share: share.weight).version
    return {arm: next((one.version for one in split.shares if one.arm == arm), most) for arm in ARMS}


def due(split: TrafficSplit, now: Mapping[str, int], routed: Routed, followed: Iterable[str]) -> dict[str, int] | str:
    """The weights to set now, or why it is too early. ``now``: those of the route.  ``followed``: arms that serve the
    split of this revision.

    An arm that gets a larger part must serve the version that is meant: it follows this split, or it has served that
    version before.
    """
    wanted, meant = weights(split), versions(split)
    parts = {arm: now.get(arm, 0) / (sum(now.values()) or 1) for arm in ARMS}
    total = sum(wanted.values())
    for arm in ARMS:
        grows = wanted[arm] / total > parts[arm]
        if grows and routed.versions.get(arm) != meant[arm] and arm not in followed:
            return f"no server that was started with --arm {arm} serves version {meant[arm]} yet"
    return wanted


class Routing:
    def __init__(self, state: StateStore, target: Target, clock: Clock) -> None:
        self._state, self._target, self._clock = state, target, clock
        self._looked: dict[str, tuple[int, float]] = {}
        self._said: dict[str, str] = {}
        self._paused = 0.0

    def turns(self, endpoints: Iterable[str], fence: Callable[[], Lease]) -> bool:
        """Have every route agree with its split; False when another controller leads.

        What fails for one is logged, and the others go on; a target that refused is asked again a little later, and
        one that does not answer is asked for none of them.
        """
        if self._clock.now() < self._paused:
            return True
        for endpoint in endpoints:
            try:
                self.turn(endpoint, fence, self._clock.wall_ms())
            except LeaseLost:
                return False
            except FairleadError as error:
                self._tell(endpoint, str(error))
                if isinstance(error, TargetError):
                    self._paused = self._clock.now() + PAUSE
                if isinstance(error, TargetUnreachable):
                    return True
        return True

    def turn(self, endpoint: str, fence: Callable[[], Lease], now_ms: int) -> None:
        """Make the route of an endpoint agree with its split; what is too early is looked at again.

        Raises TargetError and what the store raises: then nothing has moved. LeaseLost when another controller leads.
        """
        known = routed(self._state, endpoint)
        document = self._state.get("split", endpoint)
        revision = document.revision if document else 0
        if self._fresh(endpoint, revision, known):
            return
        route = self._target.route(endpoint)
        if route is None:
            if known is not None:
                raise TargetError(f"the route of endpoint {endpoint!r} is gone; deploy it again")
            self._looked[endpoint] = (revision, self._clock.now())
            return
        if document is None:
            self._know(endpoint, known, Routed(), fence, now_ms)
            self._looked[endpoint] = (revision, self._clock.now())
            return
        split = from_body(TrafficSplit, document.body)
        problem = self._shifted(route, split, revision, known or Routed(), fence)
        self._tell(endpoint, problem)
        if problem:
            self._know(endpoint, known, replace(known or Routed(), error=problem), fence, now_ms)
            return
        self._know(endpoint, known, Routed(revision, versions(split)), fence, now_ms)
        self._looked[endpoint] = (revision, self._clock.now())

    def _fresh(self, endpoint: str, revision: int, known: Routed | None) -> bool:
        """Whether nothing is to be done: looked at a short while ago, and all agreed."""
        at = self._looked.get(endpoint)
        agrees = known is None or (known.revision == revision and not known.error)
        return at is not None and agrees and at[0] == revision and self._clock.now() - at[1] < AGAIN

    def _shifted(
        self, route: Route, split: TrafficSplit, revision: int, known: Routed, fence: Callable[[], Lease]
    ) -> str:
        """Shift, if that is to be done now; why it is too early, or empty."""
        found: Route | None = route
        for _ in range(TRIES):
            if found is None:
                raise TargetError(f"the route of endpoint {split.endpoint!r} is gone; deploy it again")
            wanted = due(split, found.weights, known, _followed(self._state, split.endpoint, revision))
            if isinstance(wanted, str):
                return wanted
            token = fence().token
            if found.fence > token:
                raise ObjectConflict(
                    f"{found.ref} was shifted under lease {found.fence}, and ours is {token}; {_REMEDY}"
                )
            if (dict(found.weights), found.fence) == (wanted, token):
                return ""
            try:
                self._target.shift(found, wanted, token)
            except ObjectConflict:
                found = self._target.route(split.endpoint)
            else:
                fields = {"endpoint": split.endpoint, "route": str(found.ref), "weights": wanted}
                _log.info("route shifted", extra={"fields": fields})
                return ""
        return f"its route changed {TRIES} times meanwhile"

    def _know(self, endpoint: str, known: Routed | None, new: Routed, fence: Callable[[], Lease], now_ms: int) -> None:
        if known is not None and replace(known, at_ms=0) == replace(new, at_ms=0):
            return
        key = f"{endpoint}/{ROUTE}"
        found = self._state.get("applied", key)
        body: dict[str, Any] = to_body(replace(new, at_ms=now_ms))
        self._state.put("applied", key, body, found.revision if found else 0, fence=fence())

    def _tell(self, endpoint: str, problem: str) -> None:
        if problem and self._said.get(endpoint) != problem:
            _log.warning("route left as it is", extra={"fields": {"endpoint": endpoint, "why": problem}})
        self._said[endpoint] = problem


_REMEDY: Final = "a store that was made anew counts from 1: remove the route's annotation fairlead.dev/fence"


def routed(state: StateStore, endpoint: str) -> Routed | None:
    """What is known of an endpoint's route; None where it has none."""
    found = state.get("applied", f"{endpoint}/{ROUTE}")
    return None if found is None else from_body(Routed, found.body)


def _followed(state: StateStore, endpoint: str, revision: int) -> set[str]:
    """Arms of which a server follows this revision of the split."""
    told = [one.body for one in state.all("applied") if one.key.rpartition("/")[0] == endpoint]
    return {str(one.get("arm")) for one in told if one.get("revision") == revision and not one.get("error")}
