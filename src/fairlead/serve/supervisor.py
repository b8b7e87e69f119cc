"""Several worker processes behind one port.

The supervisor owns the listening socket and loads no model. It accepts, and hands each connection to the worker that
``Spread`` names; starts a worker again when one ends; and adds up what they measured. SIGTERM and SIGINT: shut the
door, let the workers drain. SIGHUP: replace the workers one after the other, each when its successor is ready.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.sink import Sink
from fairlead.kit.clock import Clock
from fairlead.kit.restarts import Restarts
from fairlead.serve.door import LULL, Shared
from fairlead.serve.messages import (
    Closed,
    Collect,
    Done,
    Failed,
    Leaving,
    Measured,
    Missed,
    Order,
    Ready,
    Taken,
    raised,
)
from fairlead.serve.orders import Orders
from fairlead.serve.process import Command, Place, Process, State
from fairlead.serve.reception import Reception
from fairlead.serve.rolling import Rolling
from fairlead.serve.scrapes import Scrapes
from fairlead.serve.settings import ServerSettings

log = logging.getLogger("fairlead.serve")

LINGER: Final = 2.0
"""Seconds that a silent connection keeps a worker that is being replaced: nobody is in a hurry then."""

MARGIN: Final = 1.0
"""Seconds above the grace time after which a worker that drains is killed."""

LOOK: Final = 1.0
"""Seconds between two looks at whether every worker process is still there."""

Endpoints = list[tuple[str, str]]
"""Endpoint and version."""

Announce = Callable[[int, Endpoints], None]
"""Gets the port and what answers there."""


class Supervisor:
    """Owns the port, the signals and the workers. ``on_ready`` is called once, with the port, when all are ready."""

    def __init__(
        self, settings: ServerSettings, command: Command, sink: Sink, clock: Clock, on_ready: Announce
    ) -> None:
        self._settings, self._command, self._sink = settings, command, sink
        self._meter = sink.workers()
        self._clock = clock
        self._on_ready = on_ready
        self._places = [Place(index, Restarts(clock)) for index in range(settings.workers)]
        self._processes: dict[int, Process] = {}
        self._started = 0
        self._stopping = asyncio.Event()
        self._rolling = Rolling(self._places, self._start, lambda: self._meter.restarted("rolled"), self._stopping)
        self._at_once = self._begun = False
        self._error: FairleadError | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # Life.

    async def run(self) -> None:
        """Serve until stopped. Raises FairleadError when it cannot bind or a model does not load."""
        self._loop = asyncio.get_running_loop()
        self._reception = Reception(self._settings, self._sink)
        self._grpc = Shared(self._settings)
        self._scrapes = Scrapes(self._processes, self._sink)
        self._orders = Orders(self._processes)
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self.stop)
            self._loop.add_signal_handler(signal.SIGHUP, self.roll)
            for place in self._places:
                self._start(place)
            self._keep(self._look())
            await self._stopping.wait()
            await self._drain()
        finally:
            self._close()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Begin to drain; a second time: stop at once."""
        self._at_once = self._stopping.is_set()
        self._stopping.set()

    def roll(self) -> None:
        """Replace every worker by a new one, one at a time, without turning anybody away."""
        if self._begun and not self._stopping.is_set():
            self._keep(self._rolling.run())

    async def _drain(self) -> None:
        """Refuse, drain, close: in that order, within the grace time."""
        ends = self._clock.now() + self._settings.grace + MARGIN
        if self._error is None:
            log.info("draining", extra={"fields": {"workers": len(self._processes)}})
        await self._reception.shut()
        self._grpc.shut()
        for process in list(self._processes.values()):
            if process.state is State.STARTING:
                process.kill()
            else:
                process.drain(LULL)  # who queues at the door is still handed out
        while self._processes and self._clock.now() < ends and not self._at_once:  # noqa: ASYNC110 - three conditions
            await asyncio.sleep(0.01)
        for process in self._processes.values():
            log.warning("killed", extra={"fields": {"worker": process.name, "pid": process.pid}})
            process.kill()
        for process in list(self._processes.values()):
            await process.over.wait()

    def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._reception.close()
        self._grpc.close()
        for process in self._processes.values():
            process.channel.close()  # who is still there drains and ends

    # The workers.

    def _start(self, place: Place) -> Process:
        self._started += 1
        process = Process(place.index, self._started, self._command, self._received, self._silent, self._reception.look)
        self._processes[process.number] = place.coming = process
        self._grpc.give(process.channel.send)
        log.info("worker started", extra={"fields": {"worker": process.name, "pid": process.pid}})
        return process

    def _start_again(self, place: Place) -> None:
        if self._stopping.is_set() or place.worker is not None or place.coming is not None:
            return
        try:
            self._start(place)
        except OSError as error:  # no room for another process
            fields = {"error": error.strerror} | self._again(place)
            log.error("worker not started", extra={"fields": fields})  # noqa: TRY400 - the system's fault
        else:
            self._meter.restarted("crashed")

    def _received(self, process: Process, message: Any) -> None:
        match message:
            case Taken() | Closed() | Missed():
                self._reception.received(process, message)
            case Measured() | Collect():
                self._scrapes.received(process, message)
            case Order() | Done():
                self._orders.received(process, message)
            case Ready(endpoints):
                self._ready(process, endpoints)
            case Failed():
                process.failure = message
            case Leaving():
                self._leaving(process)

    def _ready(self, process: Process, endpoints: Endpoints) -> None:
        place = self._places[process.place]
        old, place.worker, place.coming = place.worker, process, None
        process.state, process.was_ready = State.READY, True
        process.settled.set()
        place.restarts.ready()
        self._orders.tell(process)
        self._reception.join(process)
        if old is not None:
            self._reception.leave(old)  # what it was given goes before the word to drain
            old.drain(LINGER)
            self._loop.call_later(self._settings.grace + MARGIN, old.kill)
        self._count()
        if not self._begun and all(one.worker for one in self._places) and not self._stopping.is_set():
            self._begun = True
            self._on_ready(self._reception.port, endpoints)

    def _leaving(self, process: Process) -> None:
        """Somebody asked one worker to end: it does when another answers in its place."""
        place = self._places[process.place]
        if place.worker is process and place.coming is None and not self._stopping.is_set():
            self._meter.restarted("rolled")
            self._start(place)

    def _silent(self, process: Process) -> None:
        """Its channel ended: it is gone, or as good as."""
        self._reception.ended(process)
        place = self._places[process.place]
        if place.worker is process:
            place.worker = None
        self._count()
        self._keep(self._bury(process))

    async def _bury(self, process: Process) -> None:
        how = await process.buried()
        del self._processes[process.number]
        place = self._places[process.place]
        if place.coming is process:
            place.coming = None
        process.settled.set()
        process.over.set()
        try:
            self._orders.ended(process)
            self._scrapes.ended(process)
        finally:
            if not self._stopping.is_set():
                self._after(process, place, how)

    def _after(self, process: Process, place: Place, how: str) -> None:
        """A worker ended while the server goes on."""
        fields = _told(process, how)
        if process.state is State.LEAVING:
            log.info("worker ended", extra={"fields": fields})
        elif not self._begun and not process.was_ready:
            self._error = raised(process.failure) if process.failure else FairleadError(_never_ready(how))
            self.stop()
        elif place.worker is not None:  # it was to replace one that still answers
            log.error("worker not replaced", extra={"fields": fields})
        else:
            log.error("worker crashed", extra={"fields": fields | self._again(place)})

    def _again(self, place: Place) -> dict[str, object]:
        """Start a worker in this place when it is time; says when."""
        delay = place.restarts.crashed()
        self._loop.call_later(delay, self._start_again, place)
        return {"crashes": place.restarts.crashes, "again_in": delay}

    async def _look(self) -> None:
        """A worker's socket may outlive it in a child of its own."""
        while True:
            await asyncio.sleep(LOOK)
            for process in list(self._processes.values()):
                if process.lost():
                    self._silent(process)

    def _count(self) -> None:
        self._meter.live(sum(place.worker is not None for place in self._places))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _told(process: Process, how: str) -> dict[str, object]:
    """How a worker ended, for the log."""
    fields: dict[str, object] = {"worker": process.name, "pid": process.pid, "how": how}
    if process.failure is not None:
        fields["error"] = process.failure.message
    return fields


def _never_ready(how: str) -> str:
    return f"a worker ended ({how}) before it was ready; its log, above, may say why"
