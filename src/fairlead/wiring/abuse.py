"""Callers who may be copying a model, the controller's side: what servers counted is judged, told, and answered later.

What it knows and found of an endpoint is the document ``abuse`` of the state store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.contracts.errors import Conflict, Unavailable
from fairlead.contracts.state import Lease, StateStore
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.records import from_body, to_body
from fairlead.monitor import abuse, alerts, timeline, webhook
from fairlead.monitor.abuse import Judged, Known
from fairlead.monitor.alerts import Alert, Rule, Standing
from fairlead.monitor.binning import Reference
from fairlead.monitor.callers import Asked
from fairlead.wiring import baselines, watching
from fairlead.wiring.callers import ASKED, SLOW, Told, Watched, Window

_log = logging.getLogger("fairlead.monitor")

FOUND: Final = "abuse"
RULE: Final = "Extraction"
SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Memory:
    """What the controller keeps of an endpoint. ``seen``: the last window of each process.  ``latest``: judgements."""

    known: Known = field(default_factory=Known)
    seen: dict[str, int] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    latest: dict[str, Judged] = field(default_factory=dict)
    at_ms: int = 0


def watch(
    store: StateStore,
    endpoint: str,
    model: str,
    version: str,
    how: Watched,
    url: str,
    post: Callable[[str, Mapping[str, Any]], None],
    fence: Callable[[], Lease | None],
) -> None:
    """One look at an endpoint's callers; alerts are posted to ``url`` too. ``version``: the champion."""
    against = baselines.watched_version(store, endpoint) or version
    told = look(store, endpoint, watching.reference(store, model, against), how, SystemClock.wall_ms(), fence)
    if told and url:
        try:
            post(url, webhook.body(told))
        except Unavailable as error:
            _log.warning("alerts not posted", extra={"fields": {"alerts": len(told), "error": str(error)}})


def look(
    store: StateStore,
    endpoint: str,
    reference: Reference | None,
    how: Watched,
    now_ms: int,
    fence: Callable[[], Lease | None] = lambda: None,
) -> list[Alert]:
    """The controller's side: judge what came since, tell who alarms, and have them wait. Raises what the store raises.

    Alerts are in the timeline and the log when this returns; the caller posts them.
    """
    asked, seen = _news(store, endpoint)
    document = store.get(FOUND, endpoint)
    memory = from_body(Memory, document.body) if document else Memory()
    fresh = [one for one in asked if one.number > memory.seen.get(one.process, 0)]
    if not fresh:
        return []
    sums: dict[str, Asked] = {}
    for window in fresh:
        for name, found in window.asked.items():
            sums[name] = sums.get(name, Asked()) + found
    known, judged = abuse.judge(memory.known, sums, reference, now_ms)
    standings, told = _alerts(memory.standings, judged, endpoint, now_ms)
    latest = {**memory.latest, **{f"{one.caller}/{one.signal}": one for one in judged}}
    latest = dict(list(latest.items())[-SHOWN:])
    lease = fence()
    for alert in told:
        store.append(timeline.KIND, endpoint, to_body(alerts.happening(alert)), fence=lease)
        _log.warning("alert", extra={"fields": webhook.fields(alert)})
    firing = [key.rpartition("/")[0] for key, one in standings.items() if one.since_ms]
    _slowed(store, endpoint, how, [one.caller for one in judged if one.alarm and one.caller in firing], now_ms, lease)
    after = Memory(known, seen, standings, latest, now_ms)
    store.put(FOUND, endpoint, to_body(after), document.revision if document else 0, fence=lease)
    return told


def report(store: StateStore, endpoint: str) -> tuple[list[Judged], list[str], int]:
    """The last judgement of each caller and signal, who is answered later, and when that was found out (Unix ms)."""
    document = store.get(FOUND, endpoint)
    if document is None:
        return [], [], 0
    memory = from_body(Memory, document.body)
    slow = store.get(SLOW, endpoint)
    return list(memory.latest.values()), sorted(slow.body) if slow else [], memory.at_ms


def _news(store: StateStore, endpoint: str) -> tuple[list[Window], dict[str, int]]:
    found: list[Window] = []
    for one in store.all(ASKED):
        if one.key.rpartition("/")[0] == endpoint:
            found += from_body(Told, one.body).windows
    seen: dict[str, int] = {}
    for window in found:
        seen[window.process] = max(seen.get(window.process, 0), window.number)
    return found, seen


def _alerts(
    standings: Mapping[str, Standing], judged: Sequence[Judged], endpoint: str, now_ms: int
) -> tuple[dict[str, Standing], list[Alert]]:
    """Two readings of three make an alert: one caller, one signal."""
    after, told = dict(standings), []
    for one in judged:
        rule = Rule(
            RULE,
            f"abuse.{one.signal}",
            above=0,
            k=2,
            m=3,
            labels={"caller": one.caller, "signal": one.signal},
            annotations={"summary": one.text},
            absent=0,
        )
        key = f"{one.caller}/{one.signal}"
        state = {RULE: after[key]} if key in after else {}
        over = one.value - one.band
        reading = alerts.Reading(over if one.alarm else min(0.0, over), abuse.evidence(one))
        found, new = alerts.judge([rule], state, {rule.watch: reading}, endpoint=endpoint, at_ms=now_ms)
        after[key] = found[RULE]
        told += new
    alive = {key: one for key, one in after.items() if one.since_ms or any(one.outcomes)}
    return alive, told


def _slowed(
    store: StateStore, endpoint: str, how: Watched, callers: Sequence[str], now_ms: int, lease: Lease | None
) -> None:
    """Who alarms waits from now on; who did not for a while waits no more."""
    document = store.get(SLOW, endpoint)
    before: Mapping[str, Any] = document.body if document else {}
    after = {name: at for name, at in before.items() if at > now_ms} if how.delay else {}
    if how.delay:
        after |= dict.fromkeys(callers, now_ms + how.release_ms)
    if after == dict(before):
        return
    try:
        store.put(SLOW, endpoint, after, document.revision if document else 0, fence=lease)
    except Conflict:
        _log.info("somebody else wrote meanwhile", extra={"fields": {"endpoint": endpoint}})
