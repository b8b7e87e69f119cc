from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import numpy as np
import pytest

from fairlead.contracts.errors import Cancelled, DeadlineExceeded, FairleadError, QueueFull
from fairlead.kit.clock import SystemClock
from fairlead.serve.call import NEVER, Call
from fairlead.serve.line import Stage, compiled


class Line:
    """A line over ``stages`` and the calls that came to its end."""

    def __init__(self, *stages: Stage) -> None:
        self.ended: list[Call] = []
        self.enter, _ = compiled(stages, self.ended.append, asyncio.get_running_loop(), SystemClock())


def call(deadline: float = NEVER) -> Call:
    return Call({"x": np.zeros((1, 1))}, 1, lambda _call: None, arrived=SystemClock.now(), deadline=deadline)


def passes(_call: Call) -> None:
    """Decides at once."""


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_without_stages_there_is_no_line() -> None:
    assert compiled((), passes, asyncio.get_running_loop(), SystemClock()) == (passes, ())


async def test_stages_that_do_not_wait_cost_no_task() -> None:
    order: list[str] = []
    line = Line(lambda _call: order.append("one"), lambda _call: order.append("two"))
    before = len(asyncio.all_tasks())
    one = call()
    line.enter(one)
    assert (line.ended, order) == ([one], ["one", "two"])
    assert len(asyncio.all_tasks()) == before


async def test_only_the_call_that_must_wait_becomes_a_coroutine() -> None:
    gate = asyncio.Event()
    slow = call()

    async def wait() -> None:
        await gate.wait()

    def stage(one: Call) -> Awaitable[None] | None:
        return wait() if one is slow else None

    after: list[Call] = []
    line = Line(passes, stage, after.append)
    quick = call()
    line.enter(slow)
    line.enter(quick)
    assert line.ended == [quick]
    await settle()
    assert line.ended == [quick]
    gate.set()
    await settle()
    assert line.ended == after == [quick, slow]
    assert not slow.finished


@pytest.mark.parametrize("waits", [False, True])
async def test_a_stage_refuses_and_nobody_after_it_is_asked(waits: bool) -> None:
    def now(_call: Call) -> None:
        raise QueueFull("too many")

    async def later() -> None:
        raise QueueFull("too many")

    asked: list[Call] = []
    line = Line((lambda _call: later()) if waits else now, asked.append)
    one = call()
    line.enter(one)
    await settle()
    assert isinstance(one.outcome, QueueFull)
    assert asked == line.ended == []


@pytest.mark.parametrize("waits", [False, True])
async def test_a_stage_that_breaks_is_an_error_of_the_server_without_its_words(waits: bool) -> None:
    def now(_call: Call) -> None:
        raise KeyError("secret")

    async def later() -> None:
        raise KeyError("secret")

    line = Line((lambda _call: later()) if waits else now)
    one = call()
    line.enter(one)
    await settle()
    assert type(one.outcome) is FairleadError
    assert "secret" not in str(one.outcome)


async def test_a_stage_answers_and_the_model_is_not_asked() -> None:
    line = Line(lambda one: one.finish(QueueFull("full")) and None)
    one = call()
    line.enter(one)
    assert one.finished
    assert line.ended == []


async def test_a_caller_who_hangs_up_ends_the_waiting() -> None:
    ended = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    line = Line(lambda _call: wait())
    one = call()
    line.enter(one)
    await settle()
    one.cancel()
    await asyncio.wait_for(ended.wait(), 5)
    await settle()
    assert isinstance(one.outcome, Cancelled)
    assert line.ended == []


async def test_the_deadline_holds_while_a_stage_waits() -> None:
    line = Line(lambda _call: asyncio.sleep(60))
    one = call(SystemClock.now() + 0.02)
    line.enter(one)
    await asyncio.sleep(0.2)
    assert isinstance(one.outcome, DeadlineExceeded)
    assert line.ended == []
