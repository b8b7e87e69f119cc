"""The places of an endpoint's processes: who sits there, and who is started when one died or hung."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from fairlead.contracts.sink import EndpointMeter
from fairlead.contracts.types import Tensors
from fairlead.kit.clock import Clock
from fairlead.serve.isolated.messages import Message
from fairlead.serve.isolated.process import Order, Process
from fairlead.serve.restarts import Restarts

log = logging.getLogger("fairlead.serve")

CRASHED: Final = "crashed"
HUNG: Final = "hung"


class Seat:
    """One of the N places. ``process``: who answers here.  ``coming``: who is being started to.

    ``next``: when the next one is started, while nobody is here.
    """

    def __init__(self, index: int, restarts: Restarts) -> None:
        self.index = index
        self.restarts = restarts
        self.process: Process | None = None
        self.coming: Process | None = None
        self.next = 0.0


class User(Protocol):
    """Whoever gives the seats work; called on the event loop."""

    def taken(self, seat: Seat) -> None:
        """A process answers here again."""

    def received(self, seat: Seat, message: Message, outputs: Tensors) -> None:
        """It said something."""

    def lost(self, seat: Seat, why: str) -> None:
        """It is no more: ``crashed`` or ``hung``."""


class Seats:
    """``processes``: loaded ones.  ``begin``: how one is started."""

    def __init__(
        self,
        order: Order,
        processes: Sequence[Process],
        meter: EndpointMeter,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        begin: Callable[[Order, int], Process] = Process,
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
        self.all = [Seat(process.place, Restarts(clock)) for process in processes]
        for seat, process in zip(self.all, processes, strict=True):
            seat.process = process
            seat.restarts.ready()

    def attach(self, user: User) -> None:
        """Listen to all; from any thread."""
        self._user = user
        for seat in self.all:
            self._loop.call_soon_threadsafe(self._attach, seat)

    def report(self) -> None:
        live = [seat.process for seat in self.all if seat.process is not None]
        self._meter.processes(len(live), sum(process.resident for process in live))

    def troubles(self) -> list[str]:
        down = 0 if self._closed.is_set() else sum(seat.process is None for seat in self.all)
        name = f"{self._order.endpoint} version {self._order.version}"
        return [f"{name}: {down} of its {len(self.all)} processes ended and are started again"] if down else []

    def away(self) -> float:
        """Seconds until somebody is here or started; 0 where somebody is."""
        if any(seat.process is not None or seat.coming is not None for seat in self.all):
            return 0.0
        return max(0.0, min(seat.next for seat in self.all) - self._clock.now())

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
        self._start_in(seat, delay)
        assert self._user is not None  # noqa: S101 - attach set it
        self._user.lost(seat, why)

    def _start_in(self, seat: Seat, delay: float) -> None:
        seat.next = self._clock.now() + delay

        def begin() -> None:
            self._timers.discard(timer)
            starting = self._loop.run_in_executor(None, self._start, seat)
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
        seat.coming = None
        if done.cancelled():
            return
        error = done.exception()
        if self._closed.is_set():
            return
        assert self._user is not None  # noqa: S101 - attach set it
        if error is not None:
            delay = seat.restarts.crashed()
            told = {"process": seat.index, "error": str(error), "again_in": delay}
            log.error("model process not started", extra={"fields": {**self._fields, **told}})
            self._start_in(seat, delay)
        elif (process := done.result()) is not None:
            seat.process = process
            seat.restarts.ready()
            self._attach(seat)
            log.info("model process started", extra={"fields": {**self._fields, "pid": process.pid}})
        self._user.taken(seat)
