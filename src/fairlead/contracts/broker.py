"""Plugin contract: a broker: messages are read from it, answers go to it. Entry-point group ``fairlead.brokers``.

The entry point is named after the URL scheme and is called with a ``Place``; nothing is opened before the first call.
The check-suite is ``fairlead.testing.broker_suite``. Delivery is at least once: what was fetched and not settled comes
again.

Every method may raise ``Unavailable`` (the broker does not answer; the same call may go through later, and the adapter
connects again by itself) and ``StorageFull``. Opening also raises ``NotFound`` for a stream, queue or topic that is not
there and ``UsageError`` for what the broker cannot do, each with the remedy. Everything runs on one event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from fairlead.contracts.errors import FairleadError


@dataclass(frozen=True, slots=True)
class Place:
    """A stream, subject, queue or topic: ``scheme://user:password@address/name?options``.

    ``address``: ``host:port``, several with commas where the broker is a cluster.
    """

    scheme: str
    address: str
    name: str
    user: str = ""
    password: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """For messages and logs: without credentials."""
        return f"{self.scheme}://{self.address}/{self.name}"


class Message(NamedTuple):
    """What was read. ``id``: the broker's, the same each time it is delivered.

    ``headers``: names in lower case.  ``key``: messages of one key keep their order; empty: none.
    ``deliveries``: 1 the first time.  ``at_ms``: when the broker took it (Unix time), 0 where it does not say.
    ``token``: the adapter's own.
    """

    id: str
    body: bytes
    headers: Mapping[str, str] = {}
    key: str = ""
    deliveries: int = 1
    at_ms: float = 0.0
    token: Any = None


class Outgoing(NamedTuple):
    """What is published. ``headers``: values on one line.

    ``idempotency``: the same each time this is tried; a broker that can keep duplicates out does it by this. It also
    goes out as the header ``idempotency-key``, and ``key`` as ``fairlead-key`` where the broker has no keys of its own.
    """

    body: bytes
    headers: Mapping[str, str]
    key: str = ""
    idempotency: str = ""


@dataclass(frozen=True, slots=True)
class Since:
    """Where a replay begins: ``at_ms`` (Unix time), or the message ``id`` itself where that is given."""

    at_ms: int = 0
    id: str = ""


class Source(Protocol):
    """Reads for one member of a group; the members share the messages."""

    ended: bool
    """True once everything that there was when a replay began has been fetched; never for others."""

    async def fetch(self, limit: int, seconds: float) -> list[Message]:
        """What is there, in order, ``limit`` at most; waits up to ``seconds`` for a first one, then gives none.

        An adapter may keep as many again in hand; no more.
        """

    async def settle(self, messages: Sequence[Message]) -> None:
        """These are done and never come again. One that the broker already gave to another is passed over."""

    async def hold(self) -> None:
        """What was fetched and not settled is still being worked on; called every ``HOLD_SECONDS``."""

    async def lag(self) -> int | None:
        """Messages of the group that nobody has fetched yet; None where the broker does not say."""

    async def close(self) -> None:
        """Give back what was not settled, for others at once where the broker can. A replay leaves nothing behind."""


class Target(Protocol):
    """Writes to one place."""

    ordered: bool
    """Whether a ``publish`` that raises never leaves a message stored without those before it."""

    async def publish(self, messages: Sequence[Outgoing]) -> list[FairleadError | None]:
        """Durable, in this order, when it returns; BodyTooLarge in the place of one that can never be stored."""

    async def close(self) -> None: ...


class Broker(Protocol):
    async def source(self, group: str, member: str, since: Since | None = None) -> Source:
        """``since``: read again from there to what is newest now, beside the group and without a mark on it."""

    async def target(self) -> Target: ...

    async def close(self) -> None: ...


HOLD_SECONDS = 10.0
"""An adapter gives a message to another member after three times this without ``hold``, at the earliest."""
