"""Runs batches on other servers, on the event loop and without a thread.

A batch is one request. What the other server says of a batch as a whole (its input is wrong, its model raised) is found
out call by call, by halves. A batch whose calls have all ended, answered by a deadline or hung up, is cancelled there.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fairlead.contracts.errors import DeadlineExceeded, FairleadError, InputError, ModelFailed, Unavailable
from fairlead.kit.clock import Clock
from fairlead.serve.batcher import Part
from fairlead.serve.call import NEVER, Call
from fairlead.serve.executor import Done, Result, failure, split, stack
from fairlead.serve.remote.asking import Asked, Misanswered
from fairlead.serve.remote.fleet import Fleet

log = logging.getLogger("fairlead.serve")


@dataclass(slots=True, eq=False)
class Job:
    """What was submitted, and what became of it so far."""

    parts: list[Part]
    done: Done
    results: list[Result] = field(default_factory=list)


class RemoteExecutor:
    """``batches``: of one model; who answers is the fleet's to say."""

    kind = "remote"

    def __init__(self, name: str, fleet: Fleet, *, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._name, self._fleet, self._clock, self._loop = name, fleet, clock, loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def submit(self, parts: list[Part], done: Done) -> None:
        job = Job(parts, done)
        task = self._loop.create_task(self._run(job, parts))
        self._tasks.add(task)
        ended = _watched([part.call for part in parts], task)
        task.add_done_callback(partial(self._ended, job, ended))

    def outgrown(self, seconds: float) -> None:
        """Another machine is where slow batches belong."""

    def report(self) -> None:
        self._fleet.report()

    def troubles(self) -> list[str]:
        return self._fleet.troubles()

    def close(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        self._fleet.close()

    async def _run(self, job: Job, parts: list[Part], *, again: bool = True) -> None:
        """Ask for all parts together; where that fails for what is in them, for each half.

        ``again``: whether an error of the model is shown to another address first.
        """
        started = self._clock.now()
        parts = [part for part in parts if not part.call.finished and part.call.deadline > started]
        if not parts:
            return
        rows = sum(part.rows for part in parts)
        deadline = max(part.call.deadline for part in parts)
        try:
            async with asyncio.timeout(None if deadline == NEVER else deadline - started):
                inputs = stack(parts)
                asked = Asked(inputs, parts[0].call.parameters, rows, deadline)
                outputs = await self._fleet.infer(asked, again=again)
        except TimeoutError:
            error: FairleadError = DeadlineExceeded(
                f"no upstream of {self._name!r} answered in time; allow more with x-request-timeout-ms"
            )
        except Exception as raised:  # noqa: BLE001 - arrays that do not fit together, or cannot be sent
            error = failure(raised)
        else:
            if len(asked.tries) > 1:
                for part in parts:
                    part.call.steps += tuple(asked.tries)
            job.results += split(parts, (inputs, outputs), self._clock.now() - started, rows)
            return
        if len(parts) > 1 and isinstance(error, InputError | ModelFailed) and not isinstance(error, Misanswered):
            middle = len(parts) // 2
            await self._run(job, parts[:middle], again=False)
            await self._run(job, parts[middle:], again=False)
            return
        seconds = self._clock.now() - started
        job.results += [(part, error, seconds, part.rows, None, 0) for part in parts]

    def _ended(self, job: Job, watched: _Watch, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        watched.stop()
        error: FairleadError | None = None
        if task.cancelled():
            if self._closed:
                error = Unavailable(f"this version of {self._name!r} was unloaded; try again", retry_after=1)
        elif (raised := task.exception()) is not None:
            log.error("a batch failed", exc_info=raised)
            error = failure(raised)
        if error is not None:
            settled = {(id(result[0].call), result[0].start) for result in job.results}
            left = [part for part in job.parts if (id(part.call), part.start) not in settled]
            job.results += [(part, error, 0.0, part.rows, None, 0) for part in left]
        job.done(job.results)


class _Watch:
    """Cancels a task when the last of its calls has ended without it.

    A call says that it ended by cancelling what it ``waiting`` for: a future of ours, that nobody awaits.
    """

    __slots__ = ("_futures", "_left", "_task")

    def __init__(self, futures: list[asyncio.Future[Any]], left: int, task: asyncio.Task[None]) -> None:
        self._futures, self._left, self._task = futures, left, task
        for future in futures:
            future.add_done_callback(self._one)

    def stop(self) -> None:
        for future in self._futures:
            future.remove_done_callback(self._one)

    def _one(self, _: asyncio.Future[Any]) -> None:
        self._left -= 1
        if not self._left:
            self._task.cancel()


def _watched(calls: list[Call], task: asyncio.Task[None]) -> _Watch:
    futures = []
    for call in calls:
        if not call.finished:
            call.waiting = call.waiting or task.get_loop().create_future()
            futures.append(call.waiting)
    return _Watch(futures, len(futures), task)
