"""What a stream worker counts, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.contracts.sink import Streamed

STEP: Final = 1.02
"""Each bucket of a latency is so much wider than the one below: a quantile is right within 1 %."""

LEAST_MS: Final = 0.01

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Seconds, for those who add up the latencies of several workers."""


class Latencies:
    """Milliseconds, by buckets that grow."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._scale = 1 / math.log(STEP)
        self.count = 0
        self.total = 0.0

    def add(self, milliseconds: float) -> None:
        place = round(math.log(max(milliseconds, LEAST_MS) / LEAST_MS) * self._scale)
        self._buckets[place] = self._buckets.get(place, 0) + 1
        self.count += 1
        self.total += milliseconds

    def quantile(self, share: float) -> float | None:
        """The smallest value that ``share`` of all are not above; None of nothing."""
        left = math.ceil(share * self.count)
        for place in sorted(self._buckets):
            left -= self._buckets[place]
            if left <= 0:
                return LEAST_MS * STEP**place
        return None

    def within(self, bounds: Sequence[float]) -> list[tuple[float, int]]:
        """How many are not above each of these seconds, which rise; right for those not within 1 % of a bound."""
        counts = [0] * len(bounds)
        for place, count in self._buckets.items():
            seconds = LEAST_MS * STEP**place / 1000
            for at, bound in enumerate(bounds):
                counts[at] += count if seconds <= bound else 0
        return list(zip(bounds, counts, strict=True))


@dataclass(slots=True)
class Counts:
    """``messages``: taken in.  ``redelivered``: those that had come before.  ``retried``: tries after the first.

    ``away``: how often a broker went away.  ``unfinished``: given back at the end of the grace time.
    """

    messages: int = 0
    answered: int = 0
    dead_lettered: int = 0
    redelivered: int = 0
    retried: int = 0
    away: int = 0
    unfinished: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    def streamed(self, in_flight: int, lag: int | None) -> Streamed:
        """For a sink."""
        return Streamed(
            self.messages,
            self.answered,
            self.dead_lettered,
            self.redelivered,
            self.retried,
            self.away,
            in_flight,
            lag,
            self.latencies.within(BOUNDS),
            self.latencies.total / 1000,
        )

    def document(self, seconds: float, lag: int | None) -> dict[str, Any]:
        """For people and scripts. The latencies go from the broker's time of a message to its answer being stored."""
        p50, p99 = self.latencies.quantile(0.5), self.latencies.quantile(0.99)
        return {
            "messages": self.messages,
            "answered": self.answered,
            "dead_lettered": self.dead_lettered,
            "redelivered": self.redelivered,
            "retried": self.retried,
            "unfinished": self.unfinished,
            "broker_away": self.away,
            "lag": lag,
            "seconds": round(seconds, 3),
            "messages_per_second": round(self.answered / seconds, 1) if seconds > 0 else 0.0,
            "p50_ms": None if p50 is None else round(p50, 2),
            "p99_ms": None if p99 is None else round(p99, 2),
        }
