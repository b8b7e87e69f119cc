"""The broker and its target: an idempotent producer that waits until all replicas in sync have a message.

Options of the URL are librdkafka's. The key of a message is Kafka's own, byte for byte. Nothing here is exactly once.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from fairlead.adapters.brokers.kafka.source import KafkaSource
from fairlead.adapters.brokers.kafka.talking import ANSWER_SECONDS, LOOK_SECONDS, settings, talking
from fairlead.contracts.broker import Outgoing, Place, Since
from fairlead.contracts.errors import BodyTooLarge, FairleadError, NotFound, Unavailable, UsageError

_ABSENT: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)  # noqa: SLF001 - its name in the client


class Kafka:
    """Broker on a cluster; each source and target has its own client."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def source(self, group: str, member: str, since: Since | None = None) -> KafkaSource:  # noqa: ARG002 - Kafka names members
        partitions = await asyncio.to_thread(self._partitions)
        source = KafkaSource(self._place, group, since)
        try:
            await source.open(partitions)
        except FairleadError:
            await source.close()
            raise
        return source

    async def target(self) -> KafkaTarget:
        await asyncio.to_thread(self._partitions)
        return KafkaTarget(self._place)

    async def close(self) -> None:
        """Nothing: sources and targets have their clients."""

    def _partitions(self) -> list[int]:
        """Of the topic. Raises NotFound."""
        with talking(self._place):
            try:
                client = Producer(settings(self._place, **{"allow.auto.create.topics": False}))
            except KafkaException as error:
                raise UsageError(f"{self._place}: {error.args[0].str()}") from error
            found = client.list_topics(self._place.name, timeout=LOOK_SECONDS).topics[self._place.name]
        if found.error is not None or not found.partitions:
            raise NotFound(
                f"{self._place}: there is no topic {self._place.name!r}; create it: kafka-topics.sh "
                f"--bootstrap-server {self._place.address} --create --topic {self._place.name} --partitions 4"
            )
        return sorted(found.partitions)


class KafkaTarget:
    """Produces to one topic."""

    ordered = False

    def __init__(self, place: Place) -> None:
        self._place = place
        self._producer: Producer | None = None

    async def publish(self, messages: Sequence[Outgoing]) -> list[FairleadError | None]:
        return await asyncio.to_thread(self._publish, messages)

    async def close(self) -> None:
        if self._producer is not None:
            await asyncio.to_thread(self._producer.flush, 1.0)

    def _publish(self, messages: Sequence[Outgoing]) -> list[FairleadError | None]:
        said: list[Any] = [Unavailable(f"{self._place}: nobody confirmed the message")] * len(messages)
        with talking(self._place):
            producer = self._made()
            for at, message in enumerate(messages):
                try:
                    self._produce(producer, message, functools.partial(self._told, said, at))
                except KafkaException as error:
                    said[at] = self._refused(error.args[0], len(message.body))
            producer.flush(ANSWER_SECONDS)
        for found in said:
            if found is not None and not isinstance(found, BodyTooLarge):
                raise found
        return said

    def _made(self) -> Producer:
        if self._producer is None:
            more = {"enable.idempotence": True, "linger.ms": 1, "message.timeout.ms": round(ANSWER_SECONDS * 900)}
            self._producer = Producer(settings(self._place, **more))
        return self._producer

    def _produce(self, producer: Producer, message: Outgoing, told: Any) -> None:
        headers: list[tuple[str, str | bytes | None]] = [
            (name, value.encode("utf-8", "replace")) for name, value in message.headers.items()
        ]
        if message.idempotency:
            headers.append(("idempotency-key", message.idempotency.encode()))
        key = message.key.encode("utf-8", "surrogateescape") if message.key else None
        while True:
            try:
                producer.produce(self._place.name, message.body, key, headers=headers, on_delivery=told)
            except BufferError:
                producer.poll(0.05)
            else:
                return

    def _told(self, said: list[Any], at: int, error: KafkaError | None, _: Any) -> None:
        said[at] = None if error is None else self._refused(error, 0)

    def _refused(self, error: KafkaError, size: int) -> FairleadError:
        if error.fatal():
            self._producer = None  # the next try gets a new one
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return BodyTooLarge(f"{self._place}: {size} bytes are more than the topic takes; raise max.message.bytes")
        what = "the topic is gone" if error.code() in _ABSENT else error.str()
        return Unavailable(f"{self._place}: {what}")
