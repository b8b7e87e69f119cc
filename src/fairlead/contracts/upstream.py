"""Plugin contract: a transport asks one address of another server. Entry-point group ``fairlead.upstreams``.

A transport is found by the scheme of the address (``http``, ``https``, ``grpc``, ``grpcs``). The entry point is a class
that is called with a ``Place``, on the event loop; nothing connects before it is asked. What it raises, and nothing
else: ``Unreached`` and ``Garbled`` (the address is at fault) and errors of ``contracts.errors`` (the call is, or the
model). Cancelling what it awaits ends the request at the other server too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from fairlead.contracts.secrets import Secret
from fairlead.contracts.types import DataType, Parameters, Tensors

LARGEST = 256 * 2**20
"""Bytes of an answer that are read, at most."""

CONNECT_SECONDS = 2.0
"""For the name, the connection and its TLS."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. ``prefix``: path before ``/v2``, empty or ``/a/b`` (REST only)."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


@dataclass(frozen=True, slots=True)
class Place:
    """What a transport is made for. ``version`` empty: the one that the server chooses.

    ``ca``: PEM file of the authorities that are believed; empty: those of the machine.  ``largest``: bytes.
    ``idempotent`` False: a request that may have arrived is never sent again.
    ``token``: the credential that the server asks for, carried by the header (or metadata) ``header``.
    """

    address: Address
    model: str
    version: str = ""
    ca: str = ""
    largest: int = LARGEST
    idempotent: bool = True
    token: Secret | None = None
    header: str = "authorization"

    def credential(self) -> tuple[tuple[str, str], ...]:
        """Headers, names in lower case, for every request. Raises Unreached for a token that no header can hold."""
        if self.token is None:
            return ()
        value = self.token.reveal()
        if not value.isascii() or not value.isprintable():
            raise Unreached("its token is not one line of ASCII text, as a header must be")
        return ((self.header, f"Bearer {value}" if self.header == "authorization" else value),)

    def hide(self, text: str) -> str:
        """What the server said, without the token, should it repeat it."""
        return text if self.token is None else text.replace(self.token.reveal(), "***")


class Told(NamedTuple):
    """One tensor as the server describes it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    required: bool = True


class Described(NamedTuple):
    """A model as the server describes it."""

    platform: str
    inputs: tuple[Told, ...]
    outputs: tuple[Told, ...]


class Unreached(Exception):
    """There is no answer: nothing listens, the connection broke, or the server says that it cannot answer now.

    ``str(error)`` says why in a few words.  ``retry_after``: seconds, where the server said so.
    ``sent`` False: the server cannot have seen the request.
    """

    def __init__(self, why: str, retry_after: float | None = None, *, sent: bool = True) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        self.sent = sent


class Garbled(Exception):
    """There is an answer, and it is none of the protocol. ``str(error)`` says what is wrong with it."""


class Transport(Protocol):
    async def describe(self) -> Described:
        """What the server says of the model. Raises NotFound when it has none of that name or version."""

    async def infer(
        self, inputs: Tensors, datatypes: Mapping[str, DataType], parameters: Parameters, seconds: float
    ) -> Tensors:
        """One request. ``datatypes`` of the inputs, by name.  ``seconds``: how long the answer is of use.

        The caller stops waiting by itself. Raises InputError for what the server refuses, QueueFull, Overloaded,
        ModelFailed.
        """

    def close(self) -> None:
        """Nothing of it is asked any more."""
