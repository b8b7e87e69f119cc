"""The gRPC port: opened when the models are loaded, shut with the server, inside its grace time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

from fairlead.serve import tls
from fairlead.serve.door import bind, shut
from fairlead.serve.front import Front
from fairlead.serve.grpc.connection import Connection, Limits
from fairlead.serve.grpc.service import Service
from fairlead.serve.settings import ServerSettings

log = logging.getLogger("fairlead.serve")

LOOK: Final = 1.0
"""Seconds between two looks at the connections."""
LEAST_IDLE: Final = 300.0
"""Seconds that a channel may idle: clients keep them open for their next call."""


class Listener:
    """A companion of the server. ``port``: where it listens; known once it has started."""

    def __init__(self, front: Front, settings: ServerSettings, draining: Callable[[], bool]) -> None:
        self._service = Service(front, draining)
        self._settings = settings
        self._limits = Limits(
            front.max_body, settings.read_timeout, settings.write_timeout, max(settings.keep_alive, LEAST_IDLE)
        )
        self._connections: set[Connection] = set()
        self._socket: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None
        self.port = settings.grpc_port or 0

    def start(self) -> None:
        """Raises AddressInUse, or UsageError for a certificate that is none."""
        loop = asyncio.get_running_loop()
        context = tls.context(self._settings)
        self._socket = bind(self._settings.host, self.port, shared=self._settings.workers > 1, flag="--grpc-port")
        self._socket.listen(1024)
        self.port = self._socket.getsockname()[1]
        log.info("grpc", extra={"fields": {"address": self._settings.address(self.port)}})
        self._tasks = [loop.create_task(self._serve(self._socket, context)), loop.create_task(self._look())]

    def drain(self) -> None:
        """Nobody new comes in; whoever is in is told to go once its calls are answered."""
        if self._socket is not None:
            shut(self._socket)
        self._service.drain()
        for connection in list(self._connections):
            connection.go_away()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()

    def troubles(self) -> list[str]:
        return []

    async def _serve(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connected, sock=listening, ssl=context)

    def _connected(self) -> Connection:
        return Connection(self._service.start, self._limits, self._connections)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK)
            for connection in list(self._connections):
                with contextlib.suppress(OSError):
                    connection.look(loop.time())
