"""The listening socket: how it is opened, and how it is shut without anybody being turned away who was let in."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from typing import Final

from fairlead.contracts.errors import AddressInUse, FairleadError, UsageError

_SO_ATTACH_FILTER: Final = 26
_DROP_SYN: Final = (
    (0x30, 0, 0, 13),  # load the byte of TCP flags
    (0x45, 0, 1, 0x02),  # SYN set?
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # let it pass
)
"""Classic BPF: what begins a connection is dropped, what belongs to one passes."""


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet. Raises AddressInUse, or UsageError for an address that is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise _bind_error(host, port, error) from None
    listener.setblocking(False)
    return listener


def _bind_error(host: str, port: int, error: OSError) -> FairleadError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(f"{host}:{port} is in use by another process; stop it or choose another --port")
    if error.errno == errno.EACCES:
        return UsageError(f"no right to bind {host}:{port}; choose a --port above 1023")
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
