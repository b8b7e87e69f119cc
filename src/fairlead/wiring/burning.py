"""Error budgets, the controller's side: windows are added up, and who burns too fast is told.

What it found of an endpoint is the document ``slo`` of the state store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fairlead.contracts.errors import FairleadError, LeaseLost, StateError, Unavailable
from fairlead.contracts.state import Document, Lease, StateStore, Tally
from fairlead.kit.codec.records import from_body, to_body
from fairlead.monitor import alerts, timeline, webhook
from fairlead.monitor.alerts import Alert, Reading, Standing
from fairlead.monitor.burn import HOUR_MS, Objective, Sums, gone
from fairlead.monitor.mapping import SHADOW

FOUND: Final = "slo"
LOOK_MS: Final = 15_000
"""Between two looks at an endpoint's budgets."""
_AGAIN_MS: Final = HOUR_MS
"""Windows of the running hour are looked at anew, and those of so long before: workers put theirs late."""
_PART_MS: Final = 300_000
"""What is read anew at once, where its tally is another."""
_BACK: Final = 24
"""Hours further back that a look reads, until all are known that matter."""
_STRETCH_MS: Final = 7 * 24 * HOUR_MS
"""How far back it looks at once for hours that have windows."""
MOST: Final = 25_000
"""Windows that are read at once, and further back by one look."""
_TURN_SECONDS: Final = 1.0
"""That the controller's other work waits for looks, and for the one that is under way then."""
_STRANGERS_SECONDS: Final = 60.0
"""Between two looks for what is known of endpoints that promise nothing any more."""
NOBODY: Final = "nothing is promised (`slo` in the spec), or no controller has looked yet"
_DOTS: Final = 2
"""In the key of a standing."""
_log = logging.getLogger("fairlead.monitor")


@dataclass(frozen=True, slots=True)
class Burn:
    """``window``: the long one.  ``rate``: times as fast as the budget allows, in the slower of both windows.

    ``threshold``: from where on it is told.  ``since_ms``: since when it is; 0: it is not.
    """

    window: str
    rate: float
    threshold: float
    severity: str
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """How an objective stands. ``left``: of the error budget, 1 for all; None until so much was read.

    ``burns``: of the windows that were read so far, the shortest first.  ``bad``, ``calls``: that were counted.
    """

    objective: Objective
    left: float | None
    burns: tuple[Burn, ...] = ()
    bad: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """Document ``slo`` of an endpoint."""

    at_ms: int = 0
    told: tuple[Told, ...] = ()
    standings: dict[str, Standing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Budgeted:
    """An endpoint and its objectives; none: alerts on those that it had end.

    ``webhook``: a URL that alerts are posted to, empty for none.
    """

    endpoint: str
    objectives: tuple[Objective, ...]
    webhook: str = ""


class Budgets:
    """Of one endpoint. ``post``: sends a body to a URL; it may raise Unavailable."""

    def __init__(self, state: StateStore, budgeted: Budgeted, post: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._state, self._budgeted, self._post = state, budgeted, post
        self._sums: list[Sums] = []
        self._tallies: Mapping[int, Tally] = {}
        self._looked_ms = self._read_ms = 0

    @property
    def endpoint(self) -> str:
        return self._budgeted.endpoint

    @property
    def looked_ms(self) -> int:
        return self._looked_ms

    def look(self, now_ms: int, fence: Callable[[], Lease | None] = lambda: None) -> list[Alert]:
        """Read what came, and judge it; the alerts that were told. At most one look in 15 seconds reads anything.

        ``fence``: the lease, asked for just before anything is written. Raises what it and the store raise.
        """
        if abs(now_ms - self._looked_ms) < LOOK_MS:
            return []
        self._looked_ms = now_ms
        document = self._state.get(FOUND, self._budgeted.endpoint)
        if not self._budgeted.objectives and document is None:
            return []
        self._read(now_ms)
        after, told = judged(self._budgeted.endpoint, self._sums, _remembered(document), now_ms)
        try:
            lease = fence()
        except LeaseLost:
            self._looked_ms = 0  # it looks as soon as it leads again
            raise
        for alert in told:
            line = replace(alerts.happening(alert), what=FOUND)
            self._state.append(timeline.KIND, self._budgeted.endpoint, to_body(line), fence=lease)
            _log.warning("alert", extra={"fields": webhook.fields(alert)})
        if self._budgeted.objectives:
            revision = document.revision if document else 0
            self._state.put(FOUND, self._budgeted.endpoint, to_body(after), revision, fence=lease)
        elif document is not None:
            self._state.remove(FOUND, self._budgeted.endpoint, document.revision, fence=lease)
        if told and self._budgeted.webhook:
            try:
                self._post(self._budgeted.webhook, webhook.body(told))
            except Unavailable as error:
                _log.warning("alerts not posted", extra={"fields": {"alerts": len(told), "error": str(error)}})
        return told

    def _read(self, now_ms: int) -> None:
        if not self._budgeted.objectives:
            return
        if not 0 <= now_ms - self._read_ms <= _BACK * HOUR_MS:  # never, too long ago, or the clock was put back
            self._sums, self._tallies = [Sums(one, now_ms) for one in self._budgeted.objectives], {}
            self._read_ms = now_ms
        hour, last = now_ms // HOUR_MS * HOUR_MS, self._read_ms // HOUR_MS * HOUR_MS
        self._renew(last - max(_AGAIN_MS, self._sums[0].length_ms), hour + 2 * HOUR_MS)  # a worker's may be ahead
        self._read_ms = now_ms
        self._further(hour - -(-max(one.reach_ms for one in self._sums) // HOUR_MS) * HOUR_MS)
        for one in self._sums:
            one.forget(now_ms)

    def _renew(self, since_ms: int, until_ms: int) -> None:
        """Read the parts that have other windows than they had at the last look."""
        since = since_ms // HOUR_MS * HOUR_MS
        there = self._state.tallies(self.endpoint, since_ms=since, until_ms=until_ms, unit_ms=_PART_MS)
        first, many = None, 0
        for part in range(since, until_ms, _PART_MS):
            other = there.get(part) != self._tallies.get(part)
            more = there[part].windows if other and part in there else 0
            if first is not None and (not other or many + more > MOST):
                self._put(first, part)
                first, many = None, 0
            many += more
            if other and first is None:
                first = part
        if first is not None:
            self._put(first, until_ms)
        self._tallies = there
        for one in self._sums:
            one.read_ms = min(one.read_ms, since)

    def _further(self, last_ms: int) -> None:
        """Read some hours more, down to ``last_ms``: a day of them, fewer where they have many windows."""
        while (back := self._sums[0].read_ms) > last_ms:
            since = max(last_ms, back - _STRETCH_MS)
            kept = self._state.tallies(self.endpoint, since_ms=since, until_ms=back, unit_ms=HOUR_MS)
            if not kept:
                self._put(since, back)
                continue
            many, first = 0, max(kept)
            for hour in range(first, max(since, first - _BACK * HOUR_MS + 1) - 1, -HOUR_MS):
                many += kept[hour].windows if hour in kept else 0
                if many > MOST and hour < max(kept):
                    break
                first = hour
            self._put(first, back)
            return

    def _put(self, since_ms: int, until_ms: int) -> None:
        found = self._state.windows(self._budgeted.endpoint, since_ms=since_ms, until_ms=until_ms, columns=False)
        windows = [one for one in found if one.arm != SHADOW]
        for one in self._sums:
            one.put(since_ms, until_ms, windows)


class Turns:
    """Of all endpoints. ``now``: monotonic seconds."""

    def __init__(
        self,
        state: StateStore,
        budgeted: Sequence[Budgeted],
        post: Callable[[str, Mapping[str, Any]], None],
        now: Callable[[], float],
    ) -> None:
        self._state, self._post, self._now = state, post, now
        self._budgets = {one.endpoint: Budgets(state, one, post) for one in budgeted}
        self._asked: float | None = None

    def take(self, now_ms: int, fence: Callable[[], Lease | None]) -> None:
        """A look at each, who waited longest first; what fails for one is logged, and tried at its next look.

        Those that there is no time for have the next turn. Raises LeaseLost, and what the store raises.
        """
        began = self._now()
        if self._asked is None or began - self._asked >= _STRANGERS_SECONDS:
            self._asked = began
            for one in self._state.all(FOUND):  # of an endpoint that the spec had
                self._budgets.setdefault(one.key, Budgets(self._state, Budgeted(one.key, ()), self._post))
        for budgets in sorted(self._budgets.values(), key=lambda one: one.looked_ms):
            if self._now() - began > _TURN_SECONDS:
                return
            try:
                budgets.look(now_ms, fence)
            except LeaseLost:
                raise
            except (FairleadError, OSError) as error:
                fields = {"endpoint": budgets.endpoint, "error": str(error)}
                _log.warning("error budgets left for the next look", extra={"fields": fields})


def judged(endpoint: str, sums: Sequence[Sums], memory: Memory, now_ms: int) -> tuple[Memory, list[Alert]]:
    """What is known now, and the alerts to tell. A burn rate whose windows were not read yet stands as it did.

    What is promised no more burns nothing: its alerts end.
    """
    before = {key: _until(now_ms, one) for key, one in memory.standings.items()}
    standings: dict[str, Standing] = {}
    told, found = [], []
    for one in sums:
        burns = []
        for burn, rule, reading in one.readings(now_ms):
            known = {rule.name: before[rule.watch]} if rule.watch in before else {}
            after, new = alerts.judge([rule], known, {rule.watch: reading}, endpoint=endpoint, at_ms=now_ms)
            standing = standings[rule.watch] = after[rule.name]
            told += new
            burns.append(Burn(burn.long, reading.value or 0.0, rule.above or 0.0, burn.severity, standing.since_ms))
        whole = one.whole(now_ms)
        found.append(Told(one.objective, one.budget(now_ms), tuple(burns), whole.bad, whole.valid))
        standings |= {key: before[key] for key in one.objective.watches() if key in before and key not in standings}
    for key, standing in before.items():
        was = gone(key) if key not in standings and standing.since_ms else None
        if was is not None:
            known, readings = {was.name: standing}, {key: Reading(0.0)}
            told += alerts.judge([was], known, readings, endpoint=endpoint, at_ms=now_ms)[1]
    return Memory(now_ms, tuple(found), standings), told


def _until(now_ms: int, standing: Standing) -> Standing:
    """As it is now: a clock that was ahead was put back, or another controller's is behind."""
    since, told = min(standing.since_ms, now_ms), min(standing.told_ms, now_ms)
    return replace(standing, since_ms=since, told_ms=told, seen_ms=min(standing.seen_ms, now_ms - 1))


def _remembered(document: Document | None) -> Memory:
    """One that cannot be read is made anew: all of it but since when is found again."""
    try:
        return from_body(Memory, document.body) if document else Memory()
    except StateError as error:
        _log.warning("error budgets are judged anew", extra={"fields": {"error": str(error)}})
        return Memory()


def firing(document: Document) -> list[str]:
    """Kinds of the objectives whose budgets burn too fast. Raises StateError."""
    keys = [key for key, one in from_body(Memory, document.body).standings.items() if one.since_ms]
    return sorted({key.split(".")[1] for key in keys if key.count(".") == _DOTS})


def known(store: StateStore, endpoint: str) -> Memory | None:
    """What the controller found last; None: it has not looked, or nothing is promised. Raises what the store raises."""
    document = store.get(FOUND, endpoint)
    return from_body(Memory, document.body) if document else None
