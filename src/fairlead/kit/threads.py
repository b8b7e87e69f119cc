"""Threads that end with the process, whatever runs in them: code that never returns does not keep a server alive.

The pool of the standard library waits at exit for what runs in it, however long.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

log = logging.getLogger("fairlead.kit")

T = TypeVar("T")


class Threads:
    """At most ``count``, started when there is work. ``submit`` and ``close`` are for one thread, its owner."""

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name, self._started = count, name, 0
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)

    def submit(self, task: Callable[[], None]) -> None:
        """Run it when a thread is free, in the order in which tasks came."""
        if not self._idle.acquire(blocking=False) and self._started < self._count:
            threading.Thread(target=self._run, name=f"{self._name}_{self._started}", daemon=True).start()
            self._started += 1
        self._tasks.put(task)

    def ask(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """The same, from an event loop that wants to know what came of it."""
        future, task = _asked(asyncio.get_running_loop(), work)
        self.submit(task)
        return future

    def close(self) -> None:
        """Forget what waits, and let each thread go when it is done. Does not wait."""
        with suppress(Empty):
            while True:
                self._tasks.get_nowait()
        for _ in range(self._started):
            self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except BaseException:
                log.exception("a task raised")
            del task  # what it holds is not kept until the next one comes
            self._idle.release()


def apart(loop: asyncio.AbstractEventLoop, name: str, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
    """Run what blocks, and is rare, in a thread of its own: whoever fills the shared pool does not hold it up."""
    future, task = _asked(loop, functools.partial(function, *args))
    threading.Thread(target=task, name=f"fairlead-{name}", daemon=True).start()
    return future


def _asked(loop: asyncio.AbstractEventLoop, work: Callable[[], T]) -> tuple[asyncio.Future[T], Callable[[], None]]:
    """What the loop waits for, and what a thread runs, which never raises."""
    future: asyncio.Future[T] = loop.create_future()

    def tell(outcome: Callable[[], None]) -> None:
        if not future.done():
            outcome()

    def task() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            outcome: Callable[[], None] = functools.partial(future.set_exception, error)
        else:
            outcome = functools.partial(future.set_result, result)
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(tell, outcome)

    return future, task
