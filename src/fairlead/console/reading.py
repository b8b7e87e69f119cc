"""Blocking reads of stores, for pages: in threads, each once however many ask, and kept for about a second.

One that took longer is kept as long as it took, if it gave something: who was told to try again finds it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fairlead.contracts.errors import Unavailable
from fairlead.kit.clock import Clock
from fairlead.kit.threads import Threads

T = TypeVar("T")

KEPT_SECONDS: Final = 1.0
WAITED_SECONDS: Final = 10.0
"""Until a page is told that its store takes too long; the read itself goes on, and those who come later wait for it."""
THREADS: Final = 4
REMEMBERED: Final = 256


@dataclass(slots=True)
class _Read:
    """``until``: monotonic seconds, once it is done."""

    future: asyncio.Future[Any]
    until: float | None = None


class Reader:
    """``read`` is for one event loop. A read that failed is remembered like any other: a store that is down is not
    asked by every page.
    """

    def __init__(self, clock: Clock, *, threads: int = THREADS, kept: float = KEPT_SECONDS) -> None:
        self._clock = clock
        self._threads = Threads(threads, "fairlead-console")
        self._kept = kept
        self._reads: OrderedDict[Hashable, _Read] = OrderedDict()

    async def read(
        self, key: Hashable, work: Callable[[], T], waited: float = WAITED_SECONDS, *, brief: bool = False
    ) -> T:
        """What ``work`` gives, or gave for the same key lately. ``brief``: kept a second however long it took.
        Raises what it raises, or Unavailable after ``waited`` seconds.
        """
        found = self._reads.get(key)
        if found is None or (found.until is not None and found.until <= self._clock.now()):
            found = self._start(key, work, brief=brief)
        try:
            result: T = await asyncio.wait_for(asyncio.shield(found.future), waited)
        except TimeoutError:
            raise Unavailable(f"the stores have not answered within {waited:g} s; try again", retry_after=5) from None
        return result

    async def act(self, work: Callable[[], T]) -> T:
        """What changes something: never shared, and nothing that was read before is shown after it."""
        try:
            return await self._threads.ask(work)
        finally:
            self.forget()

    def forget(self) -> None:
        """Read everything anew, but what is being read now is not waited for."""
        self._reads.clear()

    def close(self) -> None:
        self._threads.close()

    def _start(self, key: Hashable, work: Callable[[], T], *, brief: bool) -> _Read:
        took = 0.0

        def timed() -> T:
            nonlocal took
            began = self._clock.now()  # the queue for a thread is no work
            found = work()
            took = 0.0 if brief else self._clock.now() - began
            return found

        begun = _Read(self._threads.ask(timed))

        def done(future: asyncio.Future[Any]) -> None:
            failed = future.cancelled() or future.exception() is not None  # looked at, also where everybody has gone
            begun.until = self._clock.now() + (self._kept if failed else max(self._kept, took))

        begun.future.add_done_callback(done)
        self._reads[key] = begun
        self._reads.move_to_end(key)
        if len(self._reads) > REMEMBERED:
            self._reads.popitem(last=False)
        return begun
