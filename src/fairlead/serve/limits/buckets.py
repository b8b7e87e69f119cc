"""What is counted against one limit. Pure: now is passed in, and nothing changes before the whole call fits.

``fits`` says whether a call of this cost may go on, and keeps in ``then`` what ``value`` becomes when it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fairlead.contracts.limits import Limits, Measure, Quota, Rate
from fairlead.kit import gcra
from fairlead.serve.limits.calendar import period

MEASURES: Final = (Measure.REQUESTS, Measure.ROWS, Measure.BYTES, Measure.TOKENS)
"""By the place of their costs."""
Costs = tuple[int, int, int, int]
"""What a call takes of each measure."""

NEVER: Final = -1
FOREVER: Final = 1 << 62


class Bucket:
    """What all kinds have in common. ``key``: the same for everybody who shares it.

    ``scope``: whose limit it is, ``key``, ``tenant``, ``endpoint`` or ``caller`` (a key at one endpoint).
    ``kind``: requests, rows, bytes, tokens, quota or concurrency, for the metrics.
    ``at``: its place in the table of a machine, -1 for none.  ``digest``: what it is called there.
    """

    __slots__ = ("at", "digest", "key", "kind", "measure", "scope", "then", "value")

    def __init__(self, key: str, scope: str, measure: Measure, kind: str) -> None:
        self.key, self.scope, self.kind = key, scope, kind
        self.measure = MEASURES.index(measure)
        self.value = self.then = 0
        self.at = -1
        self.digest = b""

    @property
    def unit(self) -> Measure:
        return MEASURES[self.measure]


class Rated(Bucket):
    """A rate. ``value``: its theoretical arrival time."""

    __slots__ = ("limit", "most", "scale", "step", "terms")

    def __init__(self, key: str, scope: str, limit: Rate) -> None:
        super().__init__(key, scope, limit.measure, limit.measure.value)
        self.limit = limit
        self.terms = gcra.terms(limit)
        self.scale, self.step, self.most = self.terms.scale, self.terms.step, self.terms.most

    def fits(self, cost: int, now: int, wall: int) -> bool:  # noqa: ARG002 - as the others
        at = now * self.scale
        value = self.value
        self.then = then = (max(at, value)) + cost * self.step
        return then - at <= self.most

    def wait(self, cost: int, now: int, wall: int) -> int:  # noqa: ARG002 - as above
        """Nanoseconds until the call fits; 0: it does, NEVER: it is larger than a burst."""
        return gcra.wait(self.terms, self.value, now, cost)

    def left(self, now: int, wall: int) -> tuple[int, int]:  # noqa: ARG002 - as above
        """Units that fit now, and nanoseconds until a burst does."""
        ahead = self.value - now * self.scale
        if ahead <= 0:
            return self.most // self.step, 0
        left = self.most - ahead
        return left // self.step if left > 0 else 0, -(-ahead // self.scale)

    def until(self, now: int, wall: int) -> int:  # noqa: ARG002 - as above
        """Nanoseconds, at most, until it is as if nothing had ever come."""
        return max(0, self.value // self.scale + 1 - now)


class Counted(Bucket):
    """A quota. ``value``: what was taken in the period from ``begins`` to ``ends``, milliseconds since 1970.

    A clock that is set back does not give a period again: it goes on until the clock has passed it.
    """

    __slots__ = ("begins", "ends", "limit", "most", "told")

    def __init__(self, key: str, scope: str, limit: Quota) -> None:
        super().__init__(key, scope, limit.measure, "quota")
        self.limit, self.most = limit, limit.amount
        self.begins = self.ends = 0
        self.told = 0
        """What of it others were told."""

    def fits(self, cost: int, now: int, wall: int) -> bool:  # noqa: ARG002 - as above
        if wall >= self.ends:
            self.turn(wall)
        self.then = then = self.value + cost
        return then <= self.most

    def turn(self, wall: int) -> None:
        """Begin the period that is now."""
        self.begins, self.ends = period(self.limit.period, wall)
        self.value = self.told = 0

    def wait(self, cost: int, now: int, wall: int) -> int:
        if self.fits(cost, now, wall):
            return 0
        return NEVER if cost > self.most else (self.ends - wall) * 1_000_000

    def left(self, now: int, wall: int) -> tuple[int, int]:  # noqa: ARG002 - as above
        if wall >= self.ends:
            self.turn(wall)
        return max(0, self.most - self.value), (self.ends - wall) * 1_000_000

    def until(self, now: int, wall: int) -> int:  # noqa: ARG002 - as above
        return max(0, self.ends - wall) * 1_000_000 if self.value else 0


class Flying(Bucket):
    """Calls in flight. ``value``: of this process.  ``others``: of the other workers."""

    __slots__ = ("most", "others")

    def __init__(self, key: str, scope: str, most: int) -> None:
        super().__init__(key, scope, Measure.REQUESTS, "concurrency")
        self.most = most
        self.others = 0

    def fits(self, cost: int, now: int, wall: int) -> bool:  # noqa: ARG002 - as above
        self.then = then = self.value + 1
        return then + self.others <= self.most

    def wait(self, cost: int, now: int, wall: int) -> int:
        """Nobody knows when one ends; a second is a good guess."""
        return 0 if self.fits(cost, now, wall) else gcra.SECOND

    def left(self, now: int, wall: int) -> tuple[int, int]:  # noqa: ARG002 - as above
        return max(0, self.most - self.value - self.others), 0

    def until(self, now: int, wall: int) -> int:  # noqa: ARG002 - as above
        return FOREVER if self.value else 0


Lasting = Rated | Counted
AnyBucket = Rated | Counted | Flying


def take(buckets: tuple[AnyBucket, ...], costs: Costs, now: int, wall: int) -> bool:
    """Charge all of them, or none. ``now``: monotonic nanoseconds.  ``wall``: milliseconds since 1970."""
    for one in buckets:
        if type(one) is Rated:  # as its ``fits``, without the call
            at = now * one.scale
            value = one.value
            one.then = then = (max(at, value)) + costs[one.measure] * one.step
            if then - at > one.most:
                return False
        elif not one.fits(costs[one.measure], now, wall):
            return False
    for one in buckets:
        one.value = one.then
    return True


def force(buckets: tuple[AnyBucket, ...], costs: Costs, now: int, wall: int) -> None:
    """Charge all of them, whatever they say: somebody else has let the call in."""
    for one in buckets:
        one.fits(costs[one.measure], now, wall)
        one.value = one.then


def give(one: AnyBucket, amount: int, since: int, wall: int) -> None:
    """Of what was charged at ``since`` (milliseconds since 1970) so much was not taken; below 0: so much more was.

    What was charged to a period that has passed stays there.
    """
    if type(one) is Rated:
        one.value = max(0, one.value - amount * one.step)
    elif type(one) is Counted:
        if wall >= one.ends:
            one.turn(wall)
        if one.begins <= since:
            one.value = max(0, one.value - amount)


Found = Callable[[str, Callable[[], AnyBucket]], AnyBucket]
"""The bucket of a key, made when there is none."""


def buckets(limits: Limits, scope: str, owner: str, found: Found) -> list[AnyBucket]:
    """Those of somebody's limits. A limit that was changed begins afresh: it is in the key."""
    made: list[AnyBucket] = []
    for rate in limits.rates:
        key = f"{scope}:{owner}:{rate.measure}:{rate.amount!r}/{rate.seconds!r}+{rate.burst!r}"
        made.append(found(key, lambda key=key, rate=rate: Rated(key, scope, rate)))  # type: ignore[misc]
    for quota in limits.quotas:
        key = f"{scope}:{owner}:{quota.measure}:{quota.period}"
        made.append(found(f"{key}:{quota.amount}", lambda key=key, quota=quota: Counted(key, scope, quota)))  # type: ignore[misc]
    if limits.concurrency:
        key = f"{scope}:{owner}:concurrency"
        made.append(found(f"{key}:{limits.concurrency}", lambda key=key: Flying(key, scope, limits.concurrency)))  # type: ignore[misc]
    return made
