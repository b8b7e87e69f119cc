"""Who waits for a place at one of the addresses, first come first served. On the event loop."""

from __future__ import annotations

import asyncio


class Places:
    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], None] = {}

    async def place(self) -> None:
        """Wait until there may be one."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[place] = None
        try:
            await place
        except asyncio.CancelledError:
            self._waiting.pop(place, None)
            if not place.cancelled():  # it was just given the place that it no longer needs
                self.next()
            raise

    def next(self) -> None:
        """One place is free."""
        while self._waiting:
            place = next(iter(self._waiting))
            del self._waiting[place]
            if not place.done():  # who gave up in this turn is still here
                place.set_result(None)
                return

    def all(self) -> None:
        """There may be room for all of them, or nobody left to wait for."""
        while self._waiting:
            self.next()
