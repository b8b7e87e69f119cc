"""Threads that end with the process, whatever runs in them: code that never returns does not keep a server alive.

The pool of the standard library waits at exit for what runs in it, however long.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

log = logging.getLogger("fairlead.kit")


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
