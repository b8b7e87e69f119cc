"""The controller's turn: rollouts first, then what each endpoint's monitors say, then retrainings that are asked for.

All of it happens under one lease, so that two controllers on one store never both act. Whatever fails for one endpoint
is logged and tried again at the next turn; the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from fairlead.contracts.errors import FairleadError, LeaseLost, Unavailable
from fairlead.contracts.events import EventStore
from fairlead.contracts.plans import Happening
from fairlead.contracts.state import Lease, StateStore
from fairlead.kit import ids
from fairlead.kit.clock import Clock
from fairlead.monitor import timeline
from fairlead.monitor.findings import DAY_MS
from fairlead.orchestrate import commands
from fairlead.orchestrate.controller import LEASE, AliasMover, Controller
from fairlead.orchestrate.observed import Observed
from fairlead.orchestrate.rollout import Rollout
from fairlead.orchestrate.routing import Routing
from fairlead.retrain import requests, triggers
from fairlead.retrain.journal import Journal
from fairlead.retrain.triggers import Known, Triggers
from fairlead.wiring import abuse, baselines
from fairlead.wiring.burning import Budgeted, Turns
from fairlead.wiring.callers import Watched
from fairlead.wiring.monitors import Monitor, Monitored
from fairlead.wiring.observing import EDGES, observed
from fairlead.wiring.pruning import prune
from fairlead.wiring.runs import Runs
from fairlead.wiring.summing import Summing
from fairlead.wiring.unloadable import unloadable

LOOK_SECONDS: Final = 5.0
"""Between two looks at an endpoint's windows; sooner where they are shorter."""
PRUNE_SECONDS: Final = 3600.0
AGAIN_SECONDS: Final = 60.0
"""Before a run is started again that ended without having taken its request."""
LOOKED_BACK_MS: Final = 7 * DAY_MS
"""How old an alarm may be and still ask, where a retraining that it asked for failed."""
_POST_SECONDS: Final = 5.0
_log = logging.getLogger("fairlead.controller")


@dataclass(frozen=True, slots=True)
class Course:
    """What the loop does with one endpoint. ``model``: the registered model.  ``rollout``: fields of a rollout's plan.

    ``pipeline``: the training pipeline, None where nothing is retrained.  ``triggers``: what may ask for it.
    ``abuse``: how its callers are watched, None where they are not.
    """

    endpoint: str
    model: str
    alias: str = "champion"
    monitored: Monitored = field(default_factory=Monitored)
    rollout: Mapping[str, Any] = field(default_factory=dict)
    pipeline: Path | None = None
    triggers: Triggers = field(default_factory=Triggers)
    abuse: Watched | None = None


class Loop:
    """``moves``: the registry's aliases.  ``runs``: starts retrainings.  ``owner``: tells this process from others.
    ``routing``: carries splits out where a route shares the calls.  ``budgeted``: endpoints with error budgets.
    ``beat``: called before whatever may wait for a store, so that many short waits are not taken for one that hangs."""

    def __init__(
        self,
        state: StateStore,
        events: EventStore | None,
        courses: Sequence[Course],
        *,
        moves: AliasMover,
        runs: Runs,
        clock: Clock,
        owner: str,
        lease_seconds: float = 10.0,
        routing: Routing | None = None,
        budgeted: Sequence[Budgeted] = (),
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._routing, self._beat = routing, beat
        self._state, self._events, self._courses = state, events, courses
        self._moves, self._runs, self._clock = moves, runs, clock
        self._owner, self._lease_seconds = owner, lease_seconds
        self._controller = Controller(
            state,
            observe=self._observed,
            moves=moves,
            update_reference=self._promoted,
            owner=owner,
            lease_seconds=lease_seconds,
        )
        self._monitors = {
            one.endpoint: Monitor(state, events, one.endpoint, one.model, one.monitored, post) for one in courses
        }
        self._budgets = Turns(state, budgeted, post, clock.now)
        self._looked: dict[str, float] = {}
        self._started: dict[str, tuple[str, float]] = {}
        self._unread: dict[str, str] = {}
        self._pruned = clock.now()
        self._summing = Summing(state)

    def tick(self) -> bool:
        """One turn; False when another process leads. Raises Unavailable when the state store does not answer."""
        if not self._controller.tick(self._clock.wall_ms()):
            return False
        if self._routing and not self._routing.turns([one.endpoint for one in self._courses], self._fence):
            return False
        for course in self._courses:
            pause = min(LOOK_SECONDS, course.monitored.window_ms / 2000)
            if self._clock.now() - self._looked.get(course.endpoint, -pause) < pause:
                continue
            self._looked[course.endpoint] = self._clock.now()
            try:
                self._beat()
                self._fence()
                self._turn(course)
            except LeaseLost:
                return False
            except (FairleadError, OSError) as error:  # a conflict too: somebody else wrote meanwhile
                fields = {"endpoint": course.endpoint, "error": str(error)}
                _log.warning("endpoint left for the next look", extra={"fields": fields})
        self._beat()
        try:
            self._budgets.take(self._clock.wall_ms(), self._fence)
            self._summing.turn(self._clock, self._fence)
            if self._clock.now() - self._pruned >= PRUNE_SECONDS:
                self._pruned = self._clock.now()
                prune(self._state, self._clock.wall_ms(), self._fence)
        except LeaseLost:
            return False
        return True

    def close(self) -> None:
        """Stop what was started and let the lease go. Raises what the store raises."""
        self._runs.close()
        held = self._state.acquire(LEASE, self._owner, self._lease_seconds)
        if held is not None:
            self._state.release(held)

    def _turn(self, course: Course) -> None:
        now = self._clock.wall_ms()
        self._unloadable(course.endpoint)
        version = self._moves.current(course.model, course.alias)
        if version:
            if not baselines.watched_version(self._state, course.endpoint) and baselines.ensure_reference(
                self._state, self._events, course.endpoint, course.model, version
            ):
                baselines.watch_against(self._state, course.endpoint, course.model, version)
            self._monitors[course.endpoint].look(version, now, self._fence)
            if course.abuse is not None:
                url = course.monitored.webhook
                abuse.watch(self._state, course.endpoint, course.model, version, course.abuse, url, post, self._fence)
        if course.pipeline is not None:
            self._retraining(course, version, now)

    def _fence(self) -> Lease:
        """The lease, extended: what was read since may have taken long. Raises LeaseLost."""
        lease = self._state.acquire(LEASE, self._owner, self._lease_seconds)
        if lease is None:
            raise LeaseLost("another controller leads now")
        return lease

    def _retraining(self, course: Course, version: str, now: int) -> None:
        known = requests.every(self._state, course.endpoint)
        self._runs.collect()
        if any(one.status == "running" for one in known) and not self._runs.busy(course.endpoint):
            self._bury(course.endpoint)
            known = requests.every(self._state, course.endpoint)
        claim = self._state.get("rollout-of", course.endpoint)
        if claim is not None and claim.body.get("rollout"):
            return  # what would be trained now could not be rolled out
        if waiting := [one for one in known if one.status == "open"]:
            self._run(course.endpoint, waiting[0].id)
            return
        how = course.triggers
        trained = max((one.at_ms for one in known if one.status == "done"), default=0)
        last = max((one.at_ms for one in known if one.status != "failed"), default=0)
        rows = self._labelled(course.endpoint, trained, max(how.rows, int(how.age_ms > 0)))
        again = self._labelled(course.endpoint, last, triggers.AGAIN_ROWS if how.performance else 0)
        since = self._since(course.endpoint, now)
        alarms = self._alarms(course.endpoint, version, now, how)
        decision = triggers.due(
            how,
            Known(now, known, alarms, rows, again, trained or since, since),
            course.endpoint,
            f"retrain-{ids.request_id()}",
        )
        if decision.request is not None:
            requests.ask(self._state, decision.request, fence=self._fence())
            line = Happening(
                course.endpoint,
                "retrain",
                f"retraining asked for by {decision.request.trigger}: {decision.why}",
                now,
                {"request": decision.request.id},
            )
            timeline.write(self._state, line)
            self._run(course.endpoint, decision.request.id)

    def _labelled(self, endpoint: str, since_ms: int, enough: int) -> int:
        """Labels that became known since then, counted up to what is enough."""
        return len(self._state.labels(endpoint, since_ms=since_ms, limit=enough)) if enough else 0

    def _run(self, endpoint: str, request: str) -> None:
        before, at = self._started.get(endpoint, ("", 0.0))
        if self._runs.busy(endpoint) or (before == request and self._clock.now() - at < AGAIN_SECONDS):
            return
        self._started[endpoint] = (request, self._clock.now())
        self._runs.start(endpoint, request)

    def _alarms(self, endpoint: str, version: str, now: int, how: Triggers) -> list[Happening]:
        """Of the version that serves; those of one before it are history."""
        lines = timeline.read(self._state, endpoint, since_ms=now - max(2 * how.cooldown_ms, LOOKED_BACK_MS))
        kept = [one for one in lines if one.what in ("drift", "performance")]
        return [one for one in kept if one.evidence.get("version", version) == version]

    def _since(self, endpoint: str, now: int) -> int:
        """When the endpoint's schedule began to count."""
        found = self._state.get("schedule", endpoint)
        return int((found or self._state.put("schedule", endpoint, {"since_ms": now}, 0)).body["since_ms"])

    def _bury(self, endpoint: str) -> None:
        """A request that says it runs while nobody holds the run's lease is of a process that was killed."""
        try:
            with requests.held(self._state, endpoint, self._owner, self._lease_seconds) as hold:
                Journal(self._state, endpoint, self._clock, hold).bury()
        except FairleadError as error:
            _log.debug("a retraining runs elsewhere", extra={"fields": {"endpoint": endpoint, "why": str(error)}})

    def _unloadable(self, endpoint: str) -> None:
        """A candidate that no worker can load gets no calls, so no gate would ever say so."""
        if why := unloadable(self._state, endpoint, self._clock.wall_ms()):
            commands.abort(
                self._state,
                endpoint,
                who="controller",
                now_ms=self._clock.wall_ms(),
                why=f"it does not load: {why}",
            )

    def _observed(self, rollout: Rollout) -> Observed:
        """What cannot be read is no evidence; the step's time runs on."""
        self._beat()
        try:
            return observed(self._state, rollout, self._events)
        except FairleadError as error:
            if self._unread.get(rollout.id) != str(error):
                fields = {"endpoint": rollout.plan.endpoint, "rollout": rollout.id, "error": str(error)}
                _log.warning("evidence cannot be read", extra={"fields": fields})
            self._unread[rollout.id] = str(error)
            return Observed(edges=EDGES)

    def _promoted(self, endpoint: str, model: str, version: str) -> None:
        """What the endpoint is watched against from now on."""
        baselines.ensure_reference(self._state, self._events, endpoint, model, version)
        baselines.watch_against(self._state, endpoint, model, version)


def post(url: str, body: Mapping[str, Any]) -> None:
    """Send a body as JSON. Raises Unavailable."""
    try:
        httpx.post(url, json=dict(body), timeout=_POST_SECONDS).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"webhook {url.partition('?')[0]}: {str(error) or type(error).__name__}") from error
