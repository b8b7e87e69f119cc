"""The loop of a stream worker: fetch, submit, publish, acknowledge. What may happen when is ``Window``'s decision.

A message is acknowledged only after its answer, or its dead letter, was stored. Fetching stops while as many messages
are in hand as may be. On stop: fetch no more, finish what is in hand, acknowledge.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Sequence
from typing import Any, Final

from fairlead.contracts.broker import HOLD_SECONDS, Message, Outgoing
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.sink import Streamed
from fairlead.kit.clock import Clock
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.streams.answering import Answering
from fairlead.serve.streams.counts import Counts
from fairlead.serve.streams.health import Health
from fairlead.serve.streams.letters import Letters
from fairlead.serve.streams.settings import Ends, StreamSettings
from fairlead.serve.streams.window import ANSWERS, DEAD, Item, Window

log = logging.getLogger("fairlead.stream")

FETCH_SECONDS: Final = 0.5
"""A fetch that finds nothing waits so long, and so does a stop for it."""

CANCEL_SECONDS: Final = 0.5
"""After so long without an end, what is cancelled is cancelled again."""

PUBLISH_MOST: Final = 256
"""Messages in one ``publish``."""


class StreamWorker:
    """Answers the messages of one source with one endpoint of the pipeline's catalog."""

    def __init__(self, pipeline: Pipeline, endpoint: str, ends: Ends, settings: StreamSettings, clock: Clock) -> None:
        self._ends = ends
        self._settings = settings
        self._clock = clock
        self._targets = (ends.answers, ends.dead or ends.answers)
        self._names = (str(ends.output), str(ends.dead_place or ends.output))
        self._window = Window(settings.in_flight, [target.ordered for target in self._targets])
        self.counts = Counts()
        self._health = Health(self.counts, settings.wait, random.random)
        self._answering = Answering(
            pipeline,
            endpoint,
            Letters(ends.input, ends.group),
            settings.patience,
            self.counts,
            random.random,
            ends.dead is None,
            self._ready,
        )
        self._stopping = asyncio.Event()
        self._woken = (asyncio.Event(), asyncio.Event())
        self._settling = asyncio.Event()
        self._space = asyncio.Event()
        self._over = False
        self._began = clock.now()
        self._lag: int | None = None

    def stop(self) -> None:
        """Begin to drain."""
        self._stopping.set()

    def troubles(self) -> list[str]:
        """What does not work now, a sentence each."""
        return self._health.troubles()

    def streamed(self) -> Streamed:
        """What it did, and how it stands: the lag as the broker said at the last look."""
        return self.counts.streamed(self._window.count, self._lag)

    async def run(self) -> dict[str, Any]:
        """Answer until stopped, or to the end of a replay; gives the counts. Raises what is not a broker's trouble."""
        loop = asyncio.get_running_loop()
        self._began = self._clock.now()
        fetching = loop.create_task(self._fetch())
        stopping = loop.create_task(self._stopping.wait())
        ticking = loop.create_task(self._tick())
        working: list[asyncio.Task[Any]] = [
            loop.create_task(one) for one in (self._publish(ANSWERS), self._publish(DEAD), self._settle())
        ]
        try:
            await asyncio.wait((fetching, stopping, *working, ticking), return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                log.info("draining", extra={"fields": {"in_flight": self._window.count}})
                await asyncio.wait((fetching,), timeout=2 * FETCH_SECONDS)
                fetching.cancel()  # what it had asked for comes again
            await self._drain(working, stopping)
            for task in (*working, fetching):
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            await _ended({fetching, stopping, ticking, *working})
            self.counts.unfinished = self._window.count
        await self._look()
        return self.counts.document(self._clock.now() - self._began, self._lag)

    async def _drain(self, working: Sequence[asyncio.Task[Any]], stopping: asyncio.Task[Any]) -> None:
        """Until nothing is in hand, within the grace time once a stop was asked for."""
        self._over = True
        self._wake()
        left = set(working)
        while left and not any(task.done() and not task.cancelled() and task.exception() for task in working):
            if self._stopping.is_set():
                await asyncio.wait(left, timeout=self._settings.grace)
                break
            _, pending = await asyncio.wait((*left, stopping), return_when=asyncio.FIRST_COMPLETED)
            left &= pending

    async def _fetch(self) -> None:
        source, window = self._ends.source, self._window
        least = max(1, self._settings.in_flight // 8)
        name = str(self._ends.input)
        while not (self._stopping.is_set() or source.ended):
            if window.room < least:
                self._space.clear()
                await self._space.wait()
                continue
            fetched = await self._health.patiently(name, lambda: source.fetch(window.room, FETCH_SECONDS))
            for message in fetched:
                self._begin(message)

    def _begin(self, message: Message) -> None:
        counts = self.counts
        counts.messages += 1
        if message.deliveries > 1:
            counts.redelivered += 1
        item = self._window.admit(message, self._clock.now())
        if item is None:
            self._settling.set()
            return
        self._answering.begin(item)

    def _ready(self, item: Item, letter: Outgoing, outlet: int) -> None:
        self._window.ready(item, letter, outlet)
        self._woken[outlet].set()

    async def _publish(self, outlet: int) -> None:
        """Everything that may go to one destination, batch by batch."""
        target, woken, window = self._targets[outlet], self._woken[outlet], self._window
        while True:
            batch = window.take(outlet, PUBLISH_MOST)
            if not batch:
                if self._over and not window.count:
                    return
                await woken.wait()
                woken.clear()
                continue
            letters = [item.outgoing for item in batch if item.outgoing is not None]
            said = await self._health.patiently(self._names[outlet], functools.partial(target.publish, letters))
            self._stored(outlet, [item for item, error in zip(batch, said, strict=True) if error is None])
            for item, error in zip(batch, said, strict=True):
                if error is not None:
                    window.divert(item, self._answering.too_large(item, error))
                    self._woken[DEAD].set()

    def _stored(self, outlet: int, items: Sequence[Item]) -> None:
        now, wall_ms = self._clock.now(), self._clock.wall_ms()
        counts = self.counts
        for item in items:
            letter = item.outgoing
            if outlet == ANSWERS and letter is not None and "fairlead-error" not in letter.headers:
                counts.answered += 1
                at_ms = item.message.at_ms
                counts.latencies.add(wall_ms - at_ms if at_ms else (now - item.began) * 1000)
        self._window.stored(items)
        self._settling.set()
        for woken in self._woken:  # the next ones of their keys
            woken.set()

    async def _settle(self) -> None:
        name, source, window = str(self._ends.input), self._ends.source, self._window
        while True:
            batch = window.to_settle()
            if not batch:
                if self._over and not window.count:
                    return
                await self._settling.wait()
                self._settling.clear()
                continue
            messages = [message for _, message in batch]
            await self._health.patiently(name, functools.partial(source.settle, messages))
            window.settled(batch)
            self._space.set()
            if self._over and not window.count:
                self._wake()

    async def _tick(self) -> None:
        """Holds what is in hand and says how it goes."""
        every = min(HOLD_SECONDS, self._settings.report)
        while True:
            await asyncio.sleep(every)
            try:
                await self._ends.source.hold()
            except FairleadError as error:
                log.debug("not held", extra={"fields": {"error": str(error)}})
            await self._look()
            found = self.counts.document(self._clock.now() - self._began, self._lag)
            fields = {"in_flight": self._window.count, **{k: v for k, v in found.items() if v is not None}}
            if troubles := self._health.troubles():
                fields["troubles"] = "; ".join(troubles)
            log.info("streaming", extra={"fields": fields})

    async def _look(self) -> None:
        try:
            self._lag = await asyncio.wait_for(self._ends.source.lag(), 2.0)
        except (FairleadError, TimeoutError):
            self._lag = None

    def _wake(self) -> None:
        for event in (*self._woken, self._settling, self._space):
            event.set()


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended: a library may swallow a cancellation that meets what it waited for."""
    left = tasks
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
