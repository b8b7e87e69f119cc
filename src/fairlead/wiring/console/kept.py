"""The stores that the console reads, opened when they are first asked for, and again after they were down."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass

from fairlead.contracts.errors import FairleadError, MissingExtra
from fairlead.contracts.events import EventStore
from fairlead.contracts.ledger import Budget
from fairlead.contracts.state import StateStore
from fairlead.contracts.stores import Registry
from fairlead.kit.config import Home
from fairlead.wiring import stores, watching
from fairlead.wiring.llm import traced


@dataclass(frozen=True, slots=True)
class Kept:
    """``names``: endpoints of the spec, in its order; none without a spec.  ``server``: where models are tried; empty:
    the server that runs on the home.  ``cert``: what it answers with.

    ``chats``: whether there are language models among them.  ``budgets``: of the spec.  ``audit_key``: of a log that is
    sealed, ``env:NAME`` or ``file:PATH``.
    """

    home: Home
    names: tuple[str, ...] = ()
    server: str = ""
    cert: str = ""
    chats: bool = False
    budgets: tuple[Budget, ...] = ()
    audit_key: str = ""

    @property
    def state(self) -> StateStore:
        """Raises MissingExtra."""
        if not watching.has_state():
            raise MissingExtra("the console reads the state store: pip install 'fairlead[registry]'")
        return stores.state(self.home)

    @property
    def events(self) -> EventStore | None:
        """None where its libraries are not installed."""
        return stores.events(self.home) if watching.has_events() else None

    @property
    def registry(self) -> Registry:
        return stores.registry(self.home)

    @property
    def speaks(self) -> bool:
        """Whether language models are, or were, served from here."""
        return self.chats or traced.folder(self.home).is_dir() or (self.home.root / "ledger").is_dir()


def warm(kept: Kept) -> None:
    """Open the stores in a thread, so that the first page need not wait for the libraries behind them."""

    def opening() -> None:
        for one in ("state", "registry", "events"):
            with contextlib.suppress(FairleadError):
                getattr(kept, one)

    threading.Thread(target=opening, name="fairlead-warm", daemon=True).start()
