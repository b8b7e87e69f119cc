"""The places of an endpoint's processes: how many are wanted, who sits there, and who is started when one is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from fairlead.contracts.sink import EndpointMeter
from fairlead.contracts.types import Tensors
from fairlead.kit.clock import Clock
from fairlead.kit.restarts import Restarts
from fairlead.kit.threads import apart
from fairlead.serve.isolated.messages import Message
from fairlead.serve.isolated.process import Order, Process

log = logging.getLogger("fairlead.serve")

CRASHED: Final = "crashed"
HUNG: Final = "hung"


class Seat:
    """One of the N places. ``process``: who answers here.  ``coming``: who is being started to.

    ``next``: when the next one is started, while nobody is here.  ``wanted``: whether somebody should be.
    ``starting``: whether somebody is about to.  ``lost``: whether the one that was here ended unasked.
    """

    def __init__(self, index: int, restarts: Restarts) -> None:
        self.index = index
        self.restarts = restarts
        self.process: Process | None = None
        self.coming: Process | None = None
        self.next = 0.0
        self.wanted = self.starting = self.lost = False


class User(Protocol):
    """Whoever gives the seats work; called on the event loop."""

    def taken(self, seat: Seat) -> None:
        """A process answers here from now on, or could not be started."""

    def received(self, seat: Seat, message: Message, outputs: Tensors) -> None:
        """It said something."""

    def lost(self, seat: Seat, why: str) -> None:
        """It is no more: ``crashed`` or ``hung``."""


class Seats:
    """``processes``: loaded ones.  ``most``: places, where more may be wanted.  ``begin``: how one is started."""

    def __init__(
        self,
        order: Order,
        processes: Sequence[Process],
        meter: EndpointMeter,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        begin: Callable[[Order, int], Process] = Process,
        most: int = 0,
    ) -> None:
        self._order = order
        self._meter = meter
        self._clock = clock
        self._loop = loop
        self._begin = begin
        self._user: User | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._closed = threading.Event()
        self._fields = {"endpoint": order.endpoint, "version": order.version}
        self.all = [Seat(place, Restarts(clock)) for place in range(max(most, len(processes)))]
        for process in processes:
            seat = self.all[process.place]
            seat.process, seat.wanted = process, True
            seat.restarts.ready()

    def attach(self, user: User) -> None:
        """Listen to all; from any thread."""
        self._user = user
        for seat in self.all:
            self._loop.call_soon_threadsafe(self._attach, seat)

    @property
    def ready(self) -> int:
        """How many answer and are to stay."""
        return sum(seat.wanted and seat.process is not None for seat in self.all)

    @property
    def resident(self) -> int:
        """Bytes of memory that they have together."""
        return sum(seat.process.resident for seat in self.all if seat.process is not None)

    def want(self, count: int) -> list[Seat]:
        """Have so many places filled: starts who is missing; gives back whose process is to go when it is free."""
        wanted = [seat for seat in self.all if seat.wanted]
        spare = [seat for seat in self.all if not seat.wanted]
        spare.sort(key=lambda seat: seat.process is None and seat.coming is None)  # who is still here stays
        for seat in spare[: max(0, count - len(wanted))]:
            seat.wanted = True
            if seat.process is None and not seat.starting:
                self._start_in(seat, 0.0)
        wanted.sort(key=lambda seat: (seat.process is not None, -seat.index))  # who is not here need not come
        gone = wanted[: max(0, len(wanted) - count)]
        for seat in gone:
            seat.wanted = seat.lost = False
        return [seat for seat in gone if seat.process is not None]

    def release(self, seat: Seat) -> None:
        """Let its process go: it is free and not wanted."""
        process, seat.process = seat.process, None
        if process is not None:
            process.close()

    def report(self) -> None:
        self._meter.processes(sum(seat.process is not None for seat in self.all), self.resident)

    def troubles(self) -> list[str]:
        down = 0 if self._closed.is_set() else sum(seat.lost for seat in self.all)
        wanted = sum(seat.wanted for seat in self.all)
        name = f"{self._order.endpoint} version {self._order.version}"
        return [f"{name}: {down} of its {wanted} processes ended and are started again"] if down else []

    def away(self) -> float:
        """Seconds until somebody is here or started; 0 where somebody is, or nobody is wanted."""
        wanted = [seat for seat in self.all if seat.wanted]
        if not wanted or any(seat.process is not None or seat.coming is not None for seat in wanted):
            return 0.0
        return max(0.0, min(seat.next for seat in wanted) - self._clock.now())

    def hung(self, seat: Seat, seconds: float) -> None:
        """It does not answer: end it."""
        process = seat.process
        if process is not None and not self._closed.is_set():
            process.kill()
            process.close()
            self._lost(seat, process, HUNG, f"no answer in {seconds:g} seconds")

    def close(self) -> None:
        self._closed.set()
        for timer in self._timers:
            timer.cancel()
        for seat in self.all:
            for process in (seat.process, seat.coming):
                if process is not None:
                    process.close()

    def _attach(self, seat: Seat) -> None:
        process, user = seat.process, self._user
        if self._closed.is_set() or process is None or user is None:
            return
        process.attach(
            self._loop,
            lambda message, outputs: user.received(seat, message, outputs),
            lambda: self._lost(seat, process, CRASHED, process.ending),
        )

    def _lost(self, seat: Seat, process: Process, why: str, how: str) -> None:
        seat.process = None
        delay = seat.restarts.crashed()
        told = {"process": seat.index, "pid": process.pid, "why": why, "how": how}
        told |= {"crashes": seat.restarts.crashes, "again_in": delay}
        log.error("model process lost", extra={"fields": {**self._fields, **told}})
        self._meter.replaced(why)
        if seat.wanted:
            seat.lost = True
            self._start_in(seat, delay)
        assert self._user is not None  # noqa: S101 - attach set it
        self._user.lost(seat, why)

    def _start_in(self, seat: Seat, delay: float) -> None:
        seat.next, seat.starting = self._clock.now() + delay, True

        def begin() -> None:
            self._timers.discard(timer)
            if not seat.wanted:
                seat.starting = False
                return
            starting = apart(self._loop, f"{self._order.endpoint}-starting", self._start, seat)
            starting.add_done_callback(lambda done: self._started(seat, done))

        timer = self._loop.call_later(delay, begin)
        self._timers.add(timer)

    def _start(self, seat: Seat) -> Process | None:
        """In a thread: starting and loading block."""
        if self._closed.is_set():
            return None
        process = seat.coming = self._begin(self._order, seat.index)
        if self._closed.is_set():  # since: it was not seen there
            process.close()
        try:
            process.load(measure=False)
        except BaseException:
            process.close()
            raise
        return process

    def _started(self, seat: Seat, done: asyncio.Future[Process | None]) -> None:
        seat.coming, seat.starting = None, False
        if done.cancelled():
            return
        error = done.exception()
        if self._closed.is_set():
            return
        if not seat.wanted:  # any more
            if error is None and (late := done.result()) is not None:
                late.close()
            return
        assert self._user is not None  # noqa: S101 - attach set it
        if error is not None:
            delay, seat.lost = seat.restarts.crashed(), True
            told = {"process": seat.index, "error": str(error), "again_in": delay}
            log.error("model process not started", extra={"fields": {**self._fields, **told}})
            self._start_in(seat, delay)
        elif (process := done.result()) is not None:
            seat.process, seat.lost = process, False
            seat.restarts.ready()
            self._attach(seat)
            log.info("model process started", extra={"fields": {**self._fields, "pid": process.pid}})
        self._user.taken(seat)
