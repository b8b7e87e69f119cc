"""How much a caller, a tenant or an endpoint may have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Measure(StrEnum):
    """What is counted. ``TOKENS``: of a language model, prompt and answer together."""

    REQUESTS = "requests"
    ROWS = "rows"
    BYTES = "bytes"
    TOKENS = "tokens"


class Period(StrEnum):
    """Of the calendar, in UTC; a week begins on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Rate:
    """``amount`` in every ``seconds``, evenly; ``burst``: how much may come at once (0: what one second has, at least
    one).
    """

    amount: float
    seconds: float
    measure: Measure = Measure.REQUESTS
    burst: float = 0.0


@dataclass(frozen=True, slots=True)
class Quota:
    """``amount`` in each period of the calendar."""

    amount: int
    period: Period
    measure: Measure = Measure.REQUESTS


@dataclass(frozen=True, slots=True)
class Limits:
    """All of them hold at once. ``concurrency``: calls in flight; 0 for as many as there are."""

    rates: tuple[Rate, ...] = ()
    quotas: tuple[Quota, ...] = ()
    concurrency: int = 0

    def __bool__(self) -> bool:
        return bool(self.rates or self.quotas or self.concurrency)
