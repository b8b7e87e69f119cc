"""The worker's side: a door through which the supervisor hands connections, and what all workers measured."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from fairlead.contracts.errors import FairleadError, Unavailable
from fairlead.contracts.sink import Part, Sink
from fairlead.serve.admin import measured
from fairlead.serve.catalog import Catalog
from fairlead.serve.channel import Channel
from fairlead.serve.chaos.faults import Chaos, Denied, Injection
from fairlead.serve.door import LULL, Enter
from fairlead.serve.messages import (
    Accepted,
    Closed,
    Collect,
    Do,
    Done,
    Drain,
    Failed,
    Leaving,
    Listen,
    Measure,
    Measured,
    Missed,
    Order,
    Outcome,
    Ready,
    Taken,
    ToWorker,
    Whole,
    frame,
    raised,
)
from fairlead.serve.repository import Control, Locked

log = logging.getLogger("fairlead.serve")

PUSH: Final = 0.5
"""Seconds between two looks at whether the supervisor must be told what was measured."""

ANSWER: Final = 3.0
"""Seconds for the supervisor to say what the others measured; it gives them less than that."""

LAST_WORD: Final = 2.0
"""Seconds to tell the supervisor what was measured, at the end."""

_COMES_FROM: Final[ContextVar[str]] = ContextVar("comes_from", default="")
"""The address of the connection that is being let in."""

_OWN: Final = b"fairlead_"
"""Prefix of what changes only when something happens."""


class Worker:
    """A ``Door``. ``link``: the socket to the supervisor.  ``name``: the worker's place, as the metrics show it.

    ``control`` and ``chaos``: what loads, unloads and injects in this worker.
    """

    port = 0
    listens: Callable[[socket.socket], None] | None = None
    """Takes the socket of the gRPC port, where there is one."""
    control: Control = Locked()
    chaos: Chaos = Denied()

    def __init__(self, link: socket.socket, name: str, catalog: Catalog, sink: Sink) -> None:
        self.lull = LULL
        self._channel = Channel(link, ToWorker, self._received, self._alone)
        self._name = name
        self._catalog = catalog
        self._sink = sink
        self._enter: Enter | None = None
        self._stop: Callable[[], None] | None = None
        self._draining = self._left = False
        self._ended: list[str] = []  # addresses of connections; not told of yet
        self._asked: dict[int, asyncio.Future[list[Part]]] = {}
        self._ordered: dict[int, asyncio.Future[Outcome]] = {}
        self._number = 0
        self._told: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # The door.

    def open(self, enter: Enter, stop: Callable[[], None]) -> list[socket.socket]:
        loop = asyncio.get_running_loop()
        self._enter, self._stop = enter, stop
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all: they are the supervisor's to act on
        loop.add_signal_handler(signal.SIGTERM, self._channel.send, Leaving())
        self._channel.start(loop)
        self._keep(self._report())
        return []

    def ready(self) -> None:
        """Every model is loaded: connections may come."""
        self._channel.send(Ready(self._catalog.named()))

    async def shut(self) -> bool:
        return True

    def leave(self) -> None:
        self._left = True

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._channel.send(Measured(measured(self._catalog, self._sink)[0]))
        self._channel.finish(LAST_WORD)

    def counted(self, protocol: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
        """The protocol class, telling when a connection ended."""

        def begun(connection: Any, *given: Any, **named: Any) -> None:
            protocol.__init__(connection, *given, **named)
            connection.came_from = _COMES_FROM.get()

        def connection_lost(connection: Any, exc: Exception | None) -> None:
            protocol.connection_lost(connection, exc)
            self._closed(connection.came_from)

        return type("WorkerProtocol", (protocol,), {"__init__": begun, "connection_lost": connection_lost})

    # From the supervisor.

    def _received(self, message: Any, connection: socket.socket | None) -> None:
        match message:
            case Accepted():
                self._take(message, connection)
            case Listen():
                if connection is not None and self.listens is not None:
                    self.listens(connection)
            case Measure():
                self._channel.send(Measured(measured(self._catalog, self._sink)[0]))
            case Whole(number, parts):
                future = self._asked.get(number)
                if future is not None and not future.done():
                    future.set_result([Part(part.worker, part.text, gone=part.gone) for part in parts])
            case Drain(lull):
                self.lull = lull
                self._drain()
            case Do():
                self._keep(self._do(message))
            case Outcome(number):
                ordered = self._ordered.get(number)
                if ordered is not None and not ordered.done():
                    ordered.set_result(message)

    def _take(self, accepted: Accepted, connection: socket.socket | None) -> None:
        if connection is None or self._left:
            if connection is not None:
                connection.close()
            self._channel.send(Missed(accepted.number))
            return
        self._channel.send(Taken(accepted.number))  # before anything is read: from here on nobody else can answer it
        connection.setblocking(False)
        self._keep(self._let_in(connection, accepted.address))

    async def _let_in(self, connection: socket.socket, address: str) -> None:
        assert self._enter is not None  # noqa: S101 - open comes first
        _COMES_FROM.set(address)
        try:
            await self._enter(connection)
        except OSError:  # gone before it was in
            connection.close()
            self._closed(address)

    def _alone(self) -> None:
        """The supervisor is gone."""
        for future in self._asked.values():
            if not future.done():
                future.cancel()
        for ordered in self._ordered.values():
            if not ordered.done():
                ordered.set_exception(Unavailable("the supervisor is gone; only this worker is left", retry_after=1))
        self._drain()

    def _drain(self) -> None:
        if not self._draining and self._stop is not None:
            self._draining = True
            self._stop()

    # To the supervisor.

    def _closed(self, address: str) -> None:
        self._ended.append(address)
        if len(self._ended) == 1:
            asyncio.get_running_loop().call_soon(self._tell_closed)

    def _tell_closed(self) -> None:
        ended, self._ended = self._ended, []
        self._channel.send(Closed(ended))

    async def _report(self) -> None:
        """Say what was measured while something changes, so that little is lost with this process."""
        while True:
            await asyncio.sleep(PUSH)
            text, _ = measured(self._catalog, self._sink)
            own = [line for line in text.split(b"\n") if line.startswith(_OWN)]
            if own != self._told:
                self._told = own
                self._channel.send(Measured(text))

    async def exposition(self) -> tuple[bytes, str]:
        """The metrics of all workers. Raises Unavailable when the supervisor does not say what the others measured."""
        text, content_type = measured(self._catalog, self._sink)
        self._number += 1
        number = self._number
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Collect(number, text))
        try:
            await asyncio.wait((answer,), timeout=ANSWER)
        finally:
            del self._asked[number]
        if not answer.done() or answer.cancelled():
            raise Unavailable("the supervisor does not say what the other workers measured", retry_after=1)
        parts = answer.result()
        return self._sink.merge([*parts, Part(self._name, text, gone=self._draining)]), content_type

    # A control: what callers ask of one worker, all do.

    async def load(self, endpoint: str) -> None:
        await self.everywhere("load", endpoint)

    async def unload(self, endpoint: str) -> None:
        await self.everywhere("unload", endpoint)

    async def everywhere(self, verb: str, endpoint: str, text: str = "") -> None:
        """Have it done in every worker. Raises the first error of any."""
        self._number += 1
        number = self._number
        told = self._ordered[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Order(number, verb, endpoint, text))
        try:
            outcome = await told
        finally:
            del self._ordered[number]
        if outcome.code:
            raise raised(Failed(outcome.code, outcome.message))

    async def _do(self, asked: Do) -> None:
        self._channel.send(await _done(self.control, self.chaos, asked))

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Faults:
    """A ``Chaos``: what callers ask of one worker, all do."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def active(self, endpoint: str) -> str:
        return self._worker.chaos.active(endpoint)

    async def inject(self, endpoint: str, injection: Injection) -> None:
        await self._worker.everywhere("inject", endpoint, msgspec.json.encode(injection).decode())

    async def calm(self, endpoint: str) -> None:
        await self._worker.everywhere("calm", endpoint)


async def _done(control: Control, chaos: Chaos, asked: Do) -> Done:
    """Do it; what came of it."""
    code = message = ""
    try:
        await _obey(control, chaos, asked)
    except Exception as error:
        known = error
        if not isinstance(known, FairleadError):
            log.exception("order failed", extra={"fields": {"verb": asked.verb, "endpoint": asked.endpoint}})
            known = FairleadError(f"the server failed to {asked.verb} {asked.endpoint!r}; its log has the cause")
        code, message = known.code, str(known)
    return Done(asked.number, code, message)


async def _obey(control: Control, chaos: Chaos, asked: Do) -> None:
    match asked.verb:
        case "load":
            await control.load(asked.endpoint)
        case "unload":
            await control.unload(asked.endpoint)
        case "inject":
            await chaos.inject(asked.endpoint, msgspec.json.decode(asked.text, type=Injection))
        case _:
            await chaos.calm(asked.endpoint)


def report(link: socket.socket, error: FairleadError) -> None:
    """Tell the supervisor why this worker cannot serve."""
    with contextlib.suppress(OSError):
        link.sendall(frame(Failed(error.code, str(error))))
