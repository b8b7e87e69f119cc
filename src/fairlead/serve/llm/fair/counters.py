"""What each tenant had of an engine, in weighted tokens over its weight: whoever had least comes next. Pure.

Virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024, algorithm 2). A tenant
that comes back is lifted to the least of those that wait, so that idle time is no credit; to the last that left where
nobody waits. While two tenants wait all the time, what they had differs by at most twice what can be under way
uncharged: the longest prompt, or all answers that run at once, whichever counts more (theorem 4.8 there).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

KEPT: Final = 4096
"""Tenants that are remembered without having anything here."""


class Counters:
    """Of one engine."""

    __slots__ = ("_had", "_last")

    def __init__(self) -> None:
        self._had: dict[str, float] = {}
        self._last = 0.0
        """Of the tenant that last left the queue."""

    def of(self, tenant: str) -> float:
        return self._had.get(tenant, 0.0)

    def came(self, tenant: str, waiting: Iterable[str]) -> None:
        """It has something to wait again. ``waiting``: the tenants that wait already, without it."""
        least = min(map(self.of, waiting), default=self._last)
        had = self._had.pop(tenant, 0.0)
        self._had[tenant] = max(had, least)

    def left(self, tenant: str) -> None:
        """Nothing of it waits any more."""
        self._last = self._had.get(tenant, self._last)

    def charge(self, tenant: str, amount: float) -> None:
        """``amount``: weighted tokens over the tenant's weight; below zero where too much was charged."""
        self._had[tenant] = self._had.get(tenant, 0.0) + amount

    @property
    def many(self) -> bool:
        """Whether some should be forgotten."""
        return len(self._had) > KEPT

    def forget(self, busy: set[str]) -> None:
        """Tenants that have nothing here, the oldest first, until half of ``KEPT`` are left."""
        idle = [tenant for tenant in self._had if tenant not in busy]
        for tenant in idle[: len(self._had) - KEPT // 2]:
            del self._had[tenant]


def jain(values: Iterable[float]) -> float:
    """How even they are: 1.0 all the same, 1/n one has all (Jain, Chiu, Hawe: DEC-TR-301, 1984). 1.0 for none."""
    found = list(values)
    squares = sum(one * one for one in found)
    return sum(found) ** 2 / (len(found) * squares) if squares else 1.0
