"""A model of this process that can leave memory, and comes back when it is called."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from fairlead.contracts.errors import FairleadError, Unavailable
from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.sink import EndpointMeter
from fairlead.kit import memory
from fairlead.kit.clock import Clock
from fairlead.kit.threads import apart
from fairlead.serve.batcher import Part
from fairlead.serve.doorstep import Doorstep
from fairlead.serve.endpoint import Live
from fairlead.serve.executor import Done, Executor

log = logging.getLogger("fairlead.serve")

RETRY: Final = 5.0
"""Seconds after which a model that did not load is worth another try."""


class Resident:
    """An ``Executor`` around the one that runs the model, and a ``Sleeper``.

    ``load``: the model again; blocks.  ``run_by``: the executor of a loaded model.
    ``room``: makes room for so many bytes, or raises Unavailable.  ``size``: bytes of the model.
    """

    def __init__(
        self,
        name: str,
        model: LoadedModel,
        *,
        load: Callable[[], LoadedModel],
        run_by: Callable[[LoadedModel], Executor],
        room: Callable[[Resident, int], None],
        doorstep: Doorstep,
        size: int,
        idle: float,
        pinned: bool,
        meter: EndpointMeter,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.name, self.idle, self.pinned = name, idle, pinned
        self._model: LoadedModel | None = model
        self._load, self._run_by, self._room = load, run_by, room
        self._inner = run_by(model)
        self._doorstep = doorstep
        self._size = size
        self._meter = meter
        self._clock, self._loop = clock, loop
        self._live: Live | None = None
        self._closed = self._coming = False
        self._trouble = ""
        doorstep.wake = self.wake

    def start(self, live: Live) -> None:
        """On the event loop, once."""
        self._live = live
        self._meter.wanted(1)

    # A sleeper.

    @property
    def busy(self) -> bool:
        return self._live is None or self._coming or not self._live.idle or self._doorstep.waiting > 0

    @property
    def gone(self) -> bool:
        return self._closed

    @property
    def awake(self) -> bool:
        return self._model is not None or self._coming

    @property
    def used(self) -> float:
        return self._doorstep.used

    @property
    def memory(self) -> int:
        return self._size

    def sleep(self, why: str) -> None:
        """Let the model go; the next call brings it back."""
        model, self._model = self._model, None
        if model is None:
            return
        self._doorstep.shut()
        self._inner.close()
        model.close()
        del model
        self._loop.run_in_executor(None, memory.give_back)
        self._meter.wanted(0)
        log.info("asleep", extra={"fields": {"model": self.name, "why": why, "bytes": self._size}})

    def wake(self) -> None:
        """Begin to load it again. Raises Unavailable when there is no room."""
        if self._coming or self._model is not None or self._closed:
            return
        self._room(self, self._size)
        self._coming = True
        coming = apart(self._loop, f"{self.name}-waking", self._load)
        coming.add_done_callback(self._came)

    def _came(self, done: asyncio.Future[LoadedModel]) -> None:
        self._coming = False
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            log.error("not woken", extra={"fields": {"model": self.name, "error": str(error)}})
            self._trouble = f"{self.name} could not be loaded again: {error}"
            told = f"{self.name} sleeps and could not be loaded again; the server's log says why"
            self._doorstep.fail(Unavailable(told, retry_after=RETRY))
            return
        model = done.result()
        if self._closed:
            model.close()
            return
        self._model, self._trouble = model, ""
        self._inner = self._run_by(model)
        self._meter.wanted(1)
        self._meter.woke(took := self._doorstep.open())
        log.info("awake", extra={"fields": {"model": self.name, "seconds": round(took, 3)}})

    # An executor.

    @property
    def kind(self) -> str:
        return self._inner.kind

    def submit(self, parts: list[Part], done: Done) -> None:
        self._inner.submit(parts, done)

    def outgrown(self, seconds: float) -> None:
        """What outgrows its place is moved here, and stays this executor for everybody else."""
        if (other := self._inner.outgrown(seconds)) is not None:
            log.info("batches moved to a thread", extra={"fields": {"model": self.name, "seconds": seconds}})
            self._inner = other

    def report(self) -> None:
        self._inner.report()

    def troubles(self) -> list[str]:
        return [*([self._trouble] if self._trouble else []), *self._inner.troubles()]

    def close(self) -> None:
        self._closed = True
        gone: FairleadError = Unavailable(f"{self.name} was unloaded; try again", retry_after=1)
        self._doorstep.fail(gone)
        if self._model is not None:
            self._inner.close()
            self._model.close()
            self._model = None
