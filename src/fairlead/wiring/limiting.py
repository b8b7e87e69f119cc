"""What counts limits for a server: this process, the workers of the machine, or several servers through a store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fairlead.contracts.limits import Limits
from fairlead.contracts.sink import Sink
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.kit.sentences import without_secrets
from fairlead.serve.limits.book import Alone, Book, Together
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.limits.rules import Rules
from fairlead.serve.limits.sharing import Sharing
from fairlead.serve.limits.table import PLACES, Table

EVERY: Final = 1.0
"""Seconds between two times that quotas are kept."""


@dataclass(frozen=True, slots=True)
class Limiting:
    """``redis``: URL of the store that several servers share; empty for none."""

    rules: Rules = Rules()
    redis: str = ""


def limiter(
    asked: Limiting, home: Home, workers: int, place: int, sink: Sink, *, named: bool
) -> tuple[Limiter, list[Any]]:
    """The limiter of one process, and what lives beside the server for it. ``named``: callers say who they are."""
    rules, sharing = replace(asked.rules, named=named), None
    if not _any(rules):
        return Limiter(rules, SystemClock(), sink.limited), []
    if asked.redis:
        store = plugins.load("fairlead.limits", asked.redis.partition("://")[0])(asked.redis)
        sharing = Sharing(store, without_secrets(asked.redis), sink.shared_limits)
    book: Book = Alone()
    if workers > 1 or _dated(rules):
        several = workers if workers > 1 else PLACES  # one alone counts no calls in flight there
        table = Table(home.root / "limits", place, several)
        book = Together(table) if workers > 1 else Alone(table)
    found = Limiter(rules, SystemClock(), sink.limited, book, sharing)
    return found, [Keeping(found, sharing)]


def _any(rules: Rules) -> bool:
    return (
        rules.named
        or bool(rules.every or rules.tenants)
        or any(one.own or one.each or one.either for one in rules.endpoints.values())
    )


def _dated(rules: Rules) -> bool:
    """Whether there can be quotas."""
    every: list[Limits] = [rules.every, *rules.tenants.values()]
    every += [limits for one in rules.endpoints.values() for limits in (one.own, one.each, one.either)]
    return rules.named or any(one.quotas for one in every)


class Keeping:
    """Companion: keeps the quotas, and closes the store."""

    def __init__(self, limiter: Limiter, sharing: Sharing | None) -> None:
        self._limiter, self._sharing = limiter, sharing
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._limiter.settle()
        self._next = asyncio.get_running_loop().call_later(EVERY, self.start)

    def drain(self) -> None:
        """What still comes is counted."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._limiter.settle()
        if self._sharing is not None:
            await self._sharing.stop()

    def troubles(self) -> Sequence[str]:
        return [*self._limiter.troubles(), *(self._sharing.troubles() if self._sharing else [])]
