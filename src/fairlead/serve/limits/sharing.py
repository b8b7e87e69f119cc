"""Asks the store that several servers share, and goes on without it while it does not answer.

Calls of one turn of the loop, and those that come while a question is under way, are asked about together. A question
that is not answered within its budget is not waited for: those calls, and all until the store answers again, are
decided here, and what of quotas was let in meanwhile is told to it then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from fairlead.contracts.limits import Charge, Quota, SharedLimits, Verdict

log = logging.getLogger("fairlead.serve")

BUDGET: Final = 0.1
"""Seconds for an answer."""
LAG: Final = 0.01
"""Seconds more: where this process itself was busy, the answer may be there and nobody has read it yet."""
LOOK: Final = 0.25
"""Seconds between two looks whether the store is back."""
AT_ONCE: Final = 128
"""Calls in one question."""
OWED: Final = 10_000
"""Quotas of which it is known what they owe; those that come later owe nothing."""

Answer = TypeVar("Answer")

Told = Callable[[str, int], None]
"""What became of so many calls: ``asked``, or ``alone``: decided without the store."""


class Sharing:
    """``where``: for sentences, without a password. Everything on one event loop."""

    def __init__(self, store: SharedLimits, where: str, told: Told, budget: float = BUDGET) -> None:
        self._store, self._where, self._told, self._budget = store, where, told, budget
        self._waiting: list[tuple[list[Charge], asyncio.Future[Verdict | None]]] = []
        self._sending: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._why = ""
        self._owed: dict[str, Charge] = {}
        self._given: list[Charge] = []
        self._giving: asyncio.Task[None] | None = None

    def take(self, charges: list[Charge]) -> asyncio.Future[Verdict | None] | None:
        if self._why:
            self._told("alone", 1)
            return None
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Verdict | None] = loop.create_future()
        self._waiting.append((charges, answered))
        if self._sending is None:
            self._sending = loop.create_task(self._send())
        return answered

    def owe(self, charges: list[Charge]) -> None:
        for one in charges:
            if isinstance(one.limit, Quota) and one.cost:
                known = self._owed.get(one.key)
                if known is not None:
                    self._owed[one.key] = one._replace(cost=known.cost + one.cost)
                elif len(self._owed) < OWED:
                    self._owed[one.key] = one

    def give(self, charges: list[Charge]) -> None:
        """Told behind what is answered: nobody waits for it."""
        if self._why:
            self.owe(charges)
            return
        self._given += charges
        if self._giving is None:
            self._giving = asyncio.get_running_loop().create_task(self._give())

    async def _give(self) -> None:
        try:
            while self._given:
                given, self._given = self._given[:AT_ONCE], self._given[AT_ONCE:]
                try:
                    await self._in_time(self._store.add(given))
                except Exception as error:  # noqa: BLE001 - nobody waits for it
                    self.owe(given)
                    self._away(error)
        finally:
            self._giving = None

    def troubles(self) -> list[str]:
        if not self._why:
            return []
        return [f"limits are not shared with other servers now: {self._where} does not answer ({self._why})"]

    async def stop(self) -> None:
        for task in (self._sending, self._looking, self._giving):
            if task is not None:
                task.cancel()
        self._answer(self._waiting, [None] * len(self._waiting))
        await self._store.close()

    async def _send(self) -> None:
        """One question after another, while somebody waits."""
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                try:
                    verdicts = await self._in_time(self._store.take([charges for charges, _ in asked]))
                    self._answer(asked, verdicts)
                except Exception as error:  # noqa: BLE001 - calls go on whatever becomes of a store
                    self._away(error)
                    asked += self._waiting
                    self._waiting = []
                    self._told("alone", len(asked))
                    self._answer(asked, [None] * len(asked))
                except asyncio.CancelledError:
                    self._answer(asked, [None] * len(asked))
                    raise
                else:
                    self._told("asked", len(asked))
        finally:
            self._sending = None

    async def _in_time(self, asked: Coroutine[Any, Any, Answer]) -> Answer:
        """Raises TimeoutError."""
        task = asyncio.get_running_loop().create_task(asked)
        try:
            for seconds in (self._budget, LAG):
                await asyncio.wait({task}, timeout=seconds)
                if task.done():
                    return task.result()
            raise TimeoutError
        finally:
            task.cancel()

    def _answer(
        self, asked: list[tuple[list[Charge], asyncio.Future[Verdict | None]]], verdicts: Sequence[Verdict | None]
    ) -> None:
        for (_, answered), verdict in zip(asked, verdicts, strict=True):
            if not answered.done():
                answered.set_result(verdict)

    def _away(self, error: Exception) -> None:
        slow = isinstance(error, TimeoutError)
        self._why = f"no answer within {self._budget * 1000:g} ms" if slow else str(error)
        log.warning("limits are not shared", extra={"fields": {"store": self._where, "cause": self._why}})
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        """Until the store answers again: then it hears what quotas were used without it."""
        try:
            while self._why:
                await asyncio.sleep(LOOK)
                if await self._back():
                    self._why = ""
                    log.info("limits are shared again", extra={"fields": {"store": self._where}})
                    await self._back()  # what was let in while it was told
        finally:
            self._looking = None

    async def _back(self) -> bool:
        """Whether it was told what it is owed, and answered."""
        owed, self._owed = self._owed, {}
        try:
            if owed:
                await self._in_time(self._store.add(list(owed.values())))
            elif self._why:
                await self._in_time(self._store.take([]))
        except Exception:  # noqa: BLE001 - as above
            self.owe(list(owed.values()))
            return False
        return True
