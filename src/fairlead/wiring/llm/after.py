"""What must be read before a language model opens: who may call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fairlead.serve.server import Quickening


class After:
    """The same, once something was read that blocks: who may call."""

    def __init__(self, first: Sequence[Callable[[asyncio.AbstractEventLoop], None]], opener: Quickening) -> None:
        self._first = first
        self._opener = opener
        self.endpoint = opener.endpoint

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for prime in self._first:
            await loop.run_in_executor(None, prime, loop)
        await self._opener.open()

    async def close(self) -> None:
        await self._opener.close()
