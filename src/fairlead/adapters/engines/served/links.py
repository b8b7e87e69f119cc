"""Connections to one server, kept open between requests, and no more than so many at once."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Final

from fairlead.adapters.engines.served.link import Link, Listener
from fairlead.contracts.upstream import Address

_IDLE_SECONDS: Final = 30.0
"""A connection that was idle for longer is not trusted: what stands in between may have forgotten it."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How a server is reached. ``most``: connections at once.  ``seconds``: for the name, the connection, its TLS."""

    address: Address
    tls: ssl.SSLContext | None
    most: int
    seconds: float


class Links:
    """On one event loop. Whoever wants a connection gets it by ``take``, or ``lost``."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._idle: list[Link] = []
        self._all: set[Link] = set()
        self._coming: dict[Listener, asyncio.Task[None]] = {}
        self._left: set[asyncio.Task[None]] = set()  # to be over soon: nobody wants what they connect
        self._waiting: deque[Listener] = deque()
        self.closed = False
        """Nobody gets a connection any more."""

    @property
    def waiting(self) -> int:
        """Who has no connection because there are as many as there may be."""
        return len(self._waiting)

    def want(self, listener: Listener) -> None:
        """The one that was used last comes first: those that nobody needs grow old."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            link = self._idle.pop()
            if now - link.since <= _IDLE_SECONDS:
                listener.take(link)
                return
            link.close()
        if len(self._all) + len(self._coming) < self._reach.most:
            self._coming[listener] = asyncio.create_task(self._connect(listener))
        else:
            self._waiting.append(listener)

    def forget(self, listener: Listener) -> None:
        """It wants none any more."""
        coming = self._coming.pop(listener, None)
        if coming is not None:
            coming.cancel()
            self._left.add(coming)
            coming.add_done_callback(self._left.discard)
            self._next()
        elif listener in self._waiting:
            self._waiting.remove(listener)

    async def close(self) -> None:
        """No connection is left. Those who wait hear nothing: whoever closes has told them."""
        self.closed = True
        self._waiting.clear()
        coming = [*self._coming.values(), *self._left]
        self._coming.clear()
        for task in coming:
            task.cancel()
        for link in [*self._all]:
            link.close()
        await asyncio.gather(*coming, return_exceptions=True)
        await asyncio.sleep(0)  # transports call back once more

    async def _connect(self, listener: Listener) -> None:
        loop, reach = asyncio.get_running_loop(), self._reach
        why = ""
        link: Link | None = None
        try:
            async with asyncio.timeout(reach.seconds):
                to = reach.address
                _, link = await loop.create_connection(self._made, to.host, to.port, ssl=reach.tls)
        except TimeoutError:
            why = f"there is no connection within {reach.seconds:g} seconds"
        except (OSError, ssl.SSLError, UnicodeError) as error:
            why = f"there is no connection: {str(error)[:150] or type(error).__name__}"
        if self._coming.get(listener) is not asyncio.current_task():  # forgotten, and not cancelled in time
            if link is not None:
                link.close()
            return
        del self._coming[listener]
        if link is None:
            listener.lost(why)
            self._next()
        else:
            if link.open:
                self._all.add(link)
            listener.take(link)

    def _made(self) -> Link:
        return Link(self._freed, self._ended)

    def _freed(self, link: Link) -> None:
        if self.closed:
            link.close()
        elif self._waiting:
            self._waiting.popleft().take(link)
        else:
            self._idle.append(link)

    def _ended(self, link: Link) -> None:
        self._all.discard(link)
        if link in self._idle:
            self._idle.remove(link)
        self._next()

    def _next(self) -> None:
        while not self.closed and self._waiting and len(self._all) + len(self._coming) < self._reach.most:
            self.want(self._waiting.popleft())
