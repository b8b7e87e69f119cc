"""How many explanations are under way: each holds its questions in memory and asks thousands of rows."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

from fairlead.contracts.errors import DeadlineExceeded, QueueFull
from fairlead.serve.explain.asking import LATE

UNDER_WAY: Final = 4
WAITING: Final = 64


class Turns:
    """Of each endpoint ``UNDER_WAY`` at once; so many as ``WAITING`` more wait, in the order in which they came."""

    def __init__(self) -> None:
        self._free: dict[str, asyncio.Semaphore] = {}
        self._waiting: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def one(self, endpoint: str, seconds: float) -> AsyncIterator[None]:
        """A turn, from now until it is left. Raises QueueFull, DeadlineExceeded when it has not come in ``seconds``."""
        if self._waiting[endpoint] >= WAITING:
            raise QueueFull(f"{WAITING} explanations wait already, the most that may; try again", retry_after=1)
        free = self._free.setdefault(endpoint, asyncio.Semaphore(UNDER_WAY))
        self._waiting[endpoint] += 1
        try:
            async with asyncio.timeout(seconds):
                await free.acquire()
        except TimeoutError:
            raise DeadlineExceeded(LATE) from None
        finally:
            self._waiting[endpoint] -= 1
        try:
            yield
        finally:
            free.release()
