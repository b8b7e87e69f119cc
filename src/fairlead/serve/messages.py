"""Every message between the supervisor and its workers, and how one becomes bytes.

A message is a frame: four bytes of length, then MessagePack. A connection travels beside its message as a file
descriptor.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec

from fairlead.contracts.errors import FairleadError
from fairlead.kit import failures


class Message(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The class's name is the tag."""


# To a worker.


class Accepted(Message, frozen=True):
    """A connection, with its descriptor. ``Taken`` or ``Missed`` tells its number again, ``Closed`` its address."""

    number: int
    address: str


class Drain(Message, frozen=True):
    """Answer what was accepted and end. ``lull``: seconds without a request after which silent connections close."""

    lull: float


class Listen(Message, frozen=True):
    """The socket of the gRPC port, with its descriptor: every worker takes connections from it."""


class Measure(Message, frozen=True):
    """Say what you measured: answered with ``Measured``."""


class Whole(Message, frozen=True):
    """The answer to ``Collect``: what everybody but the asker measured."""

    number: int
    parts: list[Measurements]


class Do(Message, frozen=True):
    """Load or unload an endpoint, or inject faults into it: answered with ``Done``. ``text``: what the verb needs."""

    number: int
    verb: str
    endpoint: str
    text: str = ""


class Outcome(Message, frozen=True):
    """The answer to ``Order``: an error's code and sentence, or two empty texts."""

    number: int
    code: str
    message: str


# To the supervisor.


class Ready(Message, frozen=True):
    """Every model is loaded; endpoint and version of each."""

    endpoints: list[tuple[str, str]]


class Failed(Message, frozen=True):
    """A model did not load, or the like: the error's code and its sentence."""

    code: str
    message: str


class Leaving(Message, frozen=True):
    """Somebody else asked this worker to end: send nobody more, then say ``Drain``."""


class Taken(Message, frozen=True):
    """This connection is mine now: from here on nobody else may answer it."""

    number: int


class Missed(Message, frozen=True):
    """The descriptor of this connection did not arrive: give it to another."""

    number: int


class Closed(Message, frozen=True):
    """Connections ended; the address of each."""

    addresses: list[str]


class Measured(Message, frozen=True):
    """What this worker measured so far; sent when asked, every second while something changes, and at the end."""

    text: bytes


class Collect(Message, frozen=True):
    """Somebody asks this worker for the metrics of all. ``text``: its own."""

    number: int
    text: bytes


class Order(Message, frozen=True):
    """Somebody asks this worker to ``load``, ``unload``, ``inject`` or ``calm`` an endpoint everywhere."""

    number: int
    verb: str
    endpoint: str
    text: str = ""


class Done(Message, frozen=True):
    """What came of ``Do``: an error's code and sentence, or two empty texts."""

    number: int
    code: str
    message: str


class Measurements(msgspec.Struct, frozen=True, gc=False):
    """One process's metrics. ``gone``: it has ended or is about to, so only what was counted still holds."""

    worker: str
    text: bytes
    gone: bool


ToWorker = Accepted | Do | Drain | Listen | Measure | Outcome | Whole
ToSupervisor = Ready | Failed | Leaving | Taken | Missed | Closed | Measured | Collect | Order | Done

_LENGTH: Final = struct.Struct("!I")
LARGEST: Final = 64 * 1024 * 1024
"""Bytes of a frame; more is a broken stream."""

_encode = msgspec.msgpack.Encoder().encode


def frame(message: msgspec.Struct) -> bytes:
    """The message as it goes over the socket."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


class Reader:
    """Cuts a stream into messages of one direction. Raises ValueError for what is no message."""

    def __init__(self, kinds: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(kinds).decode
        self._left = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        self._left += data
        found = []
        at = 0
        while len(self._left) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._left, at)
            if length > LARGEST:
                raise ValueError(f"a frame of {length} bytes")
            end = at + _LENGTH.size + length
            if len(self._left) < end:
                break
            found.append(self._decode(bytes(self._left[at + _LENGTH.size : end])))
            at = end
        del self._left[:at]
        return found


def raised(failed: Failed) -> FairleadError:
    """The error that a worker told of."""
    return failures.of(failed.code, failed.message)
