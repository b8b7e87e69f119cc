"""Where a server's connections come from; and the listening socket: how it is opened, and how it is shut without
anybody being turned away who was let in.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import logging
import signal
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from fairlead.contracts.errors import AddressInUse, FairleadError, UsageError
from fairlead.serve.messages import Listen, Message
from fairlead.serve.settings import ServerSettings

_SO_ATTACH_FILTER: Final = 26
_DROP_SYN: Final = (
    (0x30, 0, 0, 13),  # load the byte of TCP flags
    (0x45, 0, 1, 0x02),  # SYN set?
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # let it pass
)
"""Classic BPF: what begins a connection is dropped, what belongs to one passes."""

log = logging.getLogger("fairlead.serve")

BACKLOG: Final = 1024
"""Connections that may wait to be accepted on the gRPC port."""

SETTLE: Final = 0.05
"""Seconds to accept who waits at the door, where it cannot be shut first."""

LULL: Final = 0.25
"""Seconds without a request after which the clients are taken to have moved away."""

Enter = Callable[[socket.socket], Awaitable[None]]
"""Takes an accepted connection in."""


class Door(Protocol):
    """What a server knows of where its connections come from.

    ``port``: where clients find it; 0 when somebody else listens.  ``lull``: seconds without a request after which a
    draining server closes the connections that are left.
    """

    port: int
    lull: float

    def open(self, enter: Enter, stop: Callable[[], None]) -> list[socket.socket]:
        """Begin; gives the sockets to listen on, if any. ``stop``: called to drain, and again to end at once.

        Raises FairleadError.
        """

    async def shut(self) -> bool:
        """Let nobody new in, while whoever queues still is; False when closing the listeners is the only way."""

    def leave(self) -> None:
        """Take nobody any more."""

    def close(self) -> None:
        """The server has ended."""


class Listening:
    """A door of our own: a socket that listens, and the signals of a process that stands alone."""

    lull = LULL

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._listener: socket.socket | None = None
        self.port = port

    def open(self, enter: Enter, stop: Callable[[], None]) -> list[socket.socket]:  # noqa: ARG002 - uvicorn accepts
        self._listener = bind(self._host, self.port)
        self.port = self._listener.getsockname()[1]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(
                ValueError, RuntimeError
            ):  # not in the main thread: somebody else owns the signals
                loop.add_signal_handler(number, stop)
        return [self._listener]

    async def shut(self) -> bool:
        if self._listener is not None and shut(self._listener):
            return True
        await asyncio.sleep(SETTLE)  # take in who waits; who comes later than that finds the port closed
        return False

    def leave(self) -> None:
        """uvicorn closes what it listens on."""

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()


def listening(settings: ServerSettings) -> socket.socket:
    """The socket of the gRPC port, listening. Raises what ``bind`` raises."""
    made = bind(settings.host, settings.grpc_port or 0, flag="--grpc-port")
    made.listen(BACKLOG)
    address = settings.address(made.getsockname()[1])
    log.info("grpc", extra={"fields": {"address": address}})
    return made


class Shared:
    """The socket of the gRPC port, from which all workers take; nothing where there is no such port."""

    def __init__(self, settings: ServerSettings) -> None:
        """Raises what ``bind`` raises."""
        self.socket = None if settings.grpc_port is None else listening(settings)

    def give(self, send: Callable[[Message, socket.socket], None]) -> None:
        """Hand it to a worker."""
        if self.socket is not None:
            send(Listen(), self.socket)

    def shut(self) -> None:
        if self.socket is not None:
            shut(self.socket)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()


def bind(host: str, port: int, flag: str = "--port") -> socket.socket:
    """A bound socket that does not listen yet. Raises AddressInUse, or UsageError for an address that is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise _bind_error(host, port, error, flag) from None
    listener.setblocking(False)
    return listener


def _bind_error(host: str, port: int, error: OSError, flag: str) -> FairleadError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(f"{host}:{port} is in use by another process; stop it or choose another {flag}")
    if error.errno == errno.EACCES:
        return UsageError(f"no right to bind {host}:{port}; choose a {flag} above 1023")
    return UsageError(f"cannot bind {host}:{port}: {error.strerror or error}; is --host an address of this machine?")


def shut(listener: socket.socket) -> bool:
    """Let nobody new in, while whoever is in the queue can still be accepted; False where the system has no way to.

    Closing a listener resets the connections that wait in its queue, and a caller may already have sent a request on
    one. A socket filter (Linux) drops the packets that would open another; their senders try again after a second and
    find the port closed.
    """
    code = b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN)
    held = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(_DROP_SYN), ctypes.addressof(held))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True
