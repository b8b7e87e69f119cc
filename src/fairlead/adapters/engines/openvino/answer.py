"""One answer of the embedded engine, as the server sees it: it tells in order, and nothing after its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Usage
from fairlead.contracts.tokens import TokenEvent, Tokens, TokensBegun, TokensEnded

log = logging.getLogger("fairlead.engines")

Tell = Callable[[TokenEvent], None]


class Owner(Protocol):
    def dropped(self, answer: Answer) -> None:
        """Nobody wants it any more."""


class Answer:
    """``prompt``: its tokens.  ``begun``: whether the engine has taken it up."""

    __slots__ = ("_cached", "_made", "_owner", "_tell", "begun", "number", "prompt")

    def __init__(self, owner: Owner, number: int, prompt: int, tell: Tell) -> None:
        self.number, self.prompt = number, prompt
        self.begun = False
        self._owner = owner
        self._tell: Tell | None = tell
        self._cached = self._made = 0

    def begin(self, cached: int) -> None:
        self.begun, self._cached = True, cached
        self._say(TokensBegun(self._usage()))

    def more(self, ids: list[int], logprobs: list[float]) -> None:
        self._made += len(ids)
        self._say(Tokens(tuple(ids), tuple(logprobs)))

    def end(self, stopped: bool) -> None:
        self._last(TokensEnded(stopped, self._usage()))

    def fail(self, error: FairleadError) -> None:
        self._last(error)

    def cancel(self) -> None:
        """Nothing more is told."""
        if self._tell is not None:
            self._tell = None
            self._owner.dropped(self)

    def _usage(self) -> Usage:
        return Usage(self.prompt - self._cached, self._cached, self._made)

    def _say(self, event: TokenEvent) -> None:
        if self._tell is not None:
            _told(self._tell, event)

    def _last(self, event: TokenEvent) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            _told(tell, event)


def _told(tell: Tell, event: TokenEvent) -> None:
    """Whoever listens badly hurts nobody else: one message tells all answers of a step."""
    try:
        tell(event)
    except Exception:
        log.exception("who listens to an answer raised")
