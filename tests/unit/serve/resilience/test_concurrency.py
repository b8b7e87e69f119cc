"""How many batches at once: against servers that answer so many at a time, without a clock."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
import pytest

from fairlead.serve.resilience.concurrency import Limiter


@dataclass
class Server:
    """Answers ``places`` batches at a time, each in ``takes`` seconds on average, and refuses more than ``full``."""

    places: int
    takes: float
    spread: str = "steady"
    full: int = 10**9
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def __post_init__(self) -> None:
        self.free = [0.0] * self.places

    def ends(self, now: float) -> float:
        taken = self.rng.exponential(self.takes) if self.spread == "wild" else self.rng.normal(1, 0.05) * self.takes
        end = max(now, heapq.heappop(self.free)) + max(1e-5, float(taken))
        heapq.heappush(self.free, end)
        return end


def saturated(limiter: Limiter, server: Server, begin: float, seconds: float) -> tuple[float, float]:
    """Calls never run out: batches answered a second, and the limit on average, both in the last half."""
    now, out, answered, limits = begin, [], [], []
    while now < begin + seconds:
        while len(out) < limiter.limit:
            refused = len(out) >= server.full
            heapq.heappush(out, (now + 0.001, False) if refused else (server.ends(now), True))
        now, well = heapq.heappop(out)
        limiter.ended(1, well, True, now)
        if now > begin + seconds / 2:
            limits.append(limiter.limit)
            answered.append(well)
    return sum(answered) / (seconds / 2), float(np.mean(limits))


@pytest.mark.parametrize("spread", ["steady", "wild"])
@pytest.mark.parametrize("places", [1, 4, 16, 64])
def test_the_server_is_kept_busy_and_its_queue_short(places: int, spread: str) -> None:
    limiter = Limiter(64)
    rate, limit = saturated(limiter, Server(places, 0.02, spread), 0.0, 120.0)
    assert rate >= 0.93 * places / 0.02
    if spread == "steady":  # else it takes longer to find out
        assert limit <= max(1.5 * places, places + 3)


def test_a_server_that_says_it_is_full_gets_less() -> None:
    rate, limit = saturated(Limiter(64), Server(4, 0.02, full=8), 0.0, 60.0)
    assert rate >= 0.9 * 4 / 0.02
    assert limit < 10


def test_refusals_count_though_nobody_waits_here() -> None:
    limiter = Limiter(64)
    for step in range(3000):
        limiter.ended(1, step % 5 == 0, False, 0.001 * step)
    assert limiter.limit < 8


def test_a_server_that_is_away_gets_one_at_a_time_and_more_once_it_is_back() -> None:
    limiter = Limiter(64)
    for step in range(3000):
        limiter.ended(1, False, False, 0.001 * step)
    assert limiter.limit == 1
    rate, _ = saturated(limiter, Server(16, 0.02), 3.0, 60.0)
    assert rate >= 0.9 * 16 / 0.02


def test_a_server_that_grows_is_given_more() -> None:
    limiter = Limiter(64)
    saturated(limiter, Server(4, 0.02), 0.0, 60.0)
    assert limiter.limit <= 12
    rate, _ = saturated(limiter, Server(32, 0.02), 60.0, 120.0)
    assert rate >= 0.9 * 32 / 0.02


def test_what_happens_below_the_limit_says_nothing_about_it() -> None:
    limiter = Limiter(64)
    for step in range(10_000):
        limiter.ended(1, True, False, 0.001 * step)
    assert limiter.limit == 64


def test_rows_count_and_not_batches() -> None:
    """Half as many batches at a time, each with twice the rows, are as good: less is kept."""
    limiter, now, limits = Limiter(2), 0.0, []
    for _ in range(4000):
        now += 0.01 / limiter.limit
        limiter.ended(4 // limiter.limit, True, True, now)
        limits.append(limiter.limit)
    assert np.mean([limit == 1 for limit in limits]) > 0.8
