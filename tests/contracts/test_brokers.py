"""The broker suite over the fake and over every broker whose server is installed."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator

import aio_pika
import nats
import pytest
from confluent_kafka import Producer
from redis.asyncio import Redis

import services
from fairlead.contracts.broker import Place
from fairlead.kit import plugins
from fairlead.testing import broker_suite
from fairlead.testing.brokers import MemoryHub

Check = Callable[[broker_suite.Site], Awaitable[None]]
NUMBERS = itertools.count(1)


def named(prefix: str) -> str:
    return f"{prefix}-{next(NUMBERS)}"


def nothing(scheme: str) -> Place:
    """Where nothing listens."""
    return Place(scheme, "127.0.0.1:9", "nothing")


@pytest.fixture(scope="module")
def nats_server() -> Iterator[services.Service]:
    with services.nats() as service:
        yield service


@pytest.fixture(scope="module")
def redis_server() -> Iterator[services.Service]:
    with services.redis() as service:
        yield service


@pytest.fixture(scope="module")
def rabbit_server() -> Iterator[services.Service]:
    with services.rabbitmq() as service:
        yield service


@pytest.fixture
def kafka_cluster() -> Producer:
    """librdkafka's own mock of a cluster, in this process: no transactions, no look-up of offsets by time."""
    return Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 2})


@pytest.mark.parametrize("check", broker_suite.CHECKS, ids=lambda check: check.__name__)
class TestBrokers:
    async def test_memory(self, check: Check) -> None:
        hub = MemoryHub()
        down = MemoryHub()
        down.down = True

        async def fresh() -> Place:
            name = named("memory")
            hub.create(name)
            return Place("memory", "here:1", name)

        await check(broker_suite.Site(hub.broker, fresh, unique=True, largest=(1 << 20) + 1))

    async def test_nats(self, check: Check, nats_server: services.Service) -> None:
        address = f"127.0.0.1:{nats_server.port}"

        async def fresh() -> Place:
            name = named("nats")
            client = await nats.connect(f"nats://{address}")
            await client.jetstream().add_stream(name=name, subjects=[f"{name}.in"])
            await client.close()
            return Place("nats", address, f"{name}.in")

        broker = plugins.load("fairlead.brokers", "nats")
        await check(broker_suite.Site(broker, fresh, unique=True, largest=(1 << 20) + 1, down=nothing("nats")))

    async def test_redis(self, check: Check, redis_server: services.Service) -> None:
        address = f"127.0.0.1:{redis_server.port}"

        async def fresh() -> Place:
            name = named("redis")
            async with Redis(port=redis_server.port) as client:
                await client.xdel(name, await client.xadd(name, {"body": ""}))
            return Place("redis", address, name)

        broker = plugins.load("fairlead.brokers", "redis")
        await check(broker_suite.Site(broker, fresh, makes=True, down=nothing("redis")))

    async def test_rabbitmq(self, check: Check, rabbit_server: services.Service) -> None:
        address = f"127.0.0.1:{rabbit_server.port}"

        async def fresh() -> Place:
            name = named("rabbit")
            async with await aio_pika.connect(f"amqp://guest:guest@{address}/") as connection:
                await (await connection.channel()).declare_queue(name, durable=True)
            return Place("amqp", address, name)

        broker = plugins.load("fairlead.brokers", "amqp")
        await check(broker_suite.Site(broker, fresh, groups=False, replays=False, down=nothing("amqp")))

    async def test_kafka(self, check: Check, kafka_cluster: Producer) -> None:
        brokers = kafka_cluster.list_topics(timeout=5).brokers.values()
        address = ",".join(f"{one.host}:{one.port}" for one in brokers)

        async def fresh() -> Place:
            name = named("kafka")
            kafka_cluster.list_topics(name, timeout=5)  # makes it, with four partitions
            return Place("kafka", address, name, options={"session.timeout.ms": "6000", "heartbeat.interval.ms": "500"})

        site = broker_suite.Site(
            plugins.load("fairlead.brokers", "kafka"),
            fresh,
            shares=False,
            replays=False,
            largest=2 << 20,
            down=nothing("kafka"),
        )
        await check(site)
