"""The straight line of one endpoint, compiled once: only the stages that it uses, each called in turn.

A stage that can decide at once returns None, and the call goes on without a task. A stage that must wait (for a remote
replica, a shared limit, a feature) returns an awaitable, and then that call, and only that call, becomes a coroutine.
An endpoint without stages has no line at all: its end is called directly.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from functools import partial

from fairlead.contracts.errors import FairleadError
from fairlead.kit.clock import Clock
from fairlead.serve.call import NEVER, Call
from fairlead.serve.deadlines import too_late

log = logging.getLogger("fairlead.serve")

Stage = Callable[[Call], Awaitable[None] | None]
"""Raises a FairleadError to refuse the call, or finishes it to answer it; what it does not finish goes on."""

Enter = Callable[[Call], None]


def compiled(
    stages: Sequence[Stage], end: Enter, loop: asyncio.AbstractEventLoop, clock: Clock
) -> tuple[Enter, Collection[object]]:
    """The way into the line, and what waits in it: never raises, and every call reaches ``end`` or an outcome.

    A call that is finished while it waits (its caller hung up, its deadline passed) has its waiting cancelled.
    """
    if not stages:
        return end, ()
    tasks: set[asyncio.Task[None]] = set()

    def go(call: Call, at: int) -> None:
        for index in range(at, len(stages)):
            try:
                waiting = stages[index](call)
            except Exception as error:  # noqa: BLE001 - a stage may raise anything
                call.finish(_told(error))
                return
            if call.finished:
                return
            if waiting is not None:
                task = loop.create_task(wait(call, waiting, index + 1))
                tasks.add(task)
                task.add_done_callback(partial(_over, tasks, waiting))
                call.waiting = task
                return
        end(call)

    async def wait(call: Call, waiting: Awaitable[None], after: int) -> None:
        left = None if call.deadline == NEVER else call.deadline - clock.now()
        try:
            async with asyncio.timeout(left):
                await waiting
        except TimeoutError:
            outcome: FairleadError = too_late(call, "before it was queued")
        except Exception as error:  # noqa: BLE001 - as above
            outcome = _told(error)
        else:
            call.waiting = None
            if not call.finished:
                go(call, after)
            return
        call.waiting = None
        call.finish(outcome)

    return (lambda call: go(call, 0)), tasks


def _over(tasks: set[asyncio.Task[None]], waiting: Awaitable[None], task: asyncio.Task[None]) -> None:
    tasks.discard(task)
    if isinstance(waiting, Coroutine):
        waiting.close()  # not begun, where the call ended in the turn it came


def _told(error: Exception) -> FairleadError:
    if isinstance(error, FairleadError):
        return error
    log.error("a stage failed", exc_info=error)
    return FairleadError("the server failed before the model was asked; its log has the cause")
