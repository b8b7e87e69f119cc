"""One look at what an endpoint does: drift of its windows, decay of its labelled rows, alerts, and who is told.

What a look remembers is one document of the state store, written after everything else: a look that died half way is
repeated, and may tell a line twice but forgets none.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import StateError, Unavailable, UsageError
from fairlead.contracts.events import EventStore, Window
from fairlead.contracts.plans import Happening
from fairlead.contracts.state import Lease, StateStore
from fairlead.kit.codec.records import from_body, to_body
from fairlead.monitor import alerts, labels, performance, timeline, webhook
from fairlead.monitor.alerts import Alert, Reading, Rule, Standing
from fairlead.monitor.binning import Reference
from fairlead.monitor.degraded import CODE
from fairlead.monitor.drift import Detector
from fairlead.monitor.findings import Contract, Finding
from fairlead.monitor.outputs import read_answers
from fairlead.monitor.seasons import Season, plain
from fairlead.monitor.sketches import merge
from fairlead.wiring import baselines, seasonal, watching
from fairlead.wiring.baselines import Baseline, Performance

DRIFT: Final = Rule("Drift", "drift.columns", above=0, absent=0, asks="drift")
DECAY: Final = Rule("PerformanceDecay", "performance.decayed", above=0, absent=0, asks="performance")
ERRORS: Final = Rule("ErrorRate", "errors.rate", above=0.05, k=2, m=3, severity="critical", absent=0)

SETTLED_MS: Final = 3_000
"""A window is complete so long after its end: workers put theirs each second."""
MATURE: Final = 0.95
"""Share of the labels that come which are there at the age at which predictions are looked at."""
FIRST_LABELS: Final = 500
"""Labelled rows of which a baseline is made where the version has none."""
KEPT: Final = 256
"""Readings that a memory keeps."""
_SHOWN: Final = 5
_log = logging.getLogger("fairlead.monitor")

Post = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Monitored:
    """How an endpoint is watched. ``contract``: what its drift alarms promise, and the length of the windows.

    ``delay_ms``: how old a prediction is when its label is there; 0: learned from the labels that come.
    ``rules``: beside those for drift, decay and errors.  ``webhook``: a URL that alerts are posted to.
    ``season_ms``: of the season (``monitor.seasons``), 0: none. Raises UsageError for one that windows do not divide.
    """

    contract: Contract = field(default_factory=Contract)
    delay_ms: int = 0
    performance: Performance = field(default_factory=Performance)
    rules: tuple[Rule, ...] = ()
    webhook: str = ""
    season_ms: int = 0

    def __post_init__(self) -> None:
        _ = self.season  # it says what is wrong with it

    @property
    def window_ms(self) -> int:
        return self.contract.window_ms

    @property
    def season(self) -> Season:
        return Season(self.contract.window_ms, self.season_ms)


@dataclass(frozen=True, slots=True)
class Memory:
    """Document ``monitor`` of an endpoint. ``version``: whose calls it is about; another one begins anew.

    ``seen_ms``: windows before this were tested.  ``labelled_ms``: predictions before this were looked at with their
    labels.  ``detector``: state of the drift detector.  ``baseline``: with the watch as it stands; None: none yet.
    ``readings``: what the newest window had, of the first names.
    """

    version: str
    seen_ms: int
    labelled_ms: int
    detector: Mapping[str, Any] = field(default_factory=dict)
    standings: Mapping[str, Standing] = field(default_factory=dict)
    baseline: Baseline | None = None
    readings: Mapping[str, float] = field(default_factory=dict)


class Monitor:
    """The monitors of one endpoint. ``post``: sends a body to a URL; it may raise Unavailable."""

    def __init__(
        self, state: StateStore, events: EventStore | None, endpoint: str, model: str, how: Monitored, post: Post
    ) -> None:
        self._state, self._events = state, events
        self._endpoint, self._model = endpoint, model
        self._how, self._post = how, post

    def look(self, version: str, now_ms: int, fence: Callable[[], Lease | None] = lambda: None) -> list[Alert]:
        """Test every window that is complete and was not tested; the alerts that were told. ``version``: the champion.

        ``fence``: the lease, asked for just before anything is written. Raises what it and the stores raise.
        """
        document = self._state.get("monitor", self._endpoint)
        memory = from_body(Memory, document.body) if document else None
        ended: list[Alert] = []
        if memory is None or memory.version != version:
            standings, ended = self._ended(memory.standings if memory else {}, now_ms)
            start = now_ms // self._how.window_ms * self._how.window_ms
            known = baselines.kept_baseline(self._state, self._model, version)
            memory = Memory(version, self._first(version, start), now_ms, standings=standings, baseline=known)
        memory, told = self._looked(memory, now_ms)
        told = [*ended, *told]
        body = to_body(memory)
        if told or document is None or document.body != body:
            lease = fence()
            for alert in told:
                self._tell(alert, version, lease)
            self._state.put("monitor", self._endpoint, body, document.revision if document else 0, fence=lease)
        self._send(told)
        if self._how.season_ms and (document is None or document.body.get("seen_ms") != memory.seen_ms):
            there = self._reference(memory.version)
            if there is not None and self._events is not None:
                seasonal.renew(self._state, self._events, self._endpoint, there, self._how.season, now_ms, fence)
        return told

    def _first(self, version: str, start: int) -> int:
        """The version's first window, that of what it served before anybody watched."""
        found = self._state.windows(self._endpoint, version=version, since_ms=start - 24 * self._how.window_ms)
        return min([start, *(one.start_ms // self._how.window_ms * self._how.window_ms for one in found[:1])])

    def _ended(self, standings: Mapping[str, Standing], now_ms: int) -> tuple[Mapping[str, Standing], list[Alert]]:
        """What alarmed about a version ends with it."""
        readings = {rule.watch: Reading(0.0) for rule in (DRIFT, DECAY)}
        known = {rule.name: standings[rule.name] for rule in (DRIFT, DECAY) if rule.name in standings}
        _, told = alerts.judge([DRIFT, DECAY], known, readings, endpoint=self._endpoint, at_ms=now_ms)
        return {name: one for name, one in standings.items() if name not in known}, told

    def _looked(self, memory: Memory, now_ms: int) -> tuple[Memory, list[Alert]]:
        length = self._how.window_ms
        until = (now_ms - SETTLED_MS) // length * length
        if until <= memory.seen_ms:
            return memory, []
        windows = self._state.windows(self._endpoint, since_ms=memory.seen_ms, until_ms=until, version=memory.version)
        windows = [one for one in windows if one.arm == "champion"]
        detector = self._detector(memory)
        memory, decay = self._labelled(memory, now_ms)
        told: list[Alert] = []
        standings: Mapping[str, Standing] = memory.standings
        groups = [(start, list(group)) for start, group in groupby(windows, lambda one: one.start_ms // length)]
        newest: Mapping[str, float] = memory.readings
        for place, (number, group) in enumerate(groups):
            readings = self._readings(group, detector)
            if place == len(groups) - 1:
                readings["performance.decayed"] = decay
                newest = _shown(readings)
            standings, found = alerts.judge(
                self._rules(), standings, readings, endpoint=self._endpoint, at_ms=(number + 1) * length
            )
            told += found
        if not groups and decay.value:
            readings = {"performance.decayed": decay}
            after, told = alerts.judge([DECAY], standings, readings, endpoint=self._endpoint, at_ms=until)
            standings = {**standings, **after}
        state = detector.state() if detector else memory.detector
        return replace(memory, seen_ms=until, detector=state, standings=dict(standings), readings=newest), told

    def _reference(self, version: str) -> Reference | None:
        watched = baselines.watched_version(self._state, self._endpoint) or version
        return watching.reference(self._state, self._model, watched)

    def _rules(self) -> Sequence[Rule]:
        own = {rule.name for rule in self._how.rules}
        return [*(rule for rule in (DRIFT, DECAY, ERRORS) if rule.name not in own), *self._how.rules]

    def _detector(self, memory: Memory) -> Detector | None:
        reference = self._reference(memory.version)
        if reference is None:
            return None
        if not self._how.season.known_by(reference):
            reference = plain(reference)
        contract = self._how.contract
        try:
            return Detector(reference, contract, dict(memory.detector) or None)
        except StateError:  # what it learned was of another reference
            return Detector(reference, contract)

    def _readings(self, group: Sequence[Window], detector: Detector | None) -> dict[str, Reading]:
        calls = sum(one.calls for one in group)
        degraded = sum(one.codes.get(CODE, 0) for one in group)
        errors = calls - degraded - sum(one.codes.get("", 0) + one.codes.get("cancelled", 0) for one in group)
        readings = {"errors.rate": Reading(errors / calls if calls else None, {"errors": errors, "calls": calls})}
        told = {"degraded": degraded, "calls": calls}
        readings["degraded.rate"] = Reading(degraded / calls if calls else None, told)
        counted = [one for one in group if detector is not None and one.reference == detector.reference.id]
        if detector is None or not counted:
            return readings
        findings = detector.update(merge(counted))
        alarming = [one for one in findings if one.alarm and one.column != "*"]
        columns = list(dict.fromkeys(one.column for one in alarming))
        evidence: dict[str, Any] = {}
        if alarming:
            evidence = {
                "columns": len(columns),
                "findings": [_short(one) for one in alarming[:_SHOWN]],
                "text": _sentence(alarming, columns),
            }
        readings["drift.columns"] = Reading(float(len(columns)), evidence)
        for one in findings:
            readings[f"drift.{one.kind}.{one.column}"] = Reading(one.size)
        return readings

    def _labelled(self, memory: Memory, now_ms: int) -> tuple[Memory, Reading]:
        """Feed the labelled rows below the watermark, oldest first, to the watch over decay."""
        if self._events is None:
            return memory, Reading(None)
        delay = self._how.delay_ms
        until = now_ms - delay
        if delay and until <= memory.labelled_ms:
            return memory, _standing(memory)
        if not self._state.labels(self._endpoint, since_ms=max(0, memory.labelled_ms - labels.SKEW_MS), limit=1):
            passed = delay and memory.baseline is not None  # the first labels make the baseline, however late
            memory = replace(memory, labelled_ms=until) if passed else memory
            return memory, _standing(memory)  # what was predicted need not be read
        joined = labels.read(
            self._events,
            self._state,
            self._endpoint,
            since_ms=memory.labelled_ms,
            until_ms=until,
            version=memory.version,
            features=False,
            waiting=False,
        )
        watermark = until if delay else None
        if watermark is None and len(joined):
            watermark = labels.maturity(joined, now_ms).watermark(now_ms)
            if watermark is None and len(joined) >= FIRST_LABELS:  # many predictions never get one
                watermark = now_ms - round(float(np.quantile(joined.known_at_ms - joined.at_ms, MATURE)))
        if watermark is None:
            return memory, _standing(memory)
        known = labels.mature(joined, watermark)
        known = known.where(known.column("arm") != "shadow")
        if memory.baseline is None:
            if len(known) < FIRST_LABELS:
                return memory, Reading(None)
            with contextlib.suppress(UsageError):  # a metric that these outputs cannot have; the report says so
                memory = replace(memory, baseline=baselines.baseline(known, self._how.performance))
            return replace(memory, labelled_ms=max(memory.labelled_ms, watermark)), Reading(None)
        memory = replace(memory, labelled_ms=max(memory.labelled_ms, watermark))
        if not len(known) or memory.baseline is None:
            return memory, _standing(memory)
        read = read_answers(known, memory.baseline.task)
        watch, decayed = performance.observe(memory.baseline.watch, read.answers, known.at_ms[read.kept])
        memory = replace(memory, baseline=replace(memory.baseline, watch=watch))
        if not decayed:
            return memory, _standing(memory)
        first = decayed[0]
        return memory, Reading(1.0, {**first.as_evidence(), "text": first.why})

    def _tell(self, alert: Alert, version: str, lease: Lease | None) -> None:
        """A line of the timeline: it is what the retraining is asked by."""
        line = alerts.happening(alert)
        evidence = {name: value for name, value in line.evidence.items() if name != "text"} | {"version": version}
        if alert.asks:
            line = Happening(
                line.endpoint, alert.asks, str(alert.evidence.get("text") or line.text), line.at_ms, evidence
            )
        self._state.append(timeline.KIND, line.endpoint, to_body(line), fence=lease)
        _log.warning("alert", extra={"fields": webhook.fields(alert)})

    def _send(self, told: Sequence[Alert]) -> None:
        """To the webhook, last: one that hangs must not keep the rest from being written."""
        if not told or not self._how.webhook:
            return
        try:
            self._post(self._how.webhook, webhook.body(told))
        except Unavailable as error:
            _log.warning("alerts not posted", extra={"fields": {"alerts": len(told), "error": str(error)}})


def _standing(memory: Memory) -> Reading:
    """A decay that was told stands until another version serves."""
    known = memory.baseline
    return Reading(None if known is None else float(known.watch.alarmed))


def _shown(readings: Mapping[str, Reading]) -> dict[str, float]:
    """For whoever shows them: finite, and no more than `KEPT`."""
    known = {name: one.value for name, one in readings.items() if one.value is not None and math.isfinite(one.value)}
    return dict(islice(known.items(), KEPT))


def _short(one: Finding) -> dict[str, Any]:
    return {"column": one.column, "kind": one.kind, "size": one.size, "p": one.p, "n": one.n, "threshold": one.large}


def _sentence(alarming: Sequence[Finding], columns: Sequence[str]) -> str:
    rest = len(columns) - 1
    more = f"; {rest} more column{'s' if rest > 1 else ''}: {', '.join(columns[1:4])}" if rest else ""
    return f"{alarming[0].text}{more}"
