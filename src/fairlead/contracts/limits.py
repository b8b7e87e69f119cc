"""How much a caller, a tenant or an endpoint may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


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


class Charge(NamedTuple):
    """What a call takes of one limit. ``key``: of the bucket, the same for everybody who shares it."""

    key: str
    limit: Rate | Quota
    cost: int


class Verdict(NamedTuple):
    """``wait``: seconds until all limits that refused have room, 0.0 for a call that was let in.

    ``refused``: the one that takes longest, by its place among the charges; -1 for none.
    ``left``: what each limit still has, and the seconds until it has all again, in the order of the charges.
    """

    wait: float
    refused: int
    left: tuple[tuple[int, float], ...]


class SharedLimits(Protocol):
    """Plugin contract: limits that several servers share. Entry-point group ``fairlead.limits``, by URL scheme.

    Called with the URL; nothing is opened before the first call. The store's clock decides. Raises Unavailable when
    it does not answer in time: then nobody knows whether it counted. All on one event loop.
    """

    async def take(self, calls: Sequence[Sequence[Charge]]) -> list[Verdict]:
        """Several calls in one round trip, one after another: of each all charges are made, or none."""

    async def add(self, charges: Sequence[Charge]) -> None:
        """Charges that are made whatever the limits say: what was let in while the store did not answer."""

    async def close(self) -> None: ...
