"""The supervisor's door: it listens, accepts, and hands each connection to the worker that ``Spread`` names.

While no worker can take one, connections wait in the listener's queue, which the system bounds. Who is one too many
(``Callers``) is turned away.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter, defaultdict, deque
from typing import Final

from fairlead.contracts.sink import Sink
from fairlead.serve.callers import CODE, LINGERING, Callers, refusal, room
from fairlead.serve.door import SETTLE, bind, shut
from fairlead.serve.messages import Closed, Missed, Taken
from fairlead.serve.process import Guest, Process, State
from fairlead.serve.settings import ServerSettings
from fairlead.serve.spread import Spread

log = logging.getLogger("fairlead.serve")

BACKLOG: Final = 2048
"""Connections that may wait to be accepted."""

TURN: Final = 64
"""Connections accepted in one turn of the loop."""

BREATH: Final = 0.5
"""Seconds without accepting, when the system has no room for another open file."""

PARTING: Final = 1.0
"""Seconds for who was turned away to read why."""

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Reception:
    """Accepts as long as a worker that joined can take a connection. Raises FairleadError when it cannot bind."""

    def __init__(self, settings: ServerSettings, sink: Sink) -> None:
        self._loop = asyncio.get_running_loop()
        self._spread: Spread[Process] = Spread()
        self._callers = Callers(room(settings.max_connections), settings.max_connections_per_address)
        self._sink, self._speaks = sink, not settings.tls_cert
        self._addresses: dict[Process, Counter[str]] = defaultdict(Counter)
        """Of the connections that each worker has."""
        host, port = settings.host, settings.port
        self._homeless: deque[Guest] = deque()
        """Connections whose worker ended before it had them."""
        self._accepting = False
        self._listener = bind(host, port)
        try:
            self._listener.listen(BACKLOG)
        except OSError:
            self._listener.close()
            bind(host, port).close()  # somebody was faster: tells it in the words of bind
            raise
        self.port: int = self._listener.getsockname()[1]

    def join(self, process: Process) -> None:
        """A worker that may get connections."""
        self._spread.join(process)
        self.look()

    def leave(self, process: Process) -> None:
        """It gets no more; what it was given and never had goes to others once it has ended."""
        self._spread.leave(process)

    def received(self, process: Process, message: Taken | Closed | Missed) -> None:
        match message:
            case Taken(number):
                self.taken(process, number)
            case Closed(addresses):
                self.closed(process, addresses)
            case Missed(number):
                self.missed(process, number)

    def ended(self, process: Process) -> None:
        """It is gone."""
        self._spread.leave(process)
        untaken = process.untaken()
        self._homeless.extend(untaken)
        left = self._addresses.pop(process, Counter())
        left.subtract(guest.address for guest in untaken)
        for address, count in left.items():
            self._callers.gone(address, count)
        self.look()

    def closed(self, process: Process, addresses: list[str]) -> None:
        """Connections of a worker ended."""
        self._spread.closed(process, len(addresses))
        for address in addresses:
            self._callers.gone(address)
            self._addresses[process][address] -= 1

    def taken(self, process: Process, number: int) -> None:
        """A connection has reached its worker."""
        process.taken(number)
        if self._homeless or not self._accepting:
            self.look()

    def missed(self, process: Process, number: int) -> None:
        """A connection has not reached its worker."""
        guest = process.missed(number)
        if guest is not None:
            self._addresses[process][guest.address] -= 1
            self._homeless.append(guest)
        if process.state is State.LEAVING:
            self.leave(process)  # it takes nobody any more
            self.look()
        else:
            self._spread.closed(process)
            self._loop.call_later(BREATH, self.look)  # it had no room for another open file

    def look(self) -> None:
        """Hand out who lost a worker, and accept while there is somebody to take a connection."""
        while self._homeless and self._free():
            self._hand(self._homeless.popleft())
        self._watch(self._free())

    async def shut(self) -> None:
        """Let nobody new in; who is in the queue still is."""
        if not shut(self._listener):
            await asyncio.sleep(SETTLE)
        self._accept()

    def close(self) -> None:
        self._watch(False)
        self._spread = Spread()
        for guest in self._homeless:
            guest.connection.close()
        self._homeless.clear()
        self._listener.close()

    def _free(self) -> bool:
        return any(not process.busy for process in self._spread)

    def _watch(self, wanted: bool) -> None:
        if wanted != self._accepting:
            self._accepting = wanted
            if wanted:
                self._loop.add_reader(self._listener.fileno(), self._accept)
            else:
                self._loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        for _ in range(TURN):
            if not self._free():
                self._watch(False)
                return
            try:
                connection, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    log.warning("cannot accept", extra={"fields": {"error": error.strerror}})
                    self._watch(False)
                    self._loop.call_later(BREATH, self.look)
                    return
                continue  # that one went away again
            guest = Guest(connection, str(peer[0]))
            if why := self._callers.admit(guest.address):
                self._turn_away(connection, why)
            else:
                self._hand(guest)

    def _turn_away(self, connection: socket.socket, why: str) -> None:
        """Say why, where it can be said in plain, and close once that was read, or a moment later."""
        self._sink.edge_error("", CODE)
        connection.setblocking(False)
        if not self._speaks or self._callers.refused >= LINGERING:
            connection.close()
            return
        try:
            connection.send(refusal(why))
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        self._callers.refused += 1
        self._loop.call_later(PARTING, self._part, connection)

    def _part(self, connection: socket.socket) -> None:
        self._callers.refused -= 1
        connection.close()

    def _hand(self, guest: Guest) -> None:
        chosen = self._spread.next({process for process in self._spread if process.busy})
        assert chosen is not None  # noqa: S101 - asked for before
        self._addresses[chosen][guest.address] += 1
        chosen.give(guest)
