"""Replays of a Kafka topic, on librdkafka's mock of a cluster."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from fairlead.contracts.broker import Message, Outgoing, Place, Since
from fairlead.contracts.errors import UsageError
from fairlead.kit import plugins


@pytest.fixture
def cluster() -> Producer:
    return Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 2})


async def filled(cluster: Producer) -> Place:
    """A topic whose one key has ten messages."""
    (one,) = cluster.list_topics("orders", timeout=5).brokers.values()
    place = Place("kafka", f"{one.host}:{one.port}", "orders")
    target = await plugins.load("fairlead.brokers", "kafka")(place).target()
    assert await target.publish([Outgoing(str(number).encode(), {}, "k") for number in range(10)]) == [None] * 10
    await target.close()
    return place


async def replayed(place: Place, since: str) -> list[Message]:
    source = await plugins.load("fairlead.brokers", "kafka")(place).source("g", "one", Since(id=since))
    found: list[Message] = []
    for _ in range(100):
        if source.ended:
            break
        found += await source.fetch(4, 0.5)
    assert source.ended
    await source.settle(found)
    await source.close()
    return found


async def test_a_replay_begins_at_an_offset_and_ends_where_the_topic_did(cluster: Producer) -> None:
    place = await filled(cluster)
    everything = await replayed(place, "0")  # of all partitions
    assert [int(one.body) for one in everything] == list(range(10))
    partition, _, offset = everything[6].id.partition("-")
    assert [int(one.body) for one in await replayed(place, f"{partition}-{offset}")] == [6, 7, 8, 9]
    assert await replayed(place, f"{partition}-{int(offset) + 100}") == []


async def test_an_id_of_another_broker_is_refused(cluster: Producer) -> None:
    place = await filled(cluster)
    with pytest.raises(UsageError, match="PARTITION-OFFSET"):
        await plugins.load("fairlead.brokers", "kafka")(place).source("g", "one", Since(id="x-1"))
