"""Which replica the next request goes to, and which are left out. Pure: time is passed in.

First those that have seen the longest beginning of the prompt, then by consistent hashing of its first block, and the
least busy one for a prompt that is shorter than a block. A replica with more than ``spread`` times its even share of
the requests under way is passed over. Replicas that fail are left out by a breaker each; what shows whether they are
well again is a request, which goes elsewhere unseen if not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from fairlead.serve.llm.route.prefixes import Seen
from fairlead.serve.llm.route.ring import Ring
from fairlead.serve.llm.route.settings import Routing
from fairlead.serve.resilience.breaker import REFUSED, Breaker, State

PREFIX: Final = "prefix"
HASH: Final = "hash"
LEAST: Final = "least"
ORDER: Final = "order"
FORCED: Final = "forced"


class Pick(NamedTuple):
    """``ticket``: of the breaker.  ``why``: what it was chosen by."""

    at: int
    ticket: int
    why: str


class Choosing:
    """``names``: the replicas, then the fallbacks; ``replicas``: how many are of the first kind."""

    def __init__(self, names: Sequence[str], replicas: int, settings: Routing) -> None:
        self.names = names
        self.replicas, self._settings = replicas, settings
        self._ring = Ring(names[:replicas]) if replicas else None
        self.seen = Seen(settings.memory)
        self.breakers = [Breaker(settings.breaker) for _ in names]
        self.loads = [0] * len(names)

    def pick(self, found: Sequence[int], now: float, avoid: Collection[int]) -> Pick | None:
        """Takes a place at one of them; None: nobody is left. ``found``: hashes of the prompt's blocks."""
        passed = list(avoid)
        while (chosen := self._chosen(found, passed, now)) is not None:
            at, why = chosen
            ticket = self.breakers[at].admit(now)
            if ticket != REFUSED:
                self.loads[at] += 1
                if at < self.replicas and found:
                    self.seen.learn(found, at)
                return Pick(at, ticket, why)
            passed.append(at)
        return None

    def able(self, avoid: Collection[int], now: float) -> bool:
        """Whether ``pick`` would find somebody."""
        return any(at not in avoid and self._open(at, now) for at in range(len(self.names)))

    def again(self, avoid: Collection[int], now: float) -> bool:
        """Whether it may find a replica: one that has the others' requests already, as a fallback has not."""
        return any(at not in avoid and self._open(at, now) for at in range(self.replicas))

    def force(self, avoid: Collection[int]) -> Pick | None:
        """The same, though it is left out: there is nobody else, and it is waited for."""
        free = [at for at in range(len(self.names)) if at not in avoid]
        if not free:
            return None
        at = min(free, key=lambda one: (one >= self.replicas, self.loads[one]))
        self.loads[at] += 1
        return Pick(at, REFUSED, FORCED)

    def done(self, pick: Pick, failed: bool | None, seconds: float, now: float) -> None:
        """``failed``: None where it says nothing of the replica."""
        self.loads[pick.at] -= 1
        if failed and pick.at < self.replicas:
            self.seen.forget(pick.at)
        self.breakers[pick.at].ended(pick.ticket, failed, seconds, now)
        if pick.ticket == REFUSED and failed is False:  # it was forced, and is there
            self.breakers[pick.at] = Breaker(self._settings.breaker)

    def soonest(self, now: float) -> float:
        """Seconds until one of those that are left out is tried again."""
        return min(one.after(now) for one in self.breakers)

    def left_out(self) -> list[str]:
        return [name for name, one in zip(self.names, self.breakers, strict=True) if one.state is not State.CLOSED]

    def _chosen(self, found: Sequence[int], passed: Collection[int], now: float) -> tuple[int, str] | None:
        free = [at for at in range(self.replicas) if at not in passed and self._open(at, now)]
        if not free:
            fallbacks = range(self.replicas, len(self.names))
            return next(((at, ORDER) for at in fallbacks if at not in passed), None)
        if len(free) == 1:
            return free[0], LEAST
        room = self._room(free)
        if found and self._ring is not None:
            _, who = self.seen.match(found)
            known = [at for at in free if who >> at & 1 and self.loads[at] < room]
            if known:
                return min(known, key=self.loads.__getitem__), PREFIX
            for at in self._ring.walk(found[0]):
                if at in free and self.loads[at] < room:
                    return at, HASH
        return min(free, key=self.loads.__getitem__), LEAST

    def _open(self, at: int, now: float) -> bool:
        """Whether its breaker may let one through."""
        breaker = self.breakers[at]
        return breaker.state is State.CLOSED or breaker.due(now)

    def _room(self, free: Sequence[int]) -> int:
        """Requests from which on one of these is passed over."""
        total = sum(self.loads[at] for at in free) + 1
        return math.ceil(self._settings.spread * total / len(free))
