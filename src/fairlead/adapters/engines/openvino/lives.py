"""The lives of an engine's process: the first, which must begin well, and another after each that ended unasked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from fairlead.adapters.engines.openvino.messages import Failed, Load, Loaded, Stepped, ToServer
from fairlead.adapters.engines.openvino.process import Received
from fairlead.contracts.errors import BrokenModel, EngineLost, FairleadError, Unavailable
from fairlead.kit import failures
from fairlead.kit.clock import Clock
from fairlead.kit.restarts import Restarts
from fairlead.kit.threads import apart

log = logging.getLogger("fairlead.engines")


class Process(Protocol):
    """What is needed of ``EngineProcess``."""

    @property
    def pid(self) -> int: ...

    @property
    def ending(self) -> str: ...

    def attach(self, loop: asyncio.AbstractEventLoop, received: Received, ended: Callable[[], None]) -> None: ...

    def send(self, message: msgspec.Struct) -> None: ...

    def kill(self) -> None: ...

    def close(self) -> asyncio.Future[None] | None: ...


class User(Protocol):
    """Whoever has questions; called on the event loop."""

    def stepped(self, step: Stepped) -> None:
        """What a step brought."""

    def lost(self, error: EngineLost) -> None:
        """The process ended; what it was asked is not answered."""


class Lives:
    """``begin``: starts a process, and blocks a little.  ``order``: what it is to be.

    ``patience``: seconds to load.
    """

    def __init__(self, begin: Callable[[], Process], order: Load, patience: float, user: User, clock: Clock) -> None:
        self._begin = begin
        self._order = order
        self._patience = patience
        self._user = user
        self._clock = clock
        self._restarts = Restarts(clock)
        self._loading: asyncio.Future[Loaded] | None = None
        self._reviving: asyncio.Task[None] | None = None
        self._next = 0.0
        self._open = False
        self.process: Process | None = None
        """The one that answers, or None."""
        self.loaded: Loaded | None = None
        """What the last one said of itself."""
        self.heard = 0.0
        """When it last said something."""
        self.trouble = ""

    async def open(self) -> None:
        """Raises ModelError, MissingExtra, Unavailable."""
        self._open = True
        try:
            await self._start()
        except BaseException:
            self._open = False
            raise

    async def close(self) -> None:
        self._open = False
        if self._reviving is not None:
            self._reviving.cancel()
            self._reviving = None
        process, self.process = self.process, None
        if process is not None and (burial := process.close()) is not None:
            await burial

    @property
    def away(self) -> float:
        """Seconds until another one is started, one at least."""
        return max(1.0, self._next - self._clock.now())

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        beginning = apart(loop, "engine-start", self._begin)
        try:
            process = await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(_abandon)
            raise
        self._loading = loop.create_future()
        process.attach(loop, lambda message: self._hear(process, message), lambda: self._ended(process))
        try:
            process.send(self._order)
            async with asyncio.timeout(self._patience):
                self.loaded = await self._loading
        except TimeoutError:
            raise Unavailable(
                f"{self._order.model} did not load in {self._patience:g} seconds (option load_seconds)", retry_after=60
            ) from None
        finally:
            self._loading = None
            if self.process is not process or not self._open:
                self.process = None
                process.kill()
                process.close()

    def _hear(self, process: Process, message: ToServer) -> None:
        self.heard = self._clock.now()
        if isinstance(message, Stepped):
            if process is self.process:
                self._user.stepped(message)
        elif self._loading is not None and not self._loading.done():
            if isinstance(message, Failed):
                self._loading.set_exception(failures.of(message.code, message.message))
            else:
                self.process, self.trouble = process, ""
                self._restarts.ready()
                self._loading.set_result(message)

    def _ended(self, process: Process) -> None:
        """Nobody asked it to."""
        if self._loading is not None and not self._loading.done():
            sentence = f"the process that loads it ended ({process.ending}); its last words are in the log"
            self._loading.set_exception(BrokenModel(f"{self._order.model}: {sentence}"))
        if process is not self.process:
            return
        self.process = None
        if self._open:
            delay = self._plan(process.ending)
            self._reviving = asyncio.get_running_loop().create_task(self._revive(delay))
        sentence = f"the engine ended ({process.ending}) while it wrote the answer; another one is started"
        self._user.lost(EngineLost(sentence, retry_after=self.away))

    def _plan(self, how: str) -> float:
        """Seconds until the next start."""
        delay = self._restarts.crashed()
        self._next = self._clock.now() + delay
        self.trouble = f"{self._order.endpoint}: its engine ended ({how}) and is started again"
        fields = {"endpoint": self._order.endpoint, "how": how, "crashes": self._restarts.crashes, "again_in": delay}
        log.error("engine lost", extra={"fields": fields})
        return delay

    async def _revive(self, delay: float) -> None:
        while True:
            await asyncio.sleep(delay)
            try:
                await self._start()
            except FairleadError as error:
                delay = self._plan(str(error))
                continue
            log.info("engine started", extra={"fields": {"endpoint": self._order.endpoint}})
            return


def _abandon(beginning: asyncio.Future[Process]) -> None:
    """Nobody waits for it any more."""
    if not beginning.cancelled() and beginning.exception() is None:
        process = beginning.result()
        process.attach(beginning.get_loop(), lambda _message: None, lambda: None)
        process.kill()
        process.close()
