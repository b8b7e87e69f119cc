"""What is counted of an engine that is shared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fairlead.contracts.figures import Figure, Histogram
from fairlead.contracts.generation import Usage
from fairlead.serve.call import LANES
from fairlead.serve.llm.fair.counters import jain
from fairlead.serve.llm.fair.queue import Queue
from fairlead.serve.llm.fair.settings import Sharing
from fairlead.serve.llm.fair.slots import Slots

_BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_HALF = 30.0
"""Seconds of each half of the window over which fairness is taken."""
OTHERS = "other"
"""Stands for every tenant whose weight the spec does not name: labels must stay few."""


class Measured:
    """Of one endpoint."""

    def __init__(self, endpoint: str, settings: Sharing) -> None:
        self._endpoint, self._settings = endpoint, settings
        self._waits = [Histogram(_BOUNDS) for _ in LANES]
        self._refused: Counter[tuple[str, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._held = 0
        self._now: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._began = 0.0

    def waited(self, lane: int, seconds: float) -> None:
        self._waits[lane].put(seconds)

    def refused(self, reason: str, lane: int) -> None:
        self._refused[reason, LANES[lane]] += 1

    def held(self) -> None:
        """The engine had no room."""
        self._held += 1

    def used(self, tenant: str, usage: Usage) -> None:
        who = tenant if tenant in self._settings.weights else OTHERS
        for what, count in (("input", usage.input), ("cached", usage.cached), ("output", usage.completion)):
            if count:
                self._tokens[who, what] += count

    def backlogged(self, tenant: str, amount: float, now: float) -> None:
        """``amount``: over its weight, that a tenant had while it had more to wait."""
        if now - self._began >= _HALF:
            self._old = self._now if now - self._began < 2 * _HALF else {}
            self._now, self._began = {}, now
        if tenant in self._now or len(self._now) < 1024:
            self._now[tenant] = self._now.get(tenant, 0.0) + amount

    def evenness(self) -> float:
        """Jain's index of the tenants that waited in the last half minute or whole one."""
        names = self._now.keys() | self._old.keys()
        return jain(self._now.get(one, 0.0) + self._old.get(one, 0.0) for one in names)

    def figures(self, queue: Queue, slots: Slots | None) -> Iterator[Figure]:
        own = ("endpoint", self._endpoint)
        for lane, name in enumerate(LANES):
            labels = (own, ("lane", name))
            yield Figure(
                "fairlead_llm_waiting", "gauge", "Requests that wait for the engine.", labels, queue.by_lane[lane]
            )
            waits = self._waits[lane]
            yield Figure(
                "fairlead_llm_wait_seconds", "histogram", "From arrival at the queue to the engine.", labels, waits.sum,
                waits.within(),
            )  # fmt: skip
        if slots is not None:
            yield Figure("fairlead_llm_running", "gauge", "Answers that the engine makes.", (own,), slots.running)
            yield Figure("fairlead_llm_slots", "gauge", "Answers that it may make at once.", (own,), slots.limit)
        yield Figure(
            "fairlead_llm_fairness", "gauge",
            "Jain's index of what tenants that wait had in the last minute: 1 is even; of workers, the least.", (own,),
            self.evenness(),
        )  # fmt: skip
        yield Figure(
            "fairlead_llm_held", "counter", "Times that the engine had no room and a request waited on.", (own,),
            self._held,
        )  # fmt: skip
        for (reason, urgency), count in self._refused.items():
            yield Figure(
                "fairlead_llm_refused", "counter",
                "Requests that were not let in or taken out; reason is queue_full, tenant_full, displaced, deadline or "
                "expired.", (own, ("lane", urgency), ("reason", reason)), count,
            )  # fmt: skip
        for (who, what), count in self._tokens.items():
            yield Figure(
                "fairlead_llm_shared_tokens", "counter",
                "Tokens by class (input, cached, output) and by tenant, for those that the spec names.",
                (own, ("tenant", who), ("class", what)), count,
            )  # fmt: skip
