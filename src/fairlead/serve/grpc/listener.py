"""The gRPC port: opened when the models are loaded, shut with the server, inside its grace time."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

from fairlead.serve.callers import Callers, room
from fairlead.serve.door import BACKLOG, listening, shut
from fairlead.serve.front import Front
from fairlead.serve.grpc.connection import Connection
from fairlead.serve.grpc.guarded import Guarded
from fairlead.serve.grpc.service import Service
from fairlead.serve.grpc.stream import Limits
from fairlead.serve.renewal import Renewal
from fairlead.serve.repository import Control
from fairlead.serve.settings import ServerSettings

log = logging.getLogger("fairlead.serve")

LOOK: Final = 1.0
"""Seconds between two looks at the connections."""
LEAST_IDLE: Final = 300.0
"""Seconds that a channel may idle: clients keep them open for their next call."""


class Listener:
    """A companion of the server. ``port``: where it listens; known once it has started."""

    def __init__(
        self,
        front: Front,
        settings: ServerSettings,
        draining: Callable[[], bool],
        control: Control,
        certificates: Renewal | None = None,
    ) -> None:
        self._service = Service(front, draining, control)
        self._settings = settings
        self._limits = Limits(
            front.max_body, settings.read_timeout, settings.write_timeout, max(settings.keep_alive, LEAST_IDLE)
        )
        self._sink = front.sink
        most = -(-settings.max_connections // settings.workers)  # who gets whom is the system's choice
        self._callers = Callers(room(most), settings.max_connections_per_address)
        self._connections: set[Connection] = set()
        self._socket: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving = self._started = False
        self._certificates = certificates
        self._context: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self.port = settings.grpc_port or 0

    def start(self) -> None:
        """Raises AddressInUse, or UsageError for a certificate that is none."""
        loop = asyncio.get_running_loop()
        if self._certificates is not None:
            self._context = self._certificates.context("h2")
        self._started = True
        self._tasks.append(loop.create_task(self._look()))
        if self._settings.workers == 1:
            self._socket = listening(self._settings)
            self.port = self._socket.getsockname()[1]
        if self._socket is not None:
            self._tasks.append(loop.create_task(self._serve(self._socket)))

    def take(self, shared: socket.socket) -> None:
        """The socket that several workers take connections from."""
        shared.setblocking(False)
        self._socket = shared
        if self._started:
            self._tasks.append(asyncio.get_running_loop().create_task(self._serve(shared)))

    def drain(self) -> None:
        """Nobody new comes in; whoever is in is told to go once its calls are answered."""
        self._leaving = True
        self._service.drain()
        for connection in list(self._connections):
            connection.leave()
        if self._settings.workers == 1 and self._socket is not None:
            shut(self._socket)
        elif self._server is not None:  # who queues is the other workers'
            self._server.close()

    def busy(self) -> bool:
        return any(connection.busy for connection in self._connections)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.out.abort()

    def troubles(self) -> list[str]:
        return []

    async def _serve(self, given: socket.socket) -> None:
        limit = self._settings.read_timeout if self._context else None
        self._server = await asyncio.get_running_loop().create_server(
            self._connected, sock=given, backlog=BACKLOG, ssl=self._context, ssl_handshake_timeout=limit
        )

    def _connected(self) -> Connection:
        leaving = lambda: self._leaving  # noqa: E731 - asked later
        return Guarded(self._service.start, self._limits, self._connections, leaving, self._callers, self._sink)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK)
            for connection in list(self._connections):
                try:
                    connection.look(loop.time())
                except Exception:
                    log.exception("a grpc connection could not be looked at")
                    connection.out.abort()
