"""A small question to a server that is answered whole: what it has, how many tokens a prompt is."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from fairlead.adapters.engines.served.link import Garbled, Link
from fairlead.adapters.engines.served.links import Links

_LARGEST: Final = 16 * 2**20


class Reply(NamedTuple):
    status: int
    body: bytes


class Unanswered(Exception):
    """There was no answer. ``str(error)`` says why in a few words."""


async def exchange(links: Links, request: bytes, seconds: float) -> Reply:
    """Raises Unanswered."""
    asking = _Asking(request)
    links.want(asking)
    try:
        async with asyncio.timeout(seconds):
            return await asking.answer
    except TimeoutError:
        raise Unanswered(f"nothing came for {seconds:g} seconds") from None
    finally:
        if asking.link is not None:
            asking.link.close()
        else:
            links.forget(asking)


class _Asking:
    """The ``Listener`` of one exchange."""

    def __init__(self, request: bytes) -> None:
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.link: Link | None = None
        self._request = request
        self._status = self._size = 0
        self._pieces: list[bytes] = []

    def take(self, link: Link) -> None:
        self.link = link
        link.send(self, self._request)

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:  # noqa: ARG002 - a Listener hears both
        self._status = status

    def body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > _LARGEST:
            raise Garbled(f"its answer has more than {_LARGEST} bytes")
        self._pieces.append(data)

    def complete(self) -> None:
        self.link = None
        if not self.answer.done():
            self.answer.set_result(Reply(self._status, b"".join(self._pieces)))

    def lost(self, why: str, *, again: bool = False) -> None:  # noqa: ARG002 - whoever asks asks again by itself
        self.link = None
        if not self.answer.done():
            self.answer.set_exception(Unanswered(why))
