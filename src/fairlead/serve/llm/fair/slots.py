"""How many answers run at once, and who may have the next of these places. Pure: time is passed in.

The limit is the engine's, until it refuses: then it is what runs, and grows by one for each round of answers that end
(additive increase, as congestion windows do; Chiu and Jain, 1989). An answer cannot be interrupted, so a tenant that
had all places would make the others wait for a whole answer: the last ``spare`` places are for tenants that run less
than their share, as long as there was another one lately. Batch work leaves them to the rest, too.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from fairlead.serve.call import BATCH
from fairlead.serve.llm.fair.settings import Sharing

LATELY: Final = 60.0
"""Seconds for which a tenant that was here counts."""
_NAMED: Final = 64
"""Tenants that are known to have been here lately, at most."""
_SPARE: Final = 16
"""One place of so many is spare where the spec does not say."""
_FEWEST: Final = 4
"""With fewer places none is spare by itself: it would be too much of them."""


class Slots:
    """``most``: answers at once."""

    def __init__(self, settings: Sharing, most: int) -> None:
        self._settings = settings
        self.most = max(1, most)
        self._limit = float(self.most)
        self._running: dict[str, int] = {}
        self._recent: OrderedDict[tuple[str, bool], float] = OrderedDict()
        """Tenants, and whether it was batch work, by when they were last here; the oldest first."""
        self.running = 0

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def spare(self) -> int:
        asked = self._settings.spare
        if asked is None:
            asked = -(-self.limit // _SPARE) if self.limit >= _FEWEST else 0
        return min(asked, self.limit - 1)

    def tenants(self) -> set[str]:
        return set(self._running)

    def saw(self, tenant: str, lane: int, now: float) -> None:
        """A request of it came."""
        self._recent[tenant, lane == BATCH] = now
        self._recent.move_to_end((tenant, lane == BATCH))
        while len(self._recent) > _NAMED or now - next(iter(self._recent.values())) > LATELY:
            self._recent.popitem(last=False)

    def may(self, tenant: str, lane: int) -> bool:
        """Whether it may have a place now."""
        if self.running < self.limit - self.spare:
            return True
        return self.running < self.limit and self._entitled(tenant, lane)

    def take(self, tenant: str) -> None:
        self.running += 1
        self._running[tenant] = self._running.get(tenant, 0) + 1

    def release(self, tenant: str) -> None:
        """An answer ended, or was given up."""
        self.running -= 1
        left = self._running[tenant] - 1
        if left:
            self._running[tenant] = left
        else:
            del self._running[tenant]

    def well(self) -> None:
        """An answer ended that the engine had taken."""
        self._limit = min(float(self.most), self._limit + 1.0 / self._limit)

    def refused(self) -> None:
        """The engine had no room for one more than run now."""
        self._limit = float(max(1, min(self.limit, self.running)))

    def _entitled(self, tenant: str, lane: int) -> bool:
        """To one of the spare places."""
        if lane != BATCH and not self._running.get(tenant):
            return True
        others = [one for one in self._recent if one != (tenant, lane == BATCH)]
        if not others:
            return True
        if lane == BATCH and any(not batch for _, batch in others):
            return False
        weight = self._settings.weight
        named = {name for name, _ in others} | {tenant}
        share = self.limit * weight(tenant) / sum(weight(one) for one in named)
        return self._running.get(tenant, 0) < max(1.0, share)
