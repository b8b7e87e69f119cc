"""Calls that wait for somebody to wake: let in together, refused in time, and never lost."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from fairlead.contracts.errors import Cancelled, QueueFull, Unavailable
from fairlead.kit.clock import SystemClock
from fairlead.serve.call import Call
from fairlead.serve.doorstep import Doorstep
from fairlead.serve.line import compiled

OWN = 0.5
"""The endpoint's deadline, seconds."""


class House:
    """A doorstep that is shut, before a line whose end keeps the calls."""

    def __init__(self, patience: float = 5.0, limit: int = 100) -> None:
        self.woken = 0
        self.inside: list[Call] = []
        clock = SystemClock()
        self.step = Doorstep("churn", deadline=OWN, patience=patience, limit=limit, clock=clock)
        self.step.wake = self._wake
        self.step.shut()
        self.enter, _ = compiled((self.step,), self.inside.append, asyncio.get_running_loop(), clock)

    def _wake(self) -> None:
        self.woken += 1

    def come(self, seconds: float = OWN) -> Call:
        now = SystemClock.now()
        call = Call({"x": np.zeros((1, 1))}, 1, lambda _: None, arrived=now, deadline=now + seconds)
        self.enter(call)
        return call


async def settle(seconds: float = 0.0) -> None:
    await asyncio.sleep(seconds)
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_who_come_are_let_in_by_one_waking_in_their_order() -> None:
    house = House()
    calls = [house.come() for _ in range(10)]
    await settle()
    assert (house.woken, house.inside, house.step.waiting) == (1, [], 10)
    assert house.step.open() > 0
    await settle()
    assert house.inside == calls
    assert house.come() is house.inside[-1]
    assert (house.woken, house.step.waiting) == (1, 0)


async def test_the_time_of_waking_is_not_taken_from_the_deadline() -> None:
    house = House()
    call = house.come()
    await settle(OWN * 1.5)
    house.step.open()
    await settle()
    assert call.outcome is None
    assert call.deadline - SystemClock.now() == pytest.approx(OWN, abs=0.2)


async def test_a_call_that_names_its_time_keeps_it() -> None:
    house = House()
    call = house.come(0.3)
    until = call.arrived + 0.3
    await settle(0.05)
    house.step.open()
    await settle()
    assert call.deadline == until


async def test_waiting_has_a_limit_and_the_refusal_says_when() -> None:
    house = House(patience=0.05)
    call = house.come()
    await settle(0.1)
    assert isinstance(call.outcome, Unavailable)
    assert call.outcome.retry_after == 1
    assert house.step.waiting == 0


async def test_once_the_time_of_waking_is_known_nobody_waits_in_vain() -> None:
    house = House()
    house.come()
    await settle(0.2)
    house.step.open()
    house.step.shut()
    hasty, patient = house.come(0.1), house.come()
    await settle()
    assert isinstance(hasty.outcome, Unavailable)
    assert "waking takes 0.2 s" in str(hasty.outcome)
    assert patient.outcome is None
    assert house.woken == 2


async def test_more_than_the_limit_are_refused() -> None:
    house = House(limit=2)
    calls = [house.come() for _ in range(3)]
    await settle()
    assert [type(call.outcome) for call in calls] == [type(None), type(None), QueueFull]
    refused = calls[2].outcome
    assert isinstance(refused, QueueFull)
    assert refused.retry_after == 1


async def test_who_cannot_be_woken_is_told_to_all_and_tried_again_for_the_next() -> None:
    house = House()
    calls = [house.come() for _ in range(3)]
    await settle()
    house.step.fail(Unavailable("no memory", retry_after=7))
    await settle()
    assert [str(call.outcome) for call in calls] == ["no memory"] * 3
    house.come()
    assert house.woken == 2


async def test_waking_that_is_refused_at_once_refuses_the_call() -> None:
    house = House()

    def refuse() -> None:
        raise Unavailable("no room", retry_after=1)

    house.step.wake = refuse
    assert str(house.come().outcome) == "no room"
    assert str(house.come().outcome) == "no room"


async def test_a_caller_that_hangs_up_waits_no_more() -> None:
    house = House()
    call = house.come()
    await settle()
    call.cancel()
    await settle()
    assert isinstance(call.outcome, Cancelled)
    assert house.step.waiting == 0
    house.step.open()
    await settle()
    assert house.inside == []


async def test_those_who_hang_up_as_they_come_are_not_kept() -> None:
    house = House(limit=5)
    for _ in range(50):
        house.come().cancel()
    assert len(house.step._waiting) <= 5
    await settle()
    call = house.come()
    await settle()
    assert call.outcome is None
