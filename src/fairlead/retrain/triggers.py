"""Which trigger asks for a new version now? Pure: what is known in, at most one request out.

Never two at a time: while a request of the endpoint is open or running nothing new is asked for. ``drift``,
``performance`` and ``data`` wait for the cool-down after the last request; a schedule keeps its own pace, and a
person's wish waits for nothing but the request under way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import Evidence, Happening, RetrainRequest

_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGE = re.compile(r"(\d+)([mhd])")
_DAY = _UNITS["d"]
UNDER_WAY = ("open", "running")
"""Statuses of a request that another one waits for."""


AGAIN_ROWS = 200
"""New labelled rows after which decay that a retraining did not heal asks for another one."""


@dataclass(frozen=True, slots=True)
class Triggers:
    """What may ask. ``drift``, ``performance``: their alerts do.  ``cron``: five fields, UTC; empty for none.

    ``rows``: new labelled rows that are enough.  ``age_ms``: newest training data older than this, when there is any
    new row.  0 for neither.  ``cooldown_ms``: rest after a request.
    """

    drift: bool = False
    performance: bool = False
    cron: str = ""
    rows: int = 0
    age_ms: int = 0
    cooldown_ms: int = _DAY


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an endpoint now.

    ``requests``: all of them, in any order.  ``alerts``: lines of the timeline with ``what`` drift or performance, of
    the version that serves.  ``new_rows``: labelled rows since the last training.  ``again_rows``: since the last
    request that did not fail. Counting either may stop at what is enough.  ``trained_ms``: when that training was; 0
    when never.  ``since_ms``: when the schedule began to count, for an endpoint without a scheduled request.
    ``asked``: a person's reason, empty when nobody asks.
    """

    now_ms: int
    requests: Sequence[RetrainRequest] = ()
    alerts: Sequence[Happening] = ()
    new_rows: int = 0
    again_rows: int = 0
    trained_ms: int = 0
    since_ms: int = 0
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """``request``: None when nothing is asked for; ``why`` says so in one sentence either way."""

    request: RetrainRequest | None
    why: str


@dataclass(frozen=True, slots=True)
class _Wish:
    trigger: str
    why: str
    waits: bool = True
    evidence: Evidence = field(default_factory=dict)


def parse(on: Sequence[str], cooldown_ms: int = _DAY) -> Triggers:
    """``drift``, ``performance``, ``cron: 0 3 * * 1``, ``data: 1000`` (rows) or ``data: 7d`` (age; m, h, d).

    Raises UsageError that names the entry.
    """
    found: dict[str, bool | str | int] = {}
    for entry in on:
        name, _, text = (part.strip() for part in entry.partition(":"))
        if name in ("drift", "performance") and not text:
            found[name] = True
        elif name == "cron" and text:
            _next(text, 0, entry)
            found["cron"] = text
        elif name == "data" and text.isdecimal():
            found["rows"] = int(text)
        elif name == "data" and (age := _AGE.fullmatch(text)):
            found["age_ms"] = int(age[1]) * _UNITS[age[2]]
        else:
            known = "drift, performance, 'cron: 0 3 * * 1', 'data: 1000' or 'data: 7d'"
            raise UsageError(f"retrain.on has {entry!r}, which is no trigger; use {known}")
    return Triggers(cooldown_ms=cooldown_ms, **found)  # type: ignore[arg-type]  # the keys are its fields


def due(triggers: Triggers, known: Known, endpoint: str, id_: str) -> Decision:
    """The request to make now, under ``id_``. A person comes first, then performance, drift, the schedule, data."""
    busy = next((one for one in known.requests if one.status in UNDER_WAY), None)
    if busy is not None:
        return Decision(None, f"request {busy.id} ({busy.trigger}) is {busy.status}: one at a time")
    last = max((one.at_ms for one in known.requests), default=0)
    rest = last + triggers.cooldown_ms - known.now_ms if last else 0
    waiting = ""
    served = max((one.at_ms for one in known.requests if one.status != "failed"), default=0)
    for wish in _wishes(triggers, known, served):
        if wish.waits and rest > 0:
            waiting = waiting or f"{wish.trigger} waits {rest / 1000:.0f} s more for the cool-down: {wish.why}"
            continue
        request = RetrainRequest(id_, endpoint, wish.trigger, wish.why, known.now_ms, wish.evidence)
        return Decision(request, wish.why)
    return Decision(None, waiting or "no trigger fires")


def _wishes(triggers: Triggers, known: Known, last: int) -> list[_Wish]:
    """``last``: the last request that did not fail; what a failed one was asked for by still stands.

    Decay stands as long as the version that decayed serves: a challenger that was refused has healed nothing, and
    ``AGAIN_ROWS`` newer rows may make a better one. Its alert may be told several times meanwhile.
    """
    wishes = []
    if known.asked:
        wishes.append(_Wish("human", known.asked, waits=False))
    allowed = {"performance": triggers.performance, "drift": triggers.drift}
    for name in ("performance", "drift"):
        new = [one for one in known.alerts if one.what == name and one.at_ms <= known.now_ms]
        if name == "drift":
            new = [one for one in new if one.at_ms > last]
        elif new and min(one.at_ms for one in new) <= last and known.again_rows < AGAIN_ROWS:
            continue
        if new and allowed[name]:
            newest = max(new, key=lambda one: one.at_ms)
            wishes.append(_Wish(name, newest.text, evidence={"at_ms": newest.at_ms, **newest.evidence}))
    if triggers.cron and (at := _scheduled(triggers.cron, known)):
        wishes.append(_Wish("schedule", f"{triggers.cron} was due at {_time(at)}", waits=False, evidence={"at_ms": at}))
    if triggers.rows and known.new_rows >= triggers.rows:
        why = f"{triggers.rows} new labelled rows have come"
        wishes.append(_Wish("data", why, evidence={"rows": triggers.rows}))
    age = known.now_ms - known.trained_ms
    if triggers.age_ms and known.new_rows and age >= triggers.age_ms:
        why = f"the last training is {age / _DAY:.1f} days old and there are new labelled rows"
        wishes.append(_Wish("data", why, evidence={"age_ms": age}))
    return wishes


def _scheduled(cron: str, known: Known) -> int:
    """The first time due since the last scheduled request (times that were missed are made up for once); 0 for none."""
    past = [one.at_ms for one in known.requests if one.trigger == "schedule"]
    at = _next(cron, max([known.since_ms, *past]), f"cron: {cron}")
    return at if at <= known.now_ms else 0


def _next(cron: str, after_ms: int, entry: str) -> int:
    """The next time of ``cron`` after ``after_ms``, Unix milliseconds. Raises UsageError."""
    try:
        return round(next(CronSim(cron, datetime.fromtimestamp(after_ms / 1000, UTC))).timestamp() * 1000)
    except (CronSimError, StopIteration) as error:
        reason = str(error) or "it never comes"
        raise UsageError(f"retrain.on has {entry!r}, which is no cron expression of five fields: {reason}") from None


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
