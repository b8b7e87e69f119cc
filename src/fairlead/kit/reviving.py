"""A process that somebody here needs: started, and started again, later each time, while it keeps ending by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

from fairlead.contracts.errors import FairleadError
from fairlead.kit.clock import SystemClock
from fairlead.kit.restarts import Restarts
from fairlead.kit.sentences import cause

log = logging.getLogger("fairlead.engines")


class Reviving(ABC):
    """``name``: of what the process is, for the log."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: asyncio.subprocess.Process | None = None
        """The one that was started last."""
        self._trouble = ""
        """Why it is away, a sentence."""
        self._restarts = Restarts(SystemClock())
        self._watching: asyncio.Task[None] | None = None

    @abstractmethod
    async def _begin(self) -> None:
        """Start one, and wait until it answers. Raises FairleadError, OSError; what it has started is ended then."""

    @abstractmethod
    async def _lost(self) -> None:
        """It ended by itself: those who wait for it are told."""

    @abstractmethod
    async def _end(self) -> None:
        """End it, where there is one, and let go of it. It may have ended."""

    @abstractmethod
    def _told(self, code: int) -> str:
        """How it ended, for a sentence."""

    async def start(self) -> None:
        """Raises what the first beginning raises; nothing is left of it then."""
        try:
            await self._begun()
        except BaseException:
            await self._end()
            raise
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        await self._end()

    def troubles(self) -> list[str]:
        return [self._trouble] if self._trouble else []

    async def _begun(self) -> None:
        await self._begin()
        self._trouble = ""
        self._restarts.ready()

    async def _watch(self) -> None:
        while self._process is not None:
            code = await self._process.wait()
            wait = self._restarts.crashed()
            self._trouble = f"{self._told(code)}, and is started again" + (f" in {wait:g} seconds" if wait else "")
            log.warning("engine ended", extra={"fields": {"engine": self._name, "code": code, "wait": wait}})
            await self._tried(self._lost())
            await asyncio.sleep(wait)
            if not await self._tried(self._begun()):
                await self._tried(self._end(), keep=True)

    async def _tried(self, doing: Coroutine[Any, Any, None], *, keep: bool = False) -> bool:
        """Whether it went well. What it raises, also what a library or the operating system does, is the trouble of now
        (``keep``: the one there was stays), and never the end of the watch: it is tried again."""
        try:
            await doing
        except Exception as error:
            ours = isinstance(error, (FairleadError, OSError))
            if not keep:
                self._trouble = str(error) if ours else f"it could not be started: {cause(error)}"
            if not ours:
                log.exception("engine not started", extra={"fields": {"engine": self._name}})
            return False
        return True
