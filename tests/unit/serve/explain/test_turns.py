"""How many explanations are under way."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from fairlead.contracts.errors import DeadlineExceeded, QueueFull
from fairlead.serve.explain.turns import UNDER_WAY, WAITING, Turns


async def test_a_few_run_some_wait_and_more_are_refused() -> None:
    turns, gate, running = Turns(), asyncio.Event(), 0
    most = 0

    async def explained() -> None:
        nonlocal running, most
        async with turns.one("a", 30):
            running += 1
            most = max(most, running)
            await gate.wait()
            running -= 1

    tasks = [asyncio.create_task(explained()) for _ in range(UNDER_WAY + WAITING)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert running == UNDER_WAY
    with pytest.raises(QueueFull, match="64 explanations wait already"):
        await explained()
    tasks.pop().cancel()  # who hangs up leaves its place
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded, match="before everything was asked"):
        async with turns.one("a", 0):
            pass
    gate.set()
    await asyncio.gather(*tasks)
    assert (most, running) == (UNDER_WAY, 0)
    async with turns.one("a", 0.0001):
        pass


async def test_one_endpoint_that_hangs_takes_no_turn_of_another() -> None:
    turns = Turns()
    async with contextlib.AsyncExitStack() as held:
        for _ in range(UNDER_WAY):
            await held.enter_async_context(turns.one("hangs", 1))
        with pytest.raises(DeadlineExceeded):
            await held.enter_async_context(turns.one("hangs", 0.01))
        async with turns.one("well", 0.01):
            pass
