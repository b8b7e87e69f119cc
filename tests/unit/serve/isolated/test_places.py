"""Processes that are wanted and not wanted any more, played: nobody is ended at work, nobody is started for nothing."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from test_executor import HANGS, Table


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0.002)


async def test_more_are_started_and_take_work() -> None:
    table = Table(most=4)
    table.executor.want(3)
    await settle()
    assert [one.place for one in table.begun] == [1, 2]
    assert table.executor.ready == 3
    assert table.executor.troubles() == []
    table.executor.close()


async def test_who_is_free_ends_at_once_and_who_works_when_it_has_answered() -> None:
    table = Table(count=2, hang=60)
    waiting = asyncio.create_task(table.run(HANGS))
    await settle()
    working, free = table.first
    table.executor.want(0)
    assert (working.open, free.open) == (True, False)
    assert table.executor.ready == 0
    working._received(*working.answer(HANGS))
    assert await waiting == {HANGS: 2 * HANGS}
    assert not working.open


async def test_one_that_is_wanted_again_while_it_works_stays() -> None:
    table = Table(most=2)
    waiting = asyncio.create_task(table.run(HANGS))
    await settle()
    (working,) = table.first
    table.executor.want(0)
    table.executor.want(1)
    working._received(*working.answer(HANGS))
    await waiting
    assert working.open
    assert table.begun == []
    assert await table.run(1) == {1: 2}
    table.executor.close()


async def test_from_none_what_waits_is_run_by_the_first_that_comes() -> None:
    table = Table(most=3)
    await settle()
    table.executor.want(0)
    assert not table.first[0].open
    waiting = asyncio.create_task(table.run(1, 2))
    await settle()
    assert not waiting.done()
    table.executor.want(1)
    assert await waiting == {1: 2, 2: 4}
    assert len(table.begun) == 1
    table.executor.close()


async def test_one_that_comes_too_late_is_let_go() -> None:
    table = Table(most=2)
    table.executor.want(2)
    table.executor.want(1)
    await settle()
    assert all(not one.open for one in table.begun)
    assert table.executor.ready == 1
    assert await table.run(1) == {1: 2}
    table.executor.close()


async def test_one_that_dies_and_is_not_wanted_is_not_started_again() -> None:
    table = Table(count=2, hang=60)
    waiting = asyncio.create_task(table.run(HANGS))
    await settle()
    table.executor.want(1)
    working = next(one for one in table.first if one.open)
    table.executor.want(0)
    working._die()
    await settle()
    assert table.begun == []
    assert not waiting.done(), "it is run again by the next one"
    table.executor.close()
    await waiting


async def test_every_change_is_told() -> None:
    table = Table(most=2)
    told: list[int] = []
    table.executor.changed = lambda: told.append(table.executor.ready)
    table.executor.want(2)
    await settle()
    table.first[0]._die()
    await settle()
    assert told[:2] == [1, 2]
    assert told[-1] == 2
    assert 1 in told[2:]
    table.executor.close()
    assert told[-1] == 0
