"""The addresses of one model: who is asked, who is left alone, and who is asked how it is. On the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.errors import (
    BrokenModel,
    DeadlineExceeded,
    FairleadError,
    InputError,
    ModelFailed,
    NotFound,
    QueueFull,
    SourceNotFound,
    Unavailable,
)
from fairlead.contracts.sink import EndpointMeter
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors
from fairlead.contracts.upstream import Garbled, Transport, Unreached
from fairlead.kit.clock import Clock
from fairlead.serve.remote.balance import Balance, State
from fairlead.serve.remote.described import checking, difference, signature_of

log = logging.getLogger("fairlead.serve")

DESCRIBE_SECONDS: Final = 5.0
"""For an address to say what its model takes."""
_CLOSE: Final = 0.002
"""Seconds before a deadline from which on it counts as over."""


@dataclass(frozen=True, slots=True)
class Member:
    """An address, as messages name it, and what asks it."""

    address: str
    transport: Transport


class Misanswered(ModelFailed):
    """The address is at fault, not a row of the batch: halving it would change nothing."""


class _Queue:
    """Who waits for a place at one of the addresses."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], None] = {}

    async def place(self) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[place] = None
        try:
            await place
        except asyncio.CancelledError:
            self._waiting.pop(place, None)
            if not place.cancelled():  # it was just given the place that it no longer needs
                self.next()
            raise

    def next(self) -> None:
        while self._waiting:
            place = next(iter(self._waiting))
            del self._waiting[place]
            if not place.done():  # who gave up in this turn is still here
                place.set_result(None)
                return

    def all(self) -> None:
        while self._waiting:
            self.next()


class Fleet:
    """``retries``: how often a request that got no answer is sent to another address."""

    def __init__(
        self,
        name: str,
        members: Sequence[Member],
        balance: Balance,
        *,
        retries: int,
        meter: EndpointMeter,
        clock: Clock,
    ) -> None:
        self._name, self._members, self._balance = name, members, balance
        self._retries, self._meter, self._clock = retries, meter, clock
        self._signature = Signature(())
        self._datatypes: dict[str, DataType] = {}
        self._why = [""] * len(members)
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._probes: set[asyncio.Task[None]] = set()
        self._queue = _Queue()
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
        first, self._signature = known[0]
        for at, other in known[1:]:
            if told := difference(self._signature, other):
                one, two = self._members[first].address, self._members[at].address
                raise BrokenModel(f"{two} serves another model than {one}: {told}; give each an endpoint of its own")
        self._datatypes = {spec.name: spec.datatype for spec in self._signature.inputs}
        self._check = checking(self._signature)
        for at, error in enumerate(answers):
            if isinstance(error, BaseException):
                self._out(at, self._balance.eject(at, self._clock.now()), str(error))
        return self._signature

    async def infer(self, inputs: Tensors, parameters: Parameters, rows: int, deadline: float) -> Tensors:
        """Ask one of them, and another when there is no answer. ``deadline``: absolute; the caller ends the wait."""
        avoid: set[int] = set()
        last: FairleadError = Unavailable(
            f"every address of {self._name!r} serves another model now; /readyz says what differs",
            retry_after=max(1.0, self._balance.soonest(self._clock.now())),
        )
        while self._balance.possible(avoid):
            at = self._balance.choose(self._clock.now(), avoid)
            if at is None:
                await self._queue.place()
                continue
            try:
                return await self._once(at, inputs, parameters, rows, deadline)
            except Unreached as error:
                avoid.add(at)
                wait = max(1.0, error.retry_after or self._balance.soonest(self._clock.now()))
                last = Unavailable(f"{self._members[at].address} does not answer: {error}", retry_after=wait)
            if len(avoid) > self._retries:
                break
        raise last

    def report(self) -> None:
        for member, seat in zip(self._members, self._balance.seats, strict=True):
            self._meter.upstream(member.address, seat.in_flight, seat.state in (State.OUT, State.ALIEN))

    def troubles(self) -> list[str]:
        now = self._clock.now()
        found = []
        for at, (member, seat) in enumerate(zip(self._members, self._balance.seats, strict=True)):
            what = f"upstream {member.address} of {self._name!r}"
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
        for member in self._members:
            member.transport.close()

    async def _once(self, at: int, inputs: Tensors, parameters: Parameters, rows: int, deadline: float) -> Tensors:
        member, balance, clock = self._members[at], self._balance, self._clock
        outcome, out, why, started = "cancelled", 0.0, "", clock.now()
        try:
            given = await member.transport.infer(inputs, self._datatypes, parameters, deadline - started)
            outputs = self._check(given, rows)
        except (asyncio.CancelledError, DeadlineExceeded, Unreached) as error:
            now = clock.now()
            if now >= deadline - _CLOSE or isinstance(error, DeadlineExceeded):
                outcome, why = "timeout", "it did not answer in time"
                out = balance.timed_out(at, now, now - started)
                if isinstance(error, Unreached):
                    raise DeadlineExceeded(f"{member.address} did not answer in time: {error}") from None
            elif isinstance(error, Unreached):
                outcome, why = "unreached", str(error)
                out = balance.failed(at, now)
            else:
                balance.dropped(at)
            raise
        except Garbled as error:
            outcome, why = "garbled", str(error)
            out = balance.failed(at, clock.now())
            raise Misanswered(f"{member.address} broke the protocol: {error}") from None
        except FairleadError as error:
            outcome = self._refused(at, error)
            raise type(error)(f"{member.address}: {error}", retry_after=error.retry_after) from None
        except BaseException:
            balance.dropped(at)
            outcome = "failed"
            raise
        else:
            outcome, now = "ok", clock.now()
            self._answered(at, now, now - started)
            return outputs
        finally:
            self._meter.upstream_asked(member.address, outcome)
            self._queue.next()
            if out:
                self._out(at, out, why)

    def _refused(self, at: int, error: FairleadError) -> str:
        """An answer that is an error."""
        if isinstance(error, QueueFull):
            self._balance.dropped(at)
            return "refused"
        self._answered(at, self._clock.now(), None)
        return "invalid" if isinstance(error, InputError) else "failed"

    def _answered(self, at: int, now: float, seconds: float | None) -> None:
        if self._balance.answered(at, now, seconds):  # there is room for more than the one that was its trial
            self._queue.all()

    # Those who are left out.

    def _out(self, at: int, seconds: float, why: str) -> None:
        self._why[at] = why
        fields = {"endpoint": self._name, "address": self._members[at].address, "seconds": seconds, "why": why}
        log.warning("upstream left out", extra={"fields": fields})
        if at in self._timers:
            self._timers[at].cancel()
        self._timers[at] = asyncio.get_running_loop().call_later(seconds, self._look, at)
        self._queue.all()  # who is left may have room

    def _look(self, at: int) -> None:
        if self._balance.seats[at].state in (State.OUT, State.ALIEN):
            task = asyncio.get_running_loop().create_task(self._probe(at))
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)

    async def _probe(self, at: int) -> None:
        """Is it well, and is its model still the same?"""
        try:
            theirs = await self._describe(at)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is asked again
            self._out(at, self._balance.eject(at, self._clock.now()), str(error))
            return
        if told := difference(self._signature, theirs):
            self._out(at, self._balance.alien(at, self._clock.now()), told)
            return
        self._balance.well(at)
        log.info("upstream tried", extra={"fields": {"endpoint": self._name, "address": self._members[at].address}})
        self._queue.all()

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
