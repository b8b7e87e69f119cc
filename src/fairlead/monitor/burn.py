"""How fast an endpoint uses up its error budget: objectives, what windows say of them, and when somebody is told.

Several windows of time and burn rates for each objective: Beyer et al., The Site Reliability Workbook (2018), chapter
5. An alert fires while the budget burns so fast over a long window and over a short one: the first so that a blip is no
alarm, the second so that it ends soon after the trouble did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from fairlead.contracts.events import Window
from fairlead.monitor.alerts import Reading, Rule
from fairlead.monitor.latency import EDGES, Latency

OWN: Final = (
    "internal", "model_failed", "model_error", "refused", "overloaded", "unavailable", "circuit_open", "engine_lost",
    "deadline_exceeded", "queue_full",
)  # fmt: skip
"""Codes of calls that the server owed an answer: what HTTP calls 5xx, and a queue that was full."""
CALLERS: Final = (
    "invalid_input", "malformed_body", "invalid_tensor", "invalid_parameter", "context_too_long", "content_blocked",
    "unauthenticated", "forbidden", "not_found", "body_too_large", "rate_limited", "over_budget", "cancelled",
)  # fmt: skip
"""Codes of calls that count neither way: the caller's doing, or over what was agreed."""

FEWEST: Final = 10
"""Bad calls in the long window under which nobody is woken."""
HOUR_MS: Final = 3_600_000
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Burning:
    """``budget``: share of the error budget that is gone when the ``long`` window burned at this rate all along."""

    long: str
    hours: float
    short: str
    minutes: int
    budget: float
    severity: str

    def factor(self, window_seconds: float) -> float:
        """Times as fast as the budget allows."""
        return self.budget * window_seconds / 3600 / self.hours


BURNS: Final = (
    Burning("1h", 1, "5m", 5, 0.02, "critical"),
    Burning("6h", 6, "30m", 30, 0.05, "critical"),
    Burning("1d", 24, "2h", 120, 0.10, "warning"),
    Burning("3d", 72, "6h", 360, 0.10, "warning"),
)
LONGEST_MS: Final = 24 * HOUR_MS
"""Of the windows that calls are summed up in."""
_MINUTES: Final = 72 * 60 + 2 * 60 + LONGEST_MS // _MINUTE_MS
"""Kept one by one: the longest burn rate's, a window that reaches into it, and what is read anew."""


class Count(NamedTuple):
    """Calls that an objective is about, and those of them that broke it."""

    bad: int
    valid: int

    @property
    def share(self) -> float:
        """Of the bad ones; 0 without calls."""
        return self.bad / self.valid if self.valid else 0.0


@dataclass(frozen=True, slots=True)
class Objective:
    """A promise of an endpoint: a share ``target`` of its calls is good, over ``seconds``.

    ``kind``: ``availability``, or ``latency`` with the ``bound`` in seconds.  ``what``: the calls that it is about.
    """

    kind: str
    target: float
    seconds: float
    bound: float = 0.0
    what: str = "answers"

    @property
    def text(self) -> str:
        if self.kind == "availability":
            return f"{100 * self.target:g} % of the calls are answered"
        return f"{100 * self.target:g} % of the {self.what} are there within {1000 * self.bound:g} ms"

    @property
    def alert(self) -> str:
        return _alert(self.kind)

    def burns(self) -> Iterator[tuple[Burning, float]]:
        """Those that are told, each with its rate: faster than the budget allows, and such that calls can be so bad."""
        for one in BURNS:
            factor = one.factor(self.seconds)
            if factor >= 1 and factor * (1 - self.target) < 1:
                yield one, factor

    def key(self, burn: Burning) -> str:
        """What a burn rate's standing is remembered by."""
        return f"slo.{self.kind}.{burn.long}"

    def watches(self) -> list[str]:
        return [self.key(burn) for burn, _ in self.burns()]

    def rate(self, count: Count) -> float:
        """Times as fast as the budget allows."""
        return count.share / (1 - self.target)

    def count(self, window: Window) -> Count:
        """Of the calls of a window. A latency within 2.5 % of the bound may count either way."""
        if self.kind == "availability":
            codes = window.codes
            valid = window.calls - sum(codes.get(code, 0) for code in CALLERS)
            return Count(sum(codes.get(code, 0) for code in OWN), valid)
        counts = Latency.from_bytes(window.latency).counts
        total = int(counts.sum())
        return Count(total - int(counts[: int(np.searchsorted(EDGES, self.bound)) + 1].sum()), total)


class Sums:
    """What windows say of an objective: by minute as far back as burn rates reach, by hour as far as the budget does.

    ``read_ms``: windows that start from here on were put.
    """

    def __init__(self, objective: Objective, now_ms: int) -> None:
        self.objective = objective
        self.read_ms = (now_ms // HOUR_MS + 1) * HOUR_MS
        self._minute = np.full(_MINUTES, -1, np.int64)
        self._until = np.full(_MINUTES, -1, np.int64)
        self._bad = np.zeros(_MINUTES, np.int64)
        self._valid = np.zeros(_MINUTES, np.int64)
        self._hours: dict[int, Count] = {}

    @property
    def reach_ms(self) -> int:
        """How far back windows matter."""
        return round(max(1000 * self.objective.seconds, 72 * HOUR_MS))

    @property
    def length_ms(self) -> int:
        """Of the longest window of the last days, a minute at least."""
        return max(1, int((self._until - self._minute).max())) * _MINUTE_MS

    def put(self, since_ms: int, until_ms: int, windows: Iterable[Window]) -> None:
        """All windows that start in ``[since_ms, until_ms)``, in place of what was known of these.

        Whole hours, or whole minutes out of the last three days.
        """
        first, last = since_ms // _MINUTE_MS, until_ms // _MINUTE_MS
        inside = (self._minute >= first) & (self._minute < last)
        for place in np.flatnonzero(inside).tolist():
            hour = int(self._minute[place]) * _MINUTE_MS // HOUR_MS * HOUR_MS
            known = self._hours.get(hour, Count(0, 0))
            self._hours[hour] = Count(known.bad - int(self._bad[place]), known.valid - int(self._valid[place]))
        for hour in [hour for hour in self._hours if since_ms <= hour and hour + HOUR_MS <= until_ms]:
            del self._hours[hour]
        self._bad[inside] = self._valid[inside] = 0
        newest = max(last - 1, int(self._minute.max()))
        for window in windows:
            found, minute = self.objective.count(window), window.start_ms // _MINUTE_MS
            hour = window.start_ms // HOUR_MS * HOUR_MS
            self._hours[hour] = _sum(self._hours.get(hour, Count(0, 0)), found)
            if minute <= newest - _MINUTES:
                continue
            place = minute % _MINUTES
            if self._minute[place] != minute:
                self._minute[place], self._bad[place], self._valid[place] = minute, 0, 0
                self._until[place] = minute
            until = minute + max(1, -(-window.length_ms // _MINUTE_MS))
            self._until[place] = max(int(self._until[place]), until)
            self._bad[place] += found.bad
            self._valid[place] += found.valid
        self.read_ms = min(self.read_ms, since_ms)

    def forget(self, now_ms: int) -> None:
        """Hours that no budget reaches back to."""
        for hour in [hour for hour in self._hours if hour < now_ms - self.reach_ms - HOUR_MS]:
            del self._hours[hour]

    def lately(self, span_ms: int, now_ms: int) -> Count:
        """Of the windows that reach into the last ``span_ms``, three days at most.

        Those of workers whose clock is ahead are among them, by no more than the span itself.
        """
        kept = self._until > (now_ms - span_ms) // _MINUTE_MS
        kept &= self._minute <= (now_ms + span_ms) // _MINUTE_MS
        return Count(int(self._bad[kept].sum()), int(self._valid[kept].sum()))

    def whole(self, now_ms: int) -> Count:
        """Of the objective's time, as far back as it was read."""
        since, found = now_ms - round(1000 * self.objective.seconds), Count(0, 0)
        for hour, count in self._hours.items():
            found = _sum(found, count) if hour + HOUR_MS > since else found
        return found

    def budget(self, now_ms: int) -> float | None:
        """What is left of the error budget over the objective's time, 1 for all of it and under 0 where it is broken.

        None until windows were read so far back.
        """
        if self.read_ms > now_ms - round(1000 * self.objective.seconds):
            return None
        return 1 - self.objective.rate(self.whole(now_ms))

    def readings(self, now_ms: int) -> Iterator[tuple[Burning, Rule, Reading]]:
        """Of each burn rate whose long window was read: its rule, and the slower of the two windows' rates.

        Without calls, or with fewer than ten bad ones, the rate is 0.
        """
        one = self.objective
        for burn, factor in one.burns():
            if self.read_ms > now_ms - round(burn.hours * HOUR_MS):
                continue
            long, short = self.lately(round(burn.hours * HOUR_MS), now_ms), self.lately(burn.minutes * 60_000, now_ms)
            rates = one.rate(long), one.rate(short)
            rule = Rule(
                one.alert,
                one.key(burn),
                above=factor,
                severity=burn.severity,
                labels={"window": burn.long, "objective": one.kind},
                annotations={"summary": _summary(one, burn, factor, rates[0])},
                absent=0,
            )
            evidence = {
                "target": one.target,
                "days": one.seconds / 86_400,
                "bad": long.bad,
                "calls": long.valid,
                f"rate_{burn.long}": rates[0],
                f"rate_{burn.short}": rates[1],
                "threshold": factor,
            }
            yield burn, rule, Reading(min(rates) if long.bad >= FEWEST else 0.0, evidence)


def _summary(one: Objective, burn: Burning, factor: float, rate: float) -> str:
    return (
        f"the error budget of {one.kind} ({one.text} over {one.seconds / 86_400:g} days) burned {rate:.3g} times as "
        f"fast as it may in the last {burn.long}; {factor:.3g} is told"
    )


def gone(key: str) -> Rule | None:
    """The rule of a burn rate that is promised no more, by its key: it fires no longer. None for no such key."""
    _, kind, long = (*key.split("."), "", "", "")[:3]
    burn = next((one for one in BURNS if one.long == long), None)
    if burn is None:
        return None
    said = {"summary": f"{kind} is not promised any more in a way that the last {long} would tell"}
    labels = {"window": long, "objective": kind}
    return Rule(_alert(kind), key, above=1, severity=burn.severity, labels=labels, annotations=said, absent=0)


def _alert(kind: str) -> str:
    return f"Fairlead{kind.capitalize()}BudgetBurn"


def _sum(one: Count, other: Count) -> Count:
    return Count(one.bad + other.bad, one.valid + other.valid)
