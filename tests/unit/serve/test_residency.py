"""Who sleeps for want of memory: against all subsets, and the loop over sleepers that the test plays."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.errors import Unavailable
from fairlead.serve.residency import Holding, Residency, evictions
from fairlead.testing.clock import ManualClock

HOLDINGS = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 100), st.booleans()), max_size=8).map(
    lambda rows: [Holding(size, float(used), free) for size, used, free in rows]
)


@given(HOLDINGS, st.integers(1, 40), st.integers(0, 20))
def test_the_least_recently_used_sleep_no_more_than_needed_and_nobody_in_vain(
    held: list[Holding], budget: int, coming: int
) -> None:
    chosen = evictions(held, budget, coming)
    free = [at for at, one in enumerate(held) if one.free]
    over = sum(one.memory for one in held) + coming - budget
    enough = [
        places
        for count in range(len(free) + 1)
        for places in combinations(free, count)
        if sum(held[at].memory for at in places) >= over
    ]
    assert (chosen is None) == (not enough)
    if chosen is not None:
        order = sorted(free, key=lambda at: held[at].used)
        assert chosen == order[: len(chosen)], "somebody who was used later sleeps first"
        gained = [held[at].memory for at in chosen]
        assert sum(gained) >= over
        assert not gained or sum(gained[:-1]) < over, "one more than needed"


@dataclass
class Played:
    """A sleeper."""

    name: str
    memory: int
    used: float = 0.0
    idle: float = 0.0
    pinned: bool = False
    busy: bool = False
    gone: bool = False
    awake: bool = True
    slept: list[str] = field(default_factory=list)

    def sleep(self, why: str) -> None:
        self.awake = False
        self.slept.append(why)


def test_who_comes_last_makes_the_first_one_sleep() -> None:
    residency = Residency(100, ManualClock())
    first, second, third = (Played(name, 40, used=used) for name, used in (("a", 1.0), ("b", 2.0), ("c", 3.0)))
    for one in (first, second, third):
        residency.add(one)
    assert (first.slept, second.slept, third.slept) == (["memory"], [], [])
    residency.room(first, 40)
    assert second.slept == ["memory"]


def test_there_is_no_room_where_all_others_are_pinned_or_busy() -> None:
    residency = Residency(100 * 2**20, ManualClock())
    pinned, busy = Played("a", 50 * 2**20, pinned=True), Played("b", 40 * 2**20, busy=True)
    asleep = Played("c", 20 * 2**20, awake=False)
    for one in (pinned, busy, asleep):
        residency.add(one)
    with pytest.raises(Unavailable, match=r"c needs 20 MiB; of the 100 MiB .* 90 MiB are pinned or in use"):
        residency.room(asleep, 20 * 2**20)
    assert pinned.awake
    assert busy.awake
    busy.busy = False
    residency.room(asleep, 20 * 2**20)
    assert not busy.awake


def test_one_that_grows_does_not_sleep_for_itself() -> None:
    residency = Residency(100, ManualClock())
    grows, other = Played("a", 60, used=1.0), Played("b", 30, used=2.0)
    residency.add(grows)
    residency.add(other)
    residency.room(grows, 30)
    assert grows.awake
    assert not other.awake


def test_who_is_not_called_for_long_sleeps_unless_it_is_busy_or_pinned() -> None:
    clock = ManualClock()
    residency = Residency(0, clock)
    idle, busy, pinned, kept = (Played(name, 1, idle=10) for name in "abcd")
    busy.busy, pinned.pinned, kept.idle = True, True, 0.0
    for one in (idle, busy, pinned, kept):
        residency.add(one)
    clock.advance(9.9)
    residency.look()
    assert idle.awake
    clock.advance(0.1)
    residency.look()
    assert [one.slept for one in (idle, busy, pinned, kept)] == [["idle"], [], [], []]


def test_too_much_that_may_not_sleep_is_told() -> None:
    residency = Residency(10 * 2**20, ManualClock())
    pinned = Played("a", 20 * 2**20, pinned=True)
    residency.add(pinned)
    assert residency.troubles() == ["models have 20 MiB of memory, over the 10 MiB allowed, and none may sleep"]
    pinned.gone = True
    residency.look()
    assert residency.troubles() == []


def test_two_versions_of_one_endpoint_are_both_looked_after() -> None:
    clock = ManualClock()
    residency = Residency(100, clock)
    first, second = Played("churn", 60, used=1.0, idle=10), Played("churn", 60, used=2.0, idle=10)
    residency.add(first)
    residency.add(second)
    assert (first.awake, second.awake) == (False, True), "together they have more than there is"
    first.awake, second.gone = True, True  # the rollout was aborted
    clock.advance(20)
    residency.look()
    assert not first.awake
