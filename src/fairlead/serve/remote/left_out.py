"""Those who are left out: for how long, who asks how they are, and what is said of them. On the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fairlead.contracts.sink import EndpointMeter
from fairlead.contracts.types import Signature
from fairlead.contracts.upstream import Transport
from fairlead.kit.clock import Clock
from fairlead.serve.remote.balance import UNWELL, Balance, State
from fairlead.serve.remote.described import difference
from fairlead.serve.remote.outliers import Outliers

log = logging.getLogger("fairlead.serve")


@dataclass(frozen=True, slots=True)
class Member:
    """An address, as messages name it, and what asks it."""

    address: str
    transport: Transport


@dataclass(frozen=True, slots=True)
class Addresses:
    """Those of one endpoint, and what is known of them."""

    endpoint: str
    members: Sequence[Member]
    balance: Balance
    outliers: Outliers
    meter: EndpointMeter
    clock: Clock


class LeftOut:
    """``describe``: asks one of them what its model takes.  ``changed``: called when somebody else may have room."""

    def __init__(
        self, addresses: Addresses, describe: Callable[[int], Awaitable[Signature]], changed: Callable[[], None]
    ) -> None:
        self.signature = Signature(())
        self._all, self._balance = addresses, addresses.balance
        self._describe, self._changed = describe, changed
        self._why = [""] * len(addresses.members)
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._probes: set[asyncio.Task[None]] = set()

    def out(self, at: int, seconds: float, why: str) -> None:
        """The balance left it out for so long; afterwards it is asked how it is."""
        self._why[at] = why
        address, reason = self._all.members[at].address, self._balance.seats[at].reason
        fields = {"endpoint": self._all.endpoint, "address": address, "seconds": seconds, "reason": reason, "why": why}
        log.warning("upstream left out", extra={"fields": fields})
        self._all.meter.ejected(address, reason)
        self._later(at, seconds)
        for other, sooner in self._balance.hasten(self._all.clock.now()):
            self._later(other, sooner)
        self._changed()

    def troubles(self) -> list[str]:
        now = self._all.clock.now()
        found = []
        for at, (member, seat) in enumerate(zip(self._all.members, self._balance.seats, strict=True)):
            what = f"upstream {member.address} of {self._all.endpoint!r}"
            if seat.state is State.OUT:
                found.append(f"{what} is left out for {max(0.0, seat.until - now):.0f} seconds: {self._why[at]}")
            elif seat.state is State.ALIEN:
                found.append(f"{what} serves another model and is left out until it agrees: {self._why[at]}")
        return found

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for task in self._probes:
            task.cancel()

    async def probe(self, at: int) -> None:
        """Is it well, and is its model still the same?"""
        now = self._all.clock.now
        try:
            theirs = await self._describe(at)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is asked again
            self.out(at, self._balance.eject(at, now(), UNWELL), str(error))
            return
        if told := difference(self.signature, theirs):
            self.out(at, self._balance.alien(at, now()), told)
            return
        self._all.outliers.forget(at)
        self._balance.well(at)
        fields = {"endpoint": self._all.endpoint, "address": self._all.members[at].address}
        log.info("upstream tried", extra={"fields": fields})
        self._changed()

    def _later(self, at: int, seconds: float) -> None:
        if at in self._timers:
            self._timers[at].cancel()
        self._timers[at] = asyncio.get_running_loop().call_later(seconds, self._look, at)

    def _look(self, at: int) -> None:
        if self._balance.seats[at].state in (State.OUT, State.ALIEN):
            task = asyncio.get_running_loop().create_task(self.probe(at))
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)
