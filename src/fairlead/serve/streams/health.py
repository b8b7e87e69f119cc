"""Waits for a broker that went away, says so once, and says when it is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fairlead.contracts.errors import FairleadError
from fairlead.serve.streams.counts import Counts
from fairlead.serve.streams.deciding import Wait

log = logging.getLogger("fairlead.stream")

T = TypeVar("T")


class Health:
    """``chance``: random numbers in [0, 1)."""

    def __init__(self, counts: Counts, wait: Wait, chance: Callable[[], float]) -> None:
        self._counts = counts
        self._wait = wait
        self._chance = chance
        self._troubles: dict[str, str] = {}

    def troubles(self) -> list[str]:
        """What does not work now, a sentence each."""
        return [f"{name}: {why}" for name, why in self._troubles.items()]

    async def patiently(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        """``act`` until it goes through. ``name``: of the broker's end, for the log."""
        tries = 0
        while True:
            try:
                found = await act()
            except FairleadError as error:
                tries += 1
                self._failed(name, error)
                await asyncio.sleep(self._wait.seconds(tries, self._chance()))
            else:
                if tries and self._troubles.pop(name, ""):
                    log.info("the broker is back", extra={"fields": {"place": name, "tries": tries}})
                return found

    def _failed(self, name: str, error: FairleadError) -> None:
        if name not in self._troubles:
            self._counts.away += 1
            log.warning("the broker is away; waiting", extra={"fields": {"place": name, "error": str(error)}})
        self._troubles[name] = str(error)
