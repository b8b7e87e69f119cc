"""An answer that something was taken for in advance: it is settled once, whichever way it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from fairlead.contracts.engine import Event, Running, Tell
from fairlead.contracts.generation import Begun, Ended, Piece, Usage
from fairlead.contracts.ledger import How
from fairlead.serve.llm.ask import KEPT, Ask, Enter
from fairlead.serve.llm.seen import Seen


class Charged(ABC):
    """``Running``. What comes from behind is passed on as it is, until the answer is over or nobody wants it."""

    __slots__ = ("_running", "_tell", "ask", "seen")

    def __init__(self, ask: Ask, tell: Tell) -> None:
        self.ask, self.seen = ask, Seen(ask)
        self._tell: Tell | None = tell
        self._running: Running | None = None

    @abstractmethod
    def settle(self, usage: Usage, how: How) -> None:
        """What it was in the end: nothing where an answer that was kept was told."""

    def heard(self, event: Begun | Piece) -> None:  # noqa: B027 - not all count while it is made
        """``seen`` knows of it."""

    def asked(self) -> bool:
        """Whether one that is cancelled has to be paid for, though nothing was heard of it yet."""
        return False

    def begin(self, after: Enter) -> Self:
        running = after(self.ask, self._hear)
        self._running = running
        if self._tell is None:
            running.cancel()  # it ended, or was cancelled by what it told
        return self

    def cancel(self) -> None:
        if self._tell is None:
            return
        self._tell = None
        asked = self._running is not None and self.asked()
        if self._running is not None:
            self._running.cancel()
        self._settle(self.seen.usage() if self.seen.begun or asked else Usage(), "cancelled")

    def _hear(self, event: Event) -> None:
        tell = self._tell
        if tell is None:
            return
        if type(event) is Piece or type(event) is Begun:
            self.seen.hear(event)
            self.heard(event)
        else:
            self._tell = None
            if isinstance(event, Ended):
                self._settle(event.usage if sum(event.usage) else self.seen.usage(), "settled")
            else:
                self._settle(self.seen.usage() if self.seen.begun else Usage(), "failed")
        tell(event)

    def _settle(self, usage: Usage, how: How) -> None:
        self.settle(Usage() if KEPT in self.ask.notes.facts else usage, how)
