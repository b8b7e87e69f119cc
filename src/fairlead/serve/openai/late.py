"""The routes of OpenAI's API where no language model is: read at their first request, which few servers ever get."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fairlead.serve.openai.api import PATHS


class Late:
    """``read``: imports them, in a thread.  ``make``: makes them; called once, on the event loop."""

    def __init__(self, read: Callable[[], object], make: Callable[[], Sequence[Route]]) -> None:
        self._read, self._make = read, make
        self._made: dict[str, ASGIApp] = {}
        self._reading = asyncio.Lock()

    def routes(self) -> list[Route]:
        """For the router: the same paths, in the same order."""
        return [Route(path, _At(self, path)) for path in PATHS]

    async def made(self, path: str) -> ASGIApp:
        async with self._reading:
            if not self._made:
                await asyncio.get_running_loop().run_in_executor(None, self._read)
                self._made = {route.path: route.app for route in self._make()}
        return self._made[path]


class _At:
    """ASGI application of one path."""

    def __init__(self, late: Late, path: str) -> None:
        self._late, self._path = late, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._late.made(self._path))(scope, receive, send)
