"""A second request to another address where the first takes long: the first answer counts. On the event loop.

Dean, Barroso: The Tail at Scale, CACM 2013: waiting for the 95th percentile before the second one is sent bounds the
load that it adds to a twentieth.
"""

from __future__ import annotations

import asyncio
from typing import Final

from fairlead.contracts.types import Tensors
from fairlead.serve.remote.asking import Asked, Asking
from fairlead.serve.remote.left_out import Addresses
from fairlead.serve.remote.places import Places
from fairlead.serve.remote.settings import Hedge
from fairlead.serve.resilience.budget import Budget
from fairlead.serve.resilience.quantile import Quantile

_LEAST: Final = 0.2
"""Second requests in a second that are always allowed."""


class Hedging:
    """``settings`` None: there is never a second request."""

    def __init__(self, settings: Hedge | None, addresses: Addresses, places: Places) -> None:
        self._all, self._places = addresses, places
        self._quantile = Quantile(settings.quantile) if settings else None
        self._budget = Budget(settings.budget if settings else 0.0, _LEAST)

    def took(self, seconds: float, now: float) -> None:
        """One request had its answer, or was outrun, after so long."""
        if self._quantile is not None:
            self._quantile.saw(seconds, now)

    async def ask(self, asking: Asking, at: int, asked: Asked) -> Tensors:
        """What the first of them answers; of two failures the first one's."""
        if self._quantile is None:
            return await asking.once(at, asked)
        now = self._all.clock.now()
        self._budget.call(now)
        after = self._quantile.value(now)
        if after is None or now + after >= asked.deadline or not self._all.balance.able({at, *asked.tried}):
            return await asking.once(at, asked)
        first = asyncio.create_task(asking.once(at, asked))
        begun = [first]
        try:
            await asyncio.wait(begun, timeout=after)
            if not first.done() and (other := self._second(at, asked)) is not None:
                begun.append(asyncio.create_task(asking.once(other, asked)))
            return await self._race(begun)
        finally:
            asked.outrun = any(one.done() and not one.cancelled() and one.exception() is None for one in begun)
            for one in begun:
                one.cancel()
            await asyncio.gather(*begun, return_exceptions=True)
            asked.outrun = False

    async def _race(self, begun: list[asyncio.Task[Tensors]]) -> Tensors:
        pending: set[asyncio.Task[Tensors]] = set(begun)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for one in begun:
                if one in done and one.exception() is None:
                    if one is not begun[0]:
                        self._all.meter.hedge("won")
                    return one.result()
        return begun[0].result()

    def _second(self, at: int, asked: Asked) -> int | None:
        """A place at another address, when there is one now, and the budget allows it."""
        balance, now = self._all.balance, self._all.clock.now()
        other = balance.choose(now, {at, *asked.tried})
        if other is None:
            return None
        if not self._budget.take(now):
            self._all.meter.hedge("budget")
            balance.dropped(other)
            self._places.next()
            return None
        self._all.meter.hedge("sent")
        return other
