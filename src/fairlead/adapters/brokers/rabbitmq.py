"""RabbitMQ: one durable queue, which all its readers share; answers are confirmed by the server.

The name is ``QUEUE`` or ``VHOST/QUEUE``. The key of a message is its header ``fairlead-key``. A queue forgets what was
acknowledged, so there are no groups and no replay. A quorum queue counts deliveries; a classic one says only that it is
not the first. AMQP messages carry no time of the broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ChannelNotFoundEntity, DeliveryError, PublishError

from fairlead.contracts.broker import Message, Outgoing, Place, Since
from fairlead.contracts.errors import BodyTooLarge, FairleadError, NotFound, StorageFull, Unavailable, UsageError
from fairlead.kit.places import only
from fairlead.kit.sentences import cause

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0

LARGEST: Final = 128 * 2**20
"""Bytes that a server takes as it is delivered."""

logging.getLogger("aiormq").addHandler(logging.NullHandler())  # whoever waits is told; a traceback tells users nothing

_TROUBLES: Final = (*CONNECTION_EXCEPTIONS, TimeoutError)


class RabbitMq:
    """Broker on one connection, which is made anew when it was lost."""

    def __init__(self, place: Place) -> None:
        only(place)
        self.place = place
        self._vhost, _, self.queue = place.name.rpartition("/")
        self._connection: AbstractConnection | None = None
        self._turn = asyncio.Lock()

    async def source(self, group: str, member: str, since: Since | None = None) -> RabbitSource:  # noqa: ARG002 - none here
        if since is not None:
            raise UsageError(
                f"{self.place}: a RabbitMQ queue keeps nothing that was acknowledged, so it cannot be replayed; "
                "replay from NATS, Redis or Kafka"
            )
        source = RabbitSource(self)
        async with talking(self.place):
            await source.open()
        return source

    async def target(self) -> RabbitTarget:
        target = RabbitTarget(self)
        async with talking(self.place):
            await target.open()
        return target

    async def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(*_TROUBLES):
                await self._connection.close()

    async def channel(self) -> AbstractChannel:
        """A new channel, on a new connection where the old one fails."""
        async with self._turn:
            if self._connection is None:
                self._connection = await _connected(self.place, self._vhost)
            try:
                channel = self._connection.channel(publisher_confirms=True, on_return_raises=True)
                await channel.initialize(timeout=ANSWER_SECONDS)
            except _TROUBLES:
                lost, self._connection = self._connection, None
                with contextlib.suppress(*_TROUBLES):
                    await asyncio.wait_for(lost.close(), CLOSE_SECONDS)
                raise
            return channel

    async def found(self, channel: AbstractChannel) -> AbstractQueue:
        """The queue. Raises NotFound."""
        try:
            return await channel.declare_queue(self.queue, passive=True, timeout=ANSWER_SECONDS)
        except ChannelNotFoundEntity:
            raise NotFound(
                f"{self.place}: there is no queue {self.queue!r}; declare it: rabbitmqadmin declare queue "
                f"name={self.queue} durable=true"
            ) from None


class RabbitSource:
    """A consumer of the queue. What comes on a channel can be acknowledged on that channel only."""

    ended = False

    def __init__(self, broker: RabbitMq) -> None:
        self._broker = broker
        self._place = broker.place
        self._channel: AbstractChannel | None = None
        self._queue: AbstractQueue | None = None
        self._consuming = 0
        """Messages that the server may have given out at once; 0 until the first fetch."""
        self._arrived: deque[AbstractIncomingMessage] = deque()
        self._news = asyncio.Event()

    async def open(self) -> None:
        self._channel = await self._broker.channel()
        self._queue = await self._broker.found(self._channel)
        self._consuming = 0
        self._arrived.clear()

    async def fetch(self, limit: int, seconds: float) -> list[Message]:
        async with talking(self._place):
            if self._channel is None or self._channel.is_closed:
                await self.open()
            if not self._consuming:
                await self._consume(2 * limit)
        if not self._arrived:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), seconds)
        found = [self._message(self._arrived.popleft()) for _ in range(min(limit, len(self._arrived)))]
        if not found and self._channel is not None and self._channel.is_closed:
            raise Unavailable(f"{self._place}: the connection is lost")
        return found

    async def settle(self, messages: Sequence[Message]) -> None:
        for message in messages:
            raw: AbstractIncomingMessage = message.token
            if raw.processed:
                continue
            try:
                await raw.ack()
            except _TROUBLES:  # its channel is gone: it comes again on another, and can be acknowledged there
                continue

    async def hold(self) -> None:
        """Nothing: an open channel holds what came on it."""

    async def lag(self) -> int | None:
        async with talking(self._place):
            channel = await self._broker.channel()
            try:
                queue = await self._broker.found(channel)
            finally:
                with contextlib.suppress(*_TROUBLES):
                    await channel.close()
        return (queue.declaration_result.message_count or 0) + len(self._arrived)

    async def close(self) -> None:
        """The server gives back what was not acknowledged, in its place in the queue."""
        if self._channel is not None:
            with contextlib.suppress(*_TROUBLES):
                await self._channel.close()

    async def _consume(self, most: int) -> None:
        assert self._channel is not None  # noqa: S101 - it was opened
        assert self._queue is not None  # noqa: S101 - as above
        await self._channel.set_qos(prefetch_count=min(most, 65_535), timeout=ANSWER_SECONDS)
        await self._queue.consume(self._take, timeout=ANSWER_SECONDS)
        self._consuming = most
        self._channel.close_callbacks.add(self._lost)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        self._arrived.append(message)
        self._news.set()

    def _lost(self, *_: Any) -> None:
        self._news.set()

    def _message(self, raw: AbstractIncomingMessage) -> Message:
        given: Mapping[str, Any] = raw.headers or {}
        headers = {name.lower(): _text(value) for name, value in given.items()}
        for name, value in (("correlation-id", raw.correlation_id), ("content-type", raw.content_type)):
            if value:
                headers.setdefault(name, value)
        count = headers.pop("x-delivery-count", "")  # of a quorum queue
        deliveries = int(count) + 1 if count.isdigit() else 1 + bool(raw.redelivered)
        key = headers.pop("fairlead-key", "")
        mark = hashlib.blake2b(raw.body, digest_size=6).hexdigest()
        name = raw.message_id or f"tag{raw.delivery_tag}"
        at_ms = headers.get("timestamp_in_ms", "")
        return Message(f"{name}-{mark}", raw.body, headers, key, deliveries, float(at_ms or 0), raw)


class RabbitTarget:
    """Publishes persistent messages to the queue, each confirmed by the server."""

    ordered = False

    def __init__(self, broker: RabbitMq) -> None:
        self._broker = broker
        self._place = broker.place
        self._channel: AbstractChannel | None = None

    async def open(self) -> None:
        self._channel = await self._broker.channel()
        await self._broker.found(self._channel)

    async def publish(self, messages: Sequence[Outgoing]) -> list[FairleadError | None]:
        said: list[FairleadError | None] = [self._too_large(message) for message in messages]
        async with talking(self._place):
            if self._channel is None or self._channel.is_closed:
                await self.open()
            sending = [self._send(one) for one, error in zip(messages, said, strict=True) if error is None]
            for found in await asyncio.gather(*sending, return_exceptions=True):
                if isinstance(found, BaseException):
                    raise found
        return said

    async def close(self) -> None:
        if self._channel is not None:
            with contextlib.suppress(*_TROUBLES):
                await self._channel.close()

    async def _send(self, message: Outgoing) -> None:
        assert self._channel is not None  # noqa: S101 - it was opened
        headers: dict[str, Any] = dict(message.headers)
        content_type, correlation = headers.pop("content-type", None), headers.pop("correlation-id", None)
        if message.key:
            headers["fairlead-key"] = message.key.encode("utf-8", "replace").decode()
        if message.idempotency:
            headers["idempotency-key"] = message.idempotency
        letter = aio_pika.Message(
            message.body,
            headers=headers,
            content_type=content_type,
            correlation_id=correlation,
            message_id=message.idempotency or None,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        exchange = self._channel.default_exchange
        try:
            await exchange.publish(letter, self._broker.queue, mandatory=True, timeout=ANSWER_SECONDS)
        except PublishError:
            raise Unavailable(f"{self._place}: the queue is gone") from None
        except DeliveryError:
            raise StorageFull(f"{self._place}: the queue takes no more; raise its limit or read it") from None

    def _too_large(self, message: Outgoing) -> BodyTooLarge | None:
        size = len(message.body)
        return BodyTooLarge(f"{self._place}: {size} bytes; RabbitMQ takes {LARGEST}") if size > LARGEST else None


async def _connected(place: Place, vhost: str) -> AbstractConnection:
    secure = place.scheme == "amqps"
    host, mark, port = place.address.rpartition(":")
    if not mark or place.address.endswith("]"):
        host, port = place.address, "5671" if secure else "5672"
    return await aio_pika.connect(
        host=host.strip("[]"),
        port=int(port),
        login=place.user or "guest",
        password=place.password or "guest",
        virtualhost=vhost or "/",
        ssl=secure,
        timeout=CONNECT_SECONDS,
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@contextlib.asynccontextmanager
async def talking(place: Place) -> AsyncIterator[None]:
    """What the client raises, as ours."""
    try:
        yield
    except _TROUBLES as error:
        raise Unavailable(f"{place} does not answer ({cause(error)}); is RabbitMQ running there?") from error
