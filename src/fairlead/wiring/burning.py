"""Error budgets, the controller's side: windows are added up, and who burns too fast is told.

What it found of an endpoint is the document ``slo`` of the state store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fairlead.contracts.errors import FairleadError, LeaseLost, Unavailable
from fairlead.contracts.state import Lease, StateStore
from fairlead.kit.codec.records import from_body, to_body
from fairlead.monitor import alerts, timeline, webhook
from fairlead.monitor.alerts import Alert, Standing
from fairlead.monitor.burn import HOUR_MS, Objective, Sums
from fairlead.monitor.mapping import SHADOW

FOUND: Final = "slo"
LOOK_MS: Final = 15_000
"""Between two looks at an endpoint's budgets."""
_AGAIN_MS: Final = HOUR_MS
"""Windows of the running hour are read anew, and those of so long before: workers put theirs late."""
_BACK: Final = 24
"""Hours further back that a look reads, until all are known that matter."""
NOBODY: Final = "nothing is promised (`slo` in the spec), or no controller has looked yet"
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

    ``burns``: of the windows that were read so far, the shortest first.
    """

    objective: Objective
    left: float | None
    burns: tuple[Burn, ...] = ()

    @property
    def since_ms(self) -> int:
        """Since when one of them burns too fast; 0: none does."""
        return min((one.since_ms for one in self.burns if one.since_ms), default=0)


@dataclass(frozen=True, slots=True)
class Memory:
    """Document ``slo`` of an endpoint."""

    at_ms: int = 0
    told: tuple[Told, ...] = ()
    standings: dict[str, Standing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pledged:
    """An endpoint with objectives. ``webhook``: a URL that alerts are posted to, empty for none."""

    endpoint: str
    objectives: tuple[Objective, ...]
    webhook: str = ""


class Budgets:
    """Of one endpoint. ``post``: sends a body to a URL; it may raise Unavailable."""

    def __init__(self, state: StateStore, pledged: Pledged, post: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._state, self._pledged, self._post = state, pledged, post
        self._sums: list[Sums] = []
        self._looked_ms = 0

    @property
    def endpoint(self) -> str:
        return self._pledged.endpoint

    def look(self, now_ms: int, fence: Callable[[], Lease | None] = lambda: None) -> list[Alert]:
        """Read what came, and judge it; the alerts that were told. At most one look in 15 seconds reads anything.

        ``fence``: the lease, asked for just before anything is written. Raises what it and the store raise.
        """
        if now_ms - self._looked_ms < LOOK_MS:
            return []
        self._read(now_ms)
        document = self._state.get(FOUND, self._pledged.endpoint)
        memory = from_body(Memory, document.body) if document else Memory()
        after, told = judged(self._pledged.endpoint, self._sums, memory, now_ms)
        lease = fence()
        for alert in told:
            line = replace(alerts.happening(alert), what=FOUND)
            self._state.append(timeline.KIND, self._pledged.endpoint, to_body(line), fence=lease)
            _log.warning("alert", extra={"fields": webhook.fields(alert)})
        body, revision = to_body(after), document.revision if document else 0
        self._state.put(FOUND, self._pledged.endpoint, body, revision, fence=lease)
        self._looked_ms = now_ms
        if told and self._pledged.webhook:
            try:
                self._post(self._pledged.webhook, webhook.body(told))
            except Unavailable as error:
                _log.warning("alerts not posted", extra={"fields": {"alerts": len(told), "error": str(error)}})
        return told

    def _read(self, now_ms: int) -> None:
        if not self._sums:
            self._sums = [Sums(one, now_ms) for one in self._pledged.objectives]
        hour = now_ms // HOUR_MS * HOUR_MS
        end = hour + 2 * HOUR_MS  # a worker's clock may be ahead
        self._put(hour - _AGAIN_MS, end)
        back, last = self._sums[0].read_ms, hour - max(one.reach_ms for one in self._sums) // HOUR_MS * HOUR_MS
        if back > last:
            kept = self._state.tallies(self._pledged.endpoint, since_ms=last, until_ms=back, unit_ms=HOUR_MS)
            self._put(max(last, min(max(kept, default=last), back - HOUR_MS) - (_BACK - 1) * HOUR_MS), back)
        for one in self._sums:
            one.forget(now_ms)

    def _put(self, since_ms: int, until_ms: int) -> None:
        found = self._state.windows(self._pledged.endpoint, since_ms=since_ms, until_ms=until_ms, columns=False)
        windows = [one for one in found if one.arm != SHADOW]
        for one in self._sums:
            one.put(since_ms, until_ms, windows)


def turns(budgets: Sequence[Budgets], now_ms: int, fence: Callable[[], Lease | None]) -> None:
    """A look at each; what fails for one is logged, and tried again. Raises LeaseLost."""
    for one in budgets:
        try:
            one.look(now_ms, fence)
        except LeaseLost:
            raise
        except (FairleadError, OSError) as error:
            fields = {"endpoint": one.endpoint, "error": str(error)}
            _log.warning("error budgets left for the next look", extra={"fields": fields})


def judged(endpoint: str, sums: Sequence[Sums], memory: Memory, now_ms: int) -> tuple[Memory, list[Alert]]:
    """What is known now, and the alerts to tell. A burn rate whose windows were not read yet stands as it did."""
    standings: dict[str, Standing] = {}
    told, found = [], []
    for one in sums:
        burns = []
        for burn, rule, reading in one.readings(now_ms):
            before = {rule.name: memory.standings[rule.watch]} if rule.watch in memory.standings else {}
            after, new = alerts.judge([rule], before, {rule.watch: reading}, endpoint=endpoint, at_ms=now_ms)
            standing = standings[rule.watch] = after[rule.name]
            told += new
            burns.append(Burn(burn.long, reading.value or 0.0, rule.above or 0.0, burn.severity, standing.since_ms))
        found.append(Told(one.objective, one.budget(now_ms), tuple(burns)))
        for burn, _ in one.objective.burns():
            key = f"slo.{one.objective.kind}.{burn.long}"
            if key not in standings and key in memory.standings:
                standings[key] = memory.standings[key]
    return Memory(now_ms, tuple(found), standings), told


def firing(body: Mapping[str, Any]) -> list[str]:
    """Kinds of the objectives whose budgets burn too fast, of a document as it is stored."""
    keys = [key for key, one in body.get("standings", {}).items() if one.get("since_ms")]
    return sorted({key.split(".")[1] for key in keys})


def known(store: StateStore, endpoint: str) -> Memory | None:
    """What the controller found last; None: it has not looked, or nothing is promised. Raises what the store raises."""
    document = store.get(FOUND, endpoint)
    return from_body(Memory, document.body) if document else None
