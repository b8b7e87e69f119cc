"""The addresses of one model: who is asked, and who is asked next when there is no answer. On the event loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.errors import (
    BrokenModel,
    CircuitOpen,
    FairleadError,
    ModelFailed,
    NotFound,
    Overloaded,
    QueueFull,
    SourceNotFound,
    Unavailable,
)
from fairlead.contracts.sink import EndpointMeter
from fairlead.contracts.types import Signature, Tensors
from fairlead.contracts.upstream import Garbled, Unreached
from fairlead.kit.clock import Clock
from fairlead.serve.remote.asking import Asked, Asking, Misanswered
from fairlead.serve.remote.balance import UNWELL, Balance, State
from fairlead.serve.remote.described import difference, signature_of
from fairlead.serve.remote.hedging import Hedging
from fairlead.serve.remote.left_out import Addresses, LeftOut, Member
from fairlead.serve.remote.outliers import Outliers
from fairlead.serve.remote.places import Places
from fairlead.serve.remote.settings import Hedge, Outlying
from fairlead.serve.resilience.backoff import Backoff
from fairlead.serve.resilience.budget import Budget

DESCRIBE_SECONDS: Final = 5.0
"""For an address to say what its model takes."""


@dataclass(frozen=True, slots=True)
class Persistence:
    """``retries``: of a request that got no answer, within ``budget`` (a share of all), after ``backoff`` where an
    address is asked again.  ``idempotent`` False: only of one that was never sent.
    """

    retries: int = 1
    backoff: Backoff = Backoff()
    budget: float = 0.2
    idempotent: bool = True
    hedge: Hedge | None = None
    outlying: Outlying = Outlying()


class Fleet:
    """Retries, hedges and ejection over ``members``. ``chance``: the jitter of pauses."""

    def __init__(
        self,
        name: str,
        members: Sequence[Member],
        balance: Balance,
        how: Persistence,
        *,
        meter: EndpointMeter,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._name, self._members, self._balance, self._how = name, members, balance, how
        self._meter, self._clock, self._chance = meter, clock, chance
        self._places = Places()
        outliers = Outliers(balance.seats, how.outlying)
        addresses = Addresses(name, members, balance, outliers, meter, clock)
        self._left_out = LeftOut(addresses, self._describe, self._places.all)
        self._hedging = Hedging(how.hedge, addresses, self._places)
        places = self._places
        self._asking = Asking(addresses, self._left_out, places.next, places.all, self._hedging.took)
        self._budget = Budget(how.budget if how.retries else 0.0)
        self.platform = ""

    async def open(self) -> Signature:
        """Ask all of them what the model takes. Those that answer agree, those that do not are asked again later.

        Raises Unavailable when none answers, SourceNotFound when they have no such model, BrokenModel when they
        disagree or describe none that can be served.
        """
        asked = [self._describe(at) for at in range(len(self._members))]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        known = [(at, one) for at, one in enumerate(answers) if isinstance(one, Signature)]
        if not known:
            raise _none(self._name, self._members, answers)
        first, signature = known[0]
        for at, other in known[1:]:
            if told := difference(signature, other):
                one, two = self._members[first].address, self._members[at].address
                raise BrokenModel(f"{two} serves another model than {one}: {told}; give each an endpoint of its own")
        self._left_out.signature = signature
        self._asking.takes(signature)
        for at, error in enumerate(answers):
            if isinstance(error, BaseException):
                self._left_out.out(at, self._balance.eject(at, self._clock.now(), UNWELL), str(error))
        return signature

    async def infer(self, asked: Asked, *, again: bool = True) -> Tensors:
        """Ask one of them, and try again when there is no answer; the caller ends the wait at the deadline.

        ``again``: whether an error of the model is shown to another address too. Raises CircuitOpen while all are out.
        """
        self._budget.call(self._clock.now())
        at = await self._place(asked)
        retry = pauses = 0
        while True:
            try:
                return await self._hedging.ask(self._asking, at, asked)
            except (Unreached, QueueFull, Overloaded, ModelFailed) as error:
                last = self._final(at, error)
                wait = self._wait(error, asked, pauses, again=again) if retry < self._how.retries else None
                if wait is None:
                    raise last from None
            if not self._budget.take(self._clock.now()):
                self._meter.retry("budget")
                raise last
            self._meter.retry("sent")
            retry += 1
            if wait:
                pauses += 1
                asked.tried.clear()
                await asyncio.sleep(wait)
            at = await self._place(asked, last)

    def report(self) -> None:
        for member, seat in zip(self._members, self._balance.seats, strict=True):
            self._meter.upstream(member.address, seat.in_flight, seat.state in (State.OUT, State.ALIEN))

    def troubles(self) -> list[str]:
        return self._left_out.troubles()

    def close(self) -> None:
        self._left_out.close()
        for member in self._members:
            member.transport.close()

    async def _place(self, asked: Asked, last: FairleadError | None = None) -> int:
        """A place at one of those that were not tried since the last pause. ``last``: why it was not answered yet."""
        while True:
            at = self._balance.choose(self._clock.now(), asked.tried)
            if at is not None:
                return at
            if not self._balance.able(asked.tried):
                raise last or self._nobody()
            await self._places.place()

    def _wait(
        self, error: Unreached | QueueFull | Overloaded | ModelFailed, asked: Asked, pauses: int, *, again: bool
    ) -> float | None:
        """Seconds until it may be asked again, 0 where another address is asked; None: it may not, or is too late."""
        sent = not isinstance(error, Unreached) or error.sent
        if sent and not self._how.idempotent and not isinstance(error, QueueFull | Overloaded):
            return None
        if isinstance(error, ModelFailed) and (isinstance(error, Misanswered) or not again):
            return None
        if self._balance.able(asked.tried):
            return 0.0
        if isinstance(error, ModelFailed) or not self._balance.able():
            return None
        left = asked.deadline - self._clock.now()
        wait = self._how.backoff.pause(pauses, self._chance.random(), left, error.retry_after)
        if wait is None:
            self._meter.retry("deadline")
        return wait

    def _final(self, at: int, error: Unreached | QueueFull | Overloaded | ModelFailed) -> FairleadError:
        """What its callers are told when it is not tried again."""
        if not isinstance(error, Unreached):
            return error
        after = max(1.0, error.retry_after or self._balance.soonest(self._clock.now()))
        return Unavailable(f"{self._members[at].address} does not answer: {error}", retry_after=after)

    def _nobody(self) -> FairleadError:
        after = max(1.0, self._balance.soonest(self._clock.now()))
        if all(seat.state is State.ALIEN for seat in self._balance.seats):
            told = f"every address of {self._name!r} serves another model now; /readyz says what differs"
            return Unavailable(told, retry_after=after)
        told = f"every address of {self._name!r} is left out, and one is asked again in {after:.0f} seconds"
        return CircuitOpen(f"{told}; /readyz says why", retry_after=after)

    async def _describe(self, at: int) -> Signature:
        member = self._members[at]
        try:
            async with asyncio.timeout(DESCRIBE_SECONDS):
                found = await member.transport.describe()
        except TimeoutError:
            raise Unreached(f"it did not describe its model within {DESCRIBE_SECONDS:g} seconds") from None
        self.platform = self.platform or found.platform
        return signature_of(found, member.address)


def _none(name: str, members: Sequence[Member], answers: Sequence[object]) -> FairleadError:
    """Why nobody can be asked."""
    told = "; ".join(f"{member.address}: {error}" for member, error in zip(members, answers, strict=True))
    if broken := next((one for one in answers if isinstance(one, BrokenModel)), None):
        return broken
    if any(isinstance(one, NotFound) for one in answers):
        return SourceNotFound(f"{told}; name the model that is there")
    if any(isinstance(one, Garbled) for one in answers):
        return BrokenModel(f"{told}; is it a server of the Open Inference Protocol?")
    return Unavailable(f"no address of {name!r} answers ({told}); start one of them or correct the address")
