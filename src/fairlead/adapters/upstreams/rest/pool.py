"""Connections to one address, kept open between requests."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from typing import Final

from fairlead.adapters.upstreams.rest.link import Answer, Link, Stale
from fairlead.contracts.upstream import CONNECT_SECONDS, Address, Unreached

_IDLE_SECONDS: Final = 30.0
"""A connection that was idle for longer is not trusted: what stands in between may have forgotten it."""


class Pool:
    """As many connections as there are requests at once, which is for the caller to bound.

    ``again``: whether a request may be sent twice.
    """

    def __init__(self, address: Address, tls: ssl.SSLContext | None, largest: int, *, again: bool = True) -> None:
        self._address, self._tls, self._largest, self._again = address, tls, largest, again
        self._idle: list[Link] = []
        self._closed = False

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and read its answer. Raises Unreached or Garbled.

        A connection that was kept may be closed by the server as the request leaves: then it is sent again.
        """
        while (kept := self._kept()) is not None:
            try:
                return await self._over(kept, request)
            except Stale:
                if not self._again:
                    raise Unreached("it closed the connection before it answered") from None
        return await self._over(await self._connect(), request)

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def _over(self, link: Link, request: bytes) -> Answer:
        answer = await link.exchange(request)
        if link.open:
            if self._closed:
                link.close()
            else:
                self._idle.append(link)
        return answer

    def _kept(self) -> Link | None:
        """The one that was used last: those that nobody needs grow old."""
        while self._idle:
            link = self._idle.pop()
            if link.open and asyncio.get_running_loop().time() - link.since <= _IDLE_SECONDS:
                return link
            link.close()
        return None

    async def _connect(self) -> Link:
        loop, to = asyncio.get_running_loop(), self._address
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                made = partial(Link, self._largest)
                _, link = await loop.create_connection(made, to.host, to.port, ssl=self._tls)
        except TimeoutError:
            raise Unreached(f"there is no connection within {CONNECT_SECONDS:g} seconds", sent=False) from None
        except (OSError, ssl.SSLError, UnicodeError) as error:
            told = str(error)[:150] or type(error).__name__
            raise Unreached(f"there is no connection: {told}", sent=False) from None
        return link
