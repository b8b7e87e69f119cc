"""One who is told an answer, and minds the promises of ``contracts.engine``."""

from __future__ import annotations

import asyncio

from fairlead.contracts.engine import Event
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Begun, Ended, Piece


class Heard:
    """A ``Tell``. ``cancelled``: set by whoever cancelled: from then on nothing may come.

    ``over``: the last thing was told.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.over = asyncio.Event()
        self.cancelled = False
        self._wrong: list[str] = []

    def __call__(self, event: Event) -> None:
        if self.cancelled:
            self._wrong.append(f"told after it was cancelled: {event!r}")
        if self.over.is_set():
            self._wrong.append(f"told after the end: {event!r}")
        if isinstance(event, Begun) and self.events:
            self._wrong.append(f"Begun is not the first: {self.events[:3]!r}")
        self.events.append(event)
        if isinstance(event, Ended | FairleadError):
            self.over.set()

    def check(self) -> None:
        """Raises AssertionError for a promise that was broken."""
        if self._wrong:
            raise AssertionError("; ".join(self._wrong[:3]))

    @property
    def pieces(self) -> list[Piece]:
        return [event for event in self.events if isinstance(event, Piece)]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def ended(self) -> Ended:
        """Raises AssertionError where it ended otherwise."""
        last = self.events[-1] if self.events else None
        if not isinstance(last, Ended):
            raise AssertionError(f"it ends with Ended, not with {last!r}")  # noqa: TRY004 - it is an assertion
        return last
