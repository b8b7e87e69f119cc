"""Rules over windows become alerts, and alerts may ask for a retrain. Pure: state in, state and alerts out.

A window without a value is neither good nor bad: it does not fire a rule, does not resolve one, and has an alert of
its own. An alert is told when it changes, and again after ``repeat_ms`` while it fires.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import Happening, RetrainRequest

ABSENT = "NoData"
"""What is added to a rule's name for the alert that tells of missing values."""

_OFFSET, _PRIME, _WORD, _SEPARATOR = 14695981039346656037, 1099511628211, 0xFFFFFFFFFFFFFFFF, b"\xff"


@dataclass(frozen=True, slots=True)
class Rule:
    """Fires when in ``k`` of the last ``m`` windows that had a value ``watch`` was over ``above`` or under ``below``.

    ``watch``: the name of a reading, such as ``performance.roc_auc`` or ``drift.psi.age``.
    ``absent``: consecutive windows without a value until the alert ``nameNoData`` fires; 0 never.
    ``asks``: ``drift`` or ``performance`` when firing asks for a retrain; empty for a notice only.
    """

    name: str
    watch: str
    above: float | None = None
    below: float | None = None
    k: int = 1
    m: int = 1
    severity: str = "warning"
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    absent: int = 3
    asks: str = ""

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise UsageError(f"alert rule {self.name!r} needs either above or below")
        if not 1 <= self.k <= self.m <= 1000:
            raise UsageError(f"alert rule {self.name!r} fires on {self.k} of {self.m} windows; 1 <= k <= m <= 1000")
        if self.absent < 0 or self.asks not in ("", "drift", "performance"):
            raise UsageError(
                f"alert rule {self.name!r}: absent must be at least 0; asks is drift, performance or empty"
            )

    def broken(self, value: float) -> bool:
        """Is this value on the wrong side?"""
        return value > self.above if self.above is not None else value < (self.below or 0.0)

    @property
    def limit(self) -> str:
        return f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"


@dataclass(frozen=True, slots=True)
class Reading:
    """A number of one window, or None: there is none. ``evidence`` goes into the alert."""

    value: float | None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """``status``: firing or resolved.  ``value``: what the last window had.  ``ends_ms``: 0 while it fires."""

    name: str
    endpoint: str
    status: str
    severity: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_ms: int
    ends_ms: int = 0
    value: float | None = None
    asks: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all_labels(self) -> dict[str, str]:
        """With ``alertname``, ``endpoint`` and ``severity``: what tells alerts apart."""
        return {**self.labels, "alertname": self.name, "endpoint": self.endpoint, "severity": self.severity}

    @property
    def fingerprint(self) -> str:
        """16 hex digits, the same as Prometheus gives the same labels."""
        return fingerprint(self.all_labels)


@dataclass(frozen=True, slots=True)
class Standing:
    """What one rule remembers: JSON-able. ``outcomes``: of the last windows with a value, newest last.

    ``missing``: windows in a row without one.  ``since_ms``, ``absent_since_ms``: when its alerts began to fire;
    0 when they do not.  ``told_ms``, ``absent_told_ms``: when they were told last.  ``seen_ms``: the newest window.
    """

    outcomes: tuple[bool, ...] = ()
    missing: int = 0
    since_ms: int = 0
    told_ms: int = 0
    absent_since_ms: int = 0
    absent_told_ms: int = 0
    seen_ms: int = 0


def judge(
    rules: Sequence[Rule],
    standings: Mapping[str, Standing],
    readings: Mapping[str, Reading],
    *,
    endpoint: str,
    at_ms: int,
    repeat_ms: int = 4 * 3_600_000,
) -> tuple[dict[str, Standing], list[Alert]]:
    """One window that ended at ``at_ms``: standings by rule name, and the alerts to tell.

    A reading that is not among ``readings`` is missing. A window that was judged already changes nothing; a rule that
    is gone from ``rules`` is forgotten. Raises UsageError for two rules of one name.
    """
    if len({rule.name for rule in rules}) < len(rules):
        raise UsageError("two alert rules have the same name")
    after, alerts = {}, []
    for rule in rules:
        before = standings.get(rule.name, Standing())
        if at_ms <= before.seen_ms:
            after[rule.name] = before
            continue
        reading = readings.get(rule.watch, Reading(None))
        standing = _seen(rule, before, reading, at_ms)
        standing, told = _tell(rule, standing, reading, endpoint, at_ms, repeat_ms)
        standing, told_absent = _tell_absent(rule, standing, endpoint, at_ms, repeat_ms)
        after[rule.name] = standing
        alerts += [*told, *told_absent]
    return after, alerts


def _seen(rule: Rule, standing: Standing, reading: Reading, at_ms: int) -> Standing:
    if reading.value is None or math.isnan(reading.value):
        return replace(standing, missing=standing.missing + 1, seen_ms=at_ms)
    outcomes = (*standing.outcomes, rule.broken(reading.value))[-rule.m :]
    return replace(standing, outcomes=outcomes, missing=0, seen_ms=at_ms)


def _tell(
    rule: Rule, standing: Standing, reading: Reading, endpoint: str, at_ms: int, repeat_ms: int
) -> tuple[Standing, list[Alert]]:
    broken = sum(standing.outcomes)
    fires = broken >= rule.k
    if not fires and not standing.since_ms:
        return standing, []
    if fires and standing.since_ms and (standing.missing or at_ms - standing.told_ms < repeat_ms):
        return standing, []
    since = standing.since_ms or at_ms
    shown = "no value" if reading.value is None else f"{reading.value:.4g}"
    summary = f"{rule.watch} is {shown}: {rule.limit} in {broken} of the last {len(standing.outcomes)} windows"
    alert = Alert(
        rule.name,
        endpoint,
        "firing" if fires else "resolved",
        rule.severity,
        rule.labels,
        {"summary": summary, **rule.annotations},
        since,
        0 if fires else at_ms,
        reading.value,
        rule.asks if fires else "",
        reading.evidence,
    )
    return replace(standing, since_ms=since if fires else 0, told_ms=at_ms if fires else 0), [alert]


def _tell_absent(
    rule: Rule, standing: Standing, endpoint: str, at_ms: int, repeat_ms: int
) -> tuple[Standing, list[Alert]]:
    fires = 0 < rule.absent <= standing.missing
    since = standing.absent_since_ms
    if fires == bool(since) and not (fires and at_ms - standing.absent_told_ms >= repeat_ms):
        return standing, []
    since = since or at_ms
    summary = (
        f"{rule.watch} has had no value for {standing.missing} windows" if fires else f"{rule.watch} has values again"
    )
    alert = Alert(
        rule.name + ABSENT,
        endpoint,
        "firing" if fires else "resolved",
        rule.severity,
        rule.labels,
        {"summary": summary},
        since,
        0 if fires else at_ms,
    )
    return replace(standing, absent_since_ms=since if fires else 0, absent_told_ms=at_ms if fires else 0), [alert]


def fingerprint(labels: Mapping[str, str]) -> str:
    """FNV-1a, 64 bits, over sorted names and values with a separator: ``LabelSet.Fingerprint`` of Prometheus."""
    total = _OFFSET
    for name in sorted(labels):
        for byte in name.encode() + _SEPARATOR + labels[name].encode() + _SEPARATOR:
            total = ((total ^ byte) * _PRIME) & _WORD
    return f"{total:016x}"


@dataclass(frozen=True, slots=True)
class Asked:
    """``request`` is None when no retrain is asked for; ``why`` tells the reason either way."""

    request: RetrainRequest | None
    why: str


def ask(
    alerts: Iterable[Alert],
    requests: Iterable[RetrainRequest],
    *,
    endpoint: str,
    at_ms: int,
    cool_down_ms: int = 24 * 3_600_000,
) -> Asked:
    """Should these alerts ask for a retrain? ``requests``: those of the endpoint so far, in any order.

    One at a time, and none within ``cool_down_ms`` of the last one, by whatever trigger. The id is made of endpoint,
    trigger and time, so that two controllers who decide the same write the same document.
    """
    causes = [alert for alert in alerts if alert.status == "firing" and alert.asks and alert.endpoint == endpoint]
    if not causes:
        return Asked(None, "no alert asks for a retrain")
    own = [one for one in requests if one.endpoint == endpoint]
    under_way = next((one for one in own if one.status in ("open", "running")), None)
    if under_way is not None:
        return Asked(None, f"retrain {under_way.id} is {under_way.status}; one at a time")
    last = max((one.at_ms for one in own), default=None)
    if last is not None and at_ms - last < cool_down_ms:
        left = (cool_down_ms - (at_ms - last)) / 60_000
        return Asked(
            None, f"the last retrain was asked for {(at_ms - last) / 60_000:.0f} min ago; {left:.0f} min to go"
        )
    # Performance says more than drift: it is about what was true.
    cause = min(causes, key=lambda alert: (alert.asks != "performance", alert.starts_ms, alert.name))
    number = hashlib.sha256(f"{endpoint}\n{cause.asks}\n{at_ms}".encode()).hexdigest()[:12]
    why = cause.annotations.get("summary", cause.name)
    evidence = {
        "alerts": [{"name": one.name, "value": one.value, "since_ms": one.starts_ms} for one in causes],
        **cause.evidence,
    }
    return Asked(RetrainRequest(f"retrain-{number}", endpoint, cause.asks, why, at_ms, evidence), why)


def happening(alert: Alert) -> Happening:
    """The alert as a line of the timeline."""
    text = f"alert {alert.name} {alert.status}: {alert.annotations.get('summary', '')}".rstrip(": ")
    evidence = {"labels": alert.all_labels, "value": alert.value, **alert.evidence}
    return Happening(alert.endpoint, "alert", text, alert.ends_ms or alert.starts_ms, evidence)
