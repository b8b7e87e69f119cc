"""The supervisor's door: it listens, accepts, and hands each connection to the worker that ``Spread`` names.

While no worker can take one, connections wait in the listener's queue, which the system bounds; nobody is refused.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import deque
from typing import Final

from fairlead.serve.door import SETTLE, bind, shut
from fairlead.serve.messages import Closed, Missed, Taken
from fairlead.serve.process import Process, State
from fairlead.serve.spread import Spread

log = logging.getLogger("fairlead.serve")

BACKLOG: Final = 2048
"""Connections that may wait to be accepted."""

TURN: Final = 64
"""Connections accepted in one turn of the loop."""

BREATH: Final = 0.5
"""Seconds without accepting, when the system has no room for another open file."""

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Reception:
    """Accepts as long as a worker that joined can take a connection. Raises FairleadError when it cannot bind."""

    def __init__(self, host: str, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._spread: Spread[Process] = Spread()
        self._homeless: deque[socket.socket] = deque()
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
            case Closed(count):
                self.closed(process, count)
            case Missed(number):
                self.missed(process, number)

    def ended(self, process: Process) -> None:
        """It is gone."""
        self._spread.leave(process)
        self._homeless.extend(process.untaken())
        self.look()

    def closed(self, process: Process, count: int) -> None:
        """So many connections of a worker ended."""
        self._spread.closed(process, count)

    def taken(self, process: Process, number: int) -> None:
        """A connection has reached its worker."""
        process.taken(number)
        if self._homeless or not self._accepting:
            self.look()

    def missed(self, process: Process, number: int) -> None:
        """A connection has not reached its worker."""
        connection = process.missed(number)
        if connection is not None:
            self._homeless.append(connection)
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
        for connection in self._homeless:
            connection.close()
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
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    log.warning("cannot accept", extra={"fields": {"error": error.strerror}})
                    self._watch(False)
                    self._loop.call_later(BREATH, self.look)
                    return
                continue  # that one went away again
            self._hand(connection)

    def _hand(self, connection: socket.socket) -> None:
        chosen = self._spread.next({process for process in self._spread if process.busy})
        assert chosen is not None  # noqa: S101 - asked for before
        chosen.give(connection)
