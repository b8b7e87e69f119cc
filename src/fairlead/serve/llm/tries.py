"""A try at answering a request: what is behind a stage may tell before it has returned, and after it was given up.

A stage that may ask more than once gives each time a ``Try``; the request says which is current, and only that one is
heard.
"""

from __future__ import annotations

from typing import Protocol

from fairlead.contracts.engine import Event, Running
from fairlead.contracts.generation import Begun, Piece, Usage
from fairlead.serve.llm.ask import Ask, Enter


class Trying(Protocol):
    """A request."""

    def current(self, tried: Try) -> bool: ...

    def heard(self, tried: Try, event: Event) -> None:
        """Of the current one. After the last event, and after ``cancel``, another one is current, or none."""


class Try:
    """``begun``: the engine has taken it up.  ``seen``: tokens of it, as far as it was told."""

    __slots__ = ("_request", "_running", "begun", "seen")

    def __init__(self, request: Trying) -> None:
        self._request = request
        self._running: Running | None = None
        self.begun = False
        self.seen = Usage()

    def begin(self, enter: Enter, ask: Ask) -> None:
        running = enter(ask, self.hear)
        if self._request.current(self):
            self._running = running
        else:
            running.cancel()  # it is over, or was given up while it began

    def hear(self, event: Event) -> None:
        if not self._request.current(self):
            return
        if isinstance(event, Begun):
            self.begun, self.seen = True, event.usage
        elif isinstance(event, Piece):
            self.begun = True
            self.seen = self.seen._replace(output=self.seen.output + event.tokens)
        self._request.heard(self, event)

    def cancel(self) -> None:
        """The request has said that it is not current any more."""
        if self._running is not None:
            self._running.cancel()


def together(one: Usage, other: Usage) -> Usage:
    """Of two tries."""
    return Usage(*(first + second for first, second in zip(one, other, strict=True)))
