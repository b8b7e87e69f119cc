"""Beside the server: finds batches that nobody works on, and works on a few of them.

Whoever holds the lock of a batch works on it, in whichever process; the system drops it with the process, and another
one goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import ExitStack, suppress
from typing import Final

from fairlead.kit.clock import Clock
from fairlead.kit.files import held
from fairlead.kit.threads import Threads
from fairlead.serve.llm.batches.asking import Answering
from fairlead.serve.llm.batches.shelf import Place, Shelf
from fairlead.serve.llm.batches.work import Work, troubles

log = logging.getLogger("fairlead.serve")

MOST: Final = 4
"""Batches that one process works on at once; the others wait."""
EACH: Final = 2
"""Of them, of one caller."""
LOOK: Final = 1.0
"""Seconds between two looks for batches."""
AGAIN: Final = 60.0
"""Seconds until one that could not be worked on is tried again."""
SWEEP: Final = 3600.0
"""Seconds between two looks for what is too old."""


class Runner:
    """A companion of the server. ``most``: batches at once.  ``look``: seconds."""

    def __init__(self, shelf: Shelf, clock: Clock, most: int = MOST, look: float = LOOK) -> None:
        self.shelf = shelf
        self.threads = Threads(most + 2, "fairlead-batches")
        """For everything that touches the shelf."""
        self._clock, self._most, self._seconds = clock, most, look
        self._answering: Answering | None = None
        self._works: dict[Place, tuple[Work, asyncio.Task[None]]] = {}
        self._broken: dict[Place, tuple[float, str]] = {}
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._swept = clock.now()
        self._draining = False
        self._trouble = ""

    def by(self, answering: Answering) -> None:
        """What answers the requests."""
        self._answering = answering

    def start(self) -> None:
        if self._answering is not None:
            self._task = asyncio.get_running_loop().create_task(self._follow(self._answering))

    def poke(self) -> None:
        """There may be a new one."""
        self._woken.set()

    def drain(self) -> None:
        self._draining = True
        for work, _ in self._works.values():
            work.draining = True

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        tasks = [task for _, task in self._works.values()]
        if self._task is not None:
            tasks.append(self._task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.threads.close()

    def troubles(self) -> list[str]:
        found = troubles([work for work, _ in self._works.values()])
        found += [why for _, why in self._broken.values()]
        return [*found, self._trouble] if self._trouble else found

    async def _follow(self, answering: Answering) -> None:
        while not self._draining:
            try:
                await self._look(answering)
                self._trouble = ""
            except Exception as error:  # told in the server's health, and tried again
                if not self._trouble:
                    log.exception("batches cannot be looked for")
                self._trouble = f"batches cannot be looked for: {error}"
            self._woken.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._seconds)

    async def _look(self, answering: Answering) -> None:
        now = self._clock.now()
        self._broken = {place: told for place, told in self._broken.items() if told[0] > now}
        if now - self._swept >= SWEEP:
            self._swept = now
            await self.threads.ask(self.shelf.sweep)
        if len(self._works) >= self._most:
            return
        waiting = await self.threads.ask(self.shelf.waiting)
        owners = Counter(place.owner for place in self._works)
        for place in waiting:
            if len(self._works) >= self._most or self._draining:
                return
            if place in self._works or place in self._broken or owners[place.owner] >= EACH:
                continue
            stack = ExitStack()
            if await self.threads.ask(lambda stack=stack, place=place: _claim(stack, place)):  # type: ignore[misc]
                owners[place.owner] += 1
                self._begin(Work(self.shelf, place, answering, self._clock, self.threads), stack)

    def _begin(self, work: Work, stack: ExitStack) -> None:
        work.draining = self._draining
        task = asyncio.get_running_loop().create_task(self._run(work, stack))
        self._works[work.place] = work, task

    async def _run(self, work: Work, stack: ExitStack) -> None:
        place = work.place
        try:
            await work.run()
        except Exception as error:  # of one batch: the others are not to suffer from it
            log.exception("batch cannot be worked on", extra={"fields": {"batch": place.identity}})
            self._broken[place] = self._clock.now() + AGAIN, f"batch {place.identity} cannot be worked on: {error}"
        finally:
            stack.close()
            self._works.pop(place, None)
            self._woken.set()


def _claim(stack: ExitStack, place: Place) -> bool:
    """Whether this process alone works on it from now on, until the stack is closed."""
    if not stack.enter_context(held(place.folder / "lock")) or not place.mark.exists():
        stack.close()
        return False
    return True
