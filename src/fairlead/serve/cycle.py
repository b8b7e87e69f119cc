"""What stands where uvicorn has its cycle of one request and one response, for a request that goes the short way."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Final, Protocol

from fairlead.serve.access.credentials import Certificate, peer


class Link(Protocol):
    """The connection of a request."""

    transport: Any

    def draining(self) -> bool: ...

    def always(self) -> bytes:
        """The lines of the headers that every answer has."""

    def on_response_complete(self) -> None: ...


_NONE: Final[tuple[str, ...]] = ()


class Cycle:
    """uvicorn reads ``disconnected``, ``keep_alive``, ``message_event`` and ``response_complete`` of it.

    Slots are those of the class that stands there.
    """

    __slots__ = _NONE

    body: bytes | bytearray
    disconnected: bool
    keep_alive: bool
    response_complete: bool
    link: Link

    def prepare(self, link: Link) -> None:
        """Set what it has."""
        self.link = link
        self.body = b""
        self.keep_alive = True
        self.response_complete = False
        self.disconnected = False

    @property
    def message_event(self) -> Cycle:
        return self

    def set(self) -> None:
        """What uvicorn calls to wake a task whose connection was lost."""
        if self.disconnected and not self.response_complete:
            self.cancel()

    @abstractmethod
    def cancel(self) -> None:
        """The caller hung up."""

    @abstractmethod
    def submit(self, body: bytes) -> None:
        """The body is whole."""

    def gather(self, piece: bytes) -> None:
        """One more piece of the body."""
        if not self.body:
            self.body = piece
        else:
            if type(self.body) is bytes:
                self.body = bytearray(self.body)
            self.body += piece

    def take(self) -> bytes:
        """The body, whole."""
        body, self.body = self.body, b""
        return bytes(body)

    def shown(self) -> Certificate | None:
        """What the connection showed of who calls."""
        return peer(self.link.transport)

    @property
    def deaf(self) -> bool:
        """Nobody takes an answer any more."""
        return self.disconnected or self.link.transport.is_closing()


class Begin(Protocol):
    """Begins what answers a path the short way; None: the long way must be gone."""

    def __call__(self, link: Link, headers: Mapping[bytes, bytes]) -> Cycle | None: ...
