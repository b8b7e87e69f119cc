"""A rolling restart: one worker after the other is replaced, each when its successor is ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from fairlead.serve.process import Place, Process

log = logging.getLogger("fairlead.serve")


class Rolling:
    """``start`` starts a worker in a place; when it is ready it takes the place of the one that is there.

    ``stopping``: set when the server ends: nobody is started any more.
    """

    def __init__(
        self,
        places: Sequence[Place],
        start: Callable[[Place], Process],
        started: Callable[[], None],
        stopping: asyncio.Event,
    ) -> None:
        self._places = places
        self._start = start
        self._started = started
        self._stopping = stopping
        self._running = self._again = False

    async def run(self) -> None:
        """Replace all; when it is asked for again meanwhile, once more."""
        self._again = True
        if self._running:
            return
        self._running = True
        try:
            while self._again:
                self._again = False
                log.info("rolling restart", extra={"fields": {"workers": len(self._places)}})
                if await self._once():
                    log.info("rolling restart done")
        finally:
            self._running = False

    async def _once(self) -> bool:
        for place in self._places:
            if self._stopping.is_set():
                return False
            old = place.worker
            if old is None or place.coming is not None:
                continue  # being replaced as it is
            try:
                new = self._start(place)
            except OSError as error:  # no room for another process
                fields = {"why": error.strerror}
                log.error("rolling restart stopped", extra={"fields": fields})  # noqa: TRY400 - the system's fault
                return False
            await new.settled.wait()
            if not new.was_ready:
                log.error("rolling restart stopped", extra={"fields": {"why": "a new worker did not become ready"}})
                return False
            self._started()
            await old.over.wait()
        return True
