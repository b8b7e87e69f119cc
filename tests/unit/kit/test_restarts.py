"""When a crashed worker is started again."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.kit.restarts import FIRST, LONGEST, STEADY, Restarts


@dataclass
class Hand:
    """A clock that the test moves."""

    at: float = 100.0

    def now(self) -> float:
        return self.at

    def wall_ms(self) -> int:
        return int(self.at * 1000)


def test_at_once_then_doubling_to_a_limit() -> None:
    restarts = Restarts(Hand())
    delays = [restarts.crashed() for _ in range(40)]
    assert delays[:5] == [0.0, FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert delays[-1] == LONGEST
    assert delays == sorted(delays)
    assert restarts.crashes == 40


def test_a_worker_that_was_steady_starts_at_once() -> None:
    clock = Hand()
    restarts = Restarts(clock)
    for _ in range(3):
        restarts.crashed()
    restarts.ready()
    clock.at += STEADY
    assert restarts.crashed() == 0.0
    assert restarts.crashes == 1


def test_a_short_life_or_none_counts_on() -> None:
    clock = Hand()
    restarts = Restarts(clock)
    restarts.ready()
    clock.at += STEADY / 2
    assert restarts.crashed() == 0.0
    clock.at += 10 * STEADY  # it took long to start, and crashed before it was ready
    assert restarts.crashed() == FIRST
    restarts.ready()
    clock.at += STEADY - 1
    assert restarts.crashed() == 2 * FIRST
