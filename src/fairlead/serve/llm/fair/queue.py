"""Who waits for an engine, and who is next. Pure: time is passed in.

Each head of a lane of a tenant has a place: what the tenant had (``Counters``), and ``lead`` more for each lane that it
is less urgent than interactive. A lane of which nothing was taken for ``age`` seconds counts as one more urgent, until
something is. So batch does not starve, a long queue is no credit to whoever has it, and lanes shift the bound of
fairness by two leads at most. The least place is next; who came first where they are equal.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from fairlead.serve.call import LANES
from fairlead.serve.llm.fair.counters import Counters
from fairlead.serve.llm.fair.settings import Sharing


@dataclass(slots=True, eq=False)
class Place:
    """Of one request that waits. ``tokens``: of its prompt, about.  ``order``: in which it came."""

    tenant: str
    lane: int
    tokens: int
    came: float
    order: int


class _Tenant:
    """What waits of one tenant, by lane."""

    __slots__ = ("lanes", "requests", "taken", "tokens")

    def __init__(self) -> None:
        self.taken = [-math.inf] * len(LANES)
        """When something of each lane was last taken."""
        self.lanes: tuple[OrderedDict[int, Place], ...] = tuple(OrderedDict() for _ in LANES)
        self.requests = self.tokens = 0

    def last(self) -> Place:
        """Of the least urgent lane. It has some."""
        return next(reversed(next(lane for lane in reversed(self.lanes) if lane).values()))


QUEUE_FULL: Final = "queue_full"
TENANT_FULL: Final = "tenant_full"


class Room(NamedTuple):
    """``refused``: why there is none; empty where there is.  ``victim``: who makes way."""

    refused: str = ""
    victim: Place | None = None


class Queue:
    """Bounded by requests and by tokens, in all and by tenant."""

    def __init__(self, settings: Sharing, counters: Counters) -> None:
        self._settings, self._counters = settings, counters
        self._tenants: dict[str, _Tenant] = {}
        self._order = 0
        self.requests = self.tokens = 0
        self.by_lane = [0] * len(LANES)

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._tenants

    def tenants(self) -> Iterator[str]:
        return iter(self._tenants)

    def room(self, place: Place) -> Room:
        """Whether it may wait here, and who makes way for it.

        That is the last request of the least urgent lane of its own tenant, where that has its part of the queue; of
        whoever has most waiting, where the queue is full and that is more than its own tenant would have.
        """
        settings, own = self._settings, self._tenants.get(place.tenant)
        if own is not None and place.tenant:  # callers whom nobody knows are no tenant: the queue is theirs
            most, tokens = max(1.0, settings.tenant * settings.queue), settings.tenant * settings.tokens
            if own.requests + 1 > most or own.tokens + place.tokens > tokens:
                last = own.last()
                fits = own.tokens - last.tokens + place.tokens <= tokens
                return Room("", last) if last.lane > place.lane and fits else Room(TENANT_FULL)
        if self.requests < settings.queue and self.tokens + place.tokens <= settings.tokens:
            return Room()
        victim = self._fullest(place)
        fits = victim is not None and self.tokens - victim.tokens + place.tokens <= settings.tokens
        return Room("", victim) if fits else Room(QUEUE_FULL)

    def _fullest(self, place: Place) -> Place | None:
        """The last request of whoever has most waiting for their weight, if it is to make way."""
        weight = self._settings.weight
        name = max(self._tenants, key=lambda one: self._tenants[one].requests / weight(one), default=None)
        if name is None:
            return None
        last = self._tenants[name].last()
        if name == place.tenant:
            return last if last.lane > place.lane else None
        own = self._tenants[place.tenant].requests if place.tenant in self._tenants else 0
        return last if self._tenants[name].requests / weight(name) > (own + 1) / weight(place.tenant) else None

    def place(self, tenant: str, lane: int, tokens: int, now: float) -> Place:
        """For a request that comes now, whether it waits or not."""
        self._order += 1
        return Place(tenant, lane, tokens, now, self._order)

    def put(self, place: Place) -> None:
        """At the end of its lane. There must be room."""
        self._add(place)

    def back(self, place: Place) -> None:
        """At the head of its lane again: the engine had no room after all."""
        self._add(place, back=True)
        self._tenants[place.tenant].lanes[place.lane].move_to_end(place.order, last=False)

    def remove(self, place: Place) -> None:
        """It is taken, or waits no longer. It must be here."""
        own = self._tenants[place.tenant]
        del own.lanes[place.lane][place.order]
        own.requests -= 1
        own.tokens -= place.tokens
        self.requests -= 1
        self.tokens -= place.tokens
        self.by_lane[place.lane] -= 1
        if not own.requests:
            del self._tenants[place.tenant]
            self._counters.left(place.tenant)

    def next(self, now: float, may: Callable[[Place], bool]) -> Place | None:
        """Who is taken now, of those that ``may``. It is still here, to be removed."""
        best: Place | None = None
        least = (0.0, 0)
        for name, tenant in self._tenants.items():
            had = self._counters.of(name)
            for number, lane in enumerate(tenant.lanes):
                if not lane:
                    continue
                head = next(iter(lane.values()))
                key = (had + self._behind(number, now - max(head.came, tenant.taken[number])), head.order)
                if (best is None or key < least) and may(head):
                    best, least = head, key
        if best is not None:
            self._tenants[best.tenant].taken[best.lane] = now
        return best

    def ahead(self, place: Place) -> int:
        """How many will be taken before it if all are alike: those of its tenant, and as many of each other one."""
        own = self._tenants[place.tenant]
        before = sum(len(own.lanes[lane]) for lane in range(place.lane)) + len(own.lanes[place.lane]) - 1
        weight = self._settings.weight(place.tenant)
        total = float(before)
        for name, other in self._tenants.items():
            if name != place.tenant:
                total += min(other.requests, (before + 1) * self._settings.weight(name) / weight)
        return int(total)

    def _behind(self, lane: int, waited: float) -> float:
        return self._settings.lead * max(0, lane - int(waited / self._settings.age))

    def _add(self, place: Place, *, back: bool = False) -> None:
        own = self._tenants.get(place.tenant)
        if own is None:
            if not back:
                self._counters.came(place.tenant, self._tenants)
            own = self._tenants[place.tenant] = _Tenant()
        own.lanes[place.lane][place.order] = place
        own.requests += 1
        own.tokens += place.tokens
        self.requests += 1
        self.tokens += place.tokens
        self.by_lane[place.lane] += 1
