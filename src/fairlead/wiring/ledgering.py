"""What counts spending for a server: the store of this machine, the budgets of the spec, what is done now and then."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from fairlead.contracts.errors import FairleadError, NotFound
from fairlead.contracts.ledger import EACH, Budget, LedgerOptions, LedgerStore
from fairlead.contracts.sink import Sink
from fairlead.kit import plugins
from fairlead.kit.clock import Clock, SystemClock
from fairlead.kit.config import Home
from fairlead.kit.files import locked, write_whole
from fairlead.serve.llm.ledger.books import Books, balance
from fairlead.serve.llm.ledger.ledger import Ledger
from fairlead.serve.llm.ledger.prices import PriceBook
from fairlead.serve.llm.ledger.shares import Shares
from fairlead.wiring import stores
from fairlead.wiring.budgeting import Ledgering

log = logging.getLogger("fairlead.serve")

EVERY: Final = 1.0
"""Seconds between two times that what was settled is made to outlive the machine's power."""
SHOWN: Final = 5
"""Of these times one tells the metrics how budgets stand."""


def store(home: Home, days: int = 0) -> LedgerStore:
    """The ledger of this machine. Raises StorageFull."""
    found: LedgerStore = plugins.load("fairlead.ledgers", "file")(LedgerOptions(str(home.root / "ledger"), days))
    return found


@contextmanager
def opened(home: Home) -> Iterator[LedgerStore]:
    """The ledger of a home that has one, once what servers that have ended left is settled. Raises NotFound."""
    if not (home.root / "ledger").is_dir():
        raise NotFound(f"nothing was spent in {home.root}: no language model with budgets or prices ran there")
    found = store(home)
    try:
        found.tick(SystemClock.wall_ms())
        yield found
    finally:
        found.close()


def ledger(asked: Ledgering, home: Home, clock: Clock, sink: Sink, *, named: bool) -> tuple[Ledger | None, list[Any]]:
    """The ledger of one process, and what lives beside the server for it. ``named``: callers say who they are."""
    if not (asked.wanted or named):
        return None, []
    kept = store(home, asked.days)
    found = Ledger(
        kept,
        PriceBook(asked.prices),
        Books(asked.budgets),
        clock,
        sink,
        project=asked.project,
        closed=asked.closed,
        shares=Shares(stores.state(home), _machine(home)) if asked.shared else None,
    )
    shown = {balance(one, "", "", ""): one for one in asked.budgets if EACH not in (one.tenant, one.key, one.endpoint)}
    return found, [Keeping(found, sink, shown)]


def _machine(home: Home) -> str:
    """The name of this home among those that share budgets: made once, the same for all workers."""
    path = home.root / "ledger" / "machine"
    with locked(path.with_name("machine.lock")):
        if not path.exists():
            write_whole(path, secrets.token_hex(8).encode())
        return path.read_text().strip()


class Keeping:
    """Companion: settles what waits and what dead processes left, and keeps it for good. ``shown``: in metrics."""

    def __init__(self, ledger: Ledger, sink: Sink, shown: dict[str, Budget]) -> None:
        self._ledger, self._sink, self._shown = ledger, sink, shown
        self._next: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Future[None] | None = None
        self._turns = 0

    def start(self) -> None:
        self._ledger.tick()
        loop = asyncio.get_running_loop()
        if self._flushing is None or self._flushing.done():
            self._flushing = loop.run_in_executor(None, self._flush)
        if self._shown and self._turns % SHOWN == 0:
            self._show()
        self._turns += 1
        self._next = loop.call_later(EVERY, self.start)

    def drain(self) -> None:
        """What still comes is counted."""

    def busy(self) -> bool:
        return False

    async def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()
        if self._flushing is not None:
            await self._flushing
        self._ledger.tick()
        await asyncio.get_running_loop().run_in_executor(None, self._flush)
        self._ledger.store.close()

    def troubles(self) -> Sequence[str]:
        return self._ledger.troubles()

    def _flush(self) -> None:
        try:
            self._ledger.store.flush()
        except (FairleadError, OSError) as error:
            log.warning("the ledger is not flushed", extra={"fields": {"cause": str(error)}})

    def _show(self) -> None:
        now = self._ledger.now()
        try:
            stands = {one.key: one for one in self._ledger.store.balances()}
        except FairleadError:
            return  # said by ``troubles``
        for key, budget in self._shown.items():
            one = stands.get(key)
            settled, reserved = (one.settled, one.reserved) if one and one.ends > now else (0, 0)
            self._sink.budget(budget.name, budget.currency, budget.amount, settled, reserved)
