"""Who waits, who makes way, and whose turn it is."""

from __future__ import annotations

import pytest

from fairlead.serve.llm.fair.counters import KEPT, Counters, jain
from fairlead.serve.llm.fair.pace import Pace
from fairlead.serve.llm.fair.queue import QUEUE_FULL, TENANT_FULL, Place, Queue, Room
from fairlead.serve.llm.fair.settings import Sharing
from fairlead.serve.llm.fair.slots import Slots


def made(**said: object) -> Queue:
    return Queue(Sharing(**said), Counters())  # type: ignore[arg-type]


def put(queue: Queue, tenant: str, lane: int = 1, tokens: int = 1) -> Place:
    place = queue.place(tenant, lane, tokens, 0.0)
    queue.put(place)
    return place


def test_two_that_never_waited_and_come_back_are_two() -> None:
    queue = made()
    first, second = (queue.place("a", 1, 1, 0.0) for _ in "12")
    queue.back(second)
    queue.back(first)
    assert queue.next(0.0, lambda _: True) is first
    assert queue.requests == 2


def test_a_queue_full_of_tokens_makes_no_way_for_one_that_still_does_not_fit() -> None:
    queue = made(queue=100, tokens=100, tenant=1.0)
    put(queue, "a", tokens=10)
    put(queue, "a", tokens=10)
    put(queue, "b", tokens=70)
    assert queue.room(queue.place("c", 1, 50, 0.0)) == Room(QUEUE_FULL)
    assert queue.room(queue.place("c", 1, 10, 0.0)) == Room()
    assert queue.room(queue.place("c", 1, 20, 0.0)).victim is not None


def test_one_request_alone_may_be_larger_than_the_part_of_a_tenant() -> None:
    queue = made(queue=1)
    assert queue.room(queue.place("a", 1, 1, 0.0)) == Room()
    put(queue, "a")
    assert queue.room(queue.place("a", 1, 1, 0.0)) == Room(TENANT_FULL)
    assert queue.room(queue.place("b", 1, 1, 0.0)) == Room(QUEUE_FULL)
    assert made(tokens=5).room(Place("a", 1, 9, 0.0, 1)) == Room(QUEUE_FULL)


def test_a_full_queue_of_one_tenant_makes_way_for_its_own_more_urgent() -> None:
    queue = made(queue=2, tenant=1.0)
    put(queue, "a", 2)
    last = put(queue, "a", 2)
    assert queue.room(queue.place("a", 0, 1, 0.0)) == Room("", last)
    assert queue.room(queue.place("a", 2, 1, 0.0)) == Room(TENANT_FULL)


def test_callers_whom_nobody_knows_may_fill_it() -> None:
    queue = made(queue=3)
    for _ in range(3):
        assert queue.room(queue.place("", 1, 1, 0.0)) == Room()
        last = put(queue, "")
    assert queue.room(queue.place("", 1, 1, 0.0)) == Room(QUEUE_FULL)
    assert queue.room(queue.place("a", 1, 1, 0.0)) == Room("", last)


def test_weights_say_who_has_most_waiting_and_who_is_next() -> None:
    queue = made(queue=6, weights={"gold": 4.0})
    for tenant in ("gold", "gold", "gold", "b", "b"):
        last = put(queue, tenant)
    put(queue, "d")
    assert queue.room(queue.place("c", 1, 1, 0.0)) == Room("", last)
    assert queue.ahead(last) == 1 + 3 + 1


def test_lanes_are_a_lead_apart_and_age() -> None:
    counters = Counters()
    queue = Queue(Sharing(lead=100.0, age=10.0), counters)
    batch = queue.place("a", 2, 1, 0.0)
    queue.put(batch)
    usual = queue.place("b", 1, 1, 0.0)
    queue.put(usual)
    assert queue.next(1.0, lambda _: True) is usual
    queue.remove(usual)
    counters.charge("b", 150.0)  # b is more than a lead behind
    later = queue.place("b", 1, 1, 1.0)
    queue.put(later)
    assert queue.next(1.0, lambda _: True) is batch
    queue.remove(batch)
    again = queue.place("a", 2, 1, 1.0)
    queue.put(again)
    counters.charge("a", 150.0)
    assert queue.next(2.0, lambda _: True) is later
    assert queue.next(2.0, lambda one: one is not later) is again
    assert queue.next(2.0, lambda _: False) is None


def test_tenants_that_have_nothing_here_are_forgotten() -> None:
    counters = Counters()
    for number in range(KEPT + 1):
        counters.charge(f"t{number}", 1.0)
    assert counters.many
    counters.forget({"t0"})
    assert not counters.many
    assert counters.of("t0") == 1.0
    assert counters.of("t1") == 0.0


@pytest.mark.parametrize(("values", "index"), [((), 1.0), ((3.0, 3.0), 1.0), ((1.0, 0.0, 0.0, 0.0), 0.25)])
def test_jain(values: tuple[float, ...], index: float) -> None:
    assert jain(values) == pytest.approx(index)


def test_a_pace_is_known_after_some_answers_that_others_wait_for() -> None:
    pace = Pace()
    for number in range(9):
        pace.ended(True, number * 0.5)
    assert pace.wait(4) == pytest.approx(2.0)
    pace.ended(False, 100.0)
    pace.ended(True, 200.0)
    assert pace.wait(4) == pytest.approx(2.0)
    assert Pace().wait(4) == 0.0


def test_places_that_are_kept() -> None:
    slots = Slots(Sharing(), 32)
    assert slots.spare == 2
    slots.saw("old", 1, 0.0)
    slots.saw("a", 1, 100.0)
    for _ in range(32):
        assert slots.may("a", 1)
        slots.take("a")
    assert not slots.may("a", 1)
    slots.saw("b", 1, 100.0)
    slots.release("a")
    assert not slots.may("a", 1)
    assert not slots.may("a", 2)
    assert slots.may("b", 1)
    assert not slots.may("b", 2)
    assert slots.tenants() == {"a"}


def test_an_engine_that_refuses_is_asked_for_less_and_slowly_for_more() -> None:
    slots = Slots(Sharing(spare=0), 8)
    for _ in range(4):
        slots.take("a")
    slots.refused()
    assert slots.limit == 4
    for _ in range(5):
        slots.well()
    assert slots.limit == 5
    for _ in range(100):
        slots.well()
    assert slots.limit == 8
