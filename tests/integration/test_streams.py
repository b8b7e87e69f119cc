"""Stream workers on real brokers: killed and started again in full run, shared, replayed, and stopped by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aio_pika
import nats
import pytest
from redis.asyncio import Redis

import services
from fairlead.contracts.broker import Message, Outgoing, Place, Since
from fairlead.contracts.errors import Unavailable
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.serve.batcher import Policy
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.streams.deciding import Wait
from fairlead.serve.streams.settings import Ends, StreamSettings
from fairlead.serve.streams.worker import StreamWorker
from fairlead.testing.models import EchoModel
from fairlead.testing.sinks import MemoryMeter

QUICK = Wait(first=0.05, most=0.5)
KEYS = 20


async def nats_streams(port: int, *names: str) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    for name in names:
        await client.jetstream().add_stream(name=name, subjects=[name])
    await client.close()


async def redis_streams(port: int, *names: str) -> None:
    async with Redis(port=port) as client:
        for name in names:
            await client.xdel(name, await client.xadd(name, {"body": ""}))


async def rabbit_queues(port: int, *names: str) -> None:
    async with await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{port}/") as connection:
        channel = await connection.channel()
        for name in names:
            await channel.declare_queue(name, durable=True)


@dataclass
class Site:
    """One real server and how streams are made on it."""

    scheme: str
    service: services.Service
    make: Callable[..., Awaitable[None]]

    def place(self, name: str) -> Place:
        return Place(self.scheme, f"127.0.0.1:{self.service.port}", name)

    async def broker(self, name: str) -> Any:
        return plugins.load("fairlead.brokers", self.scheme)(self.place(name))


KINDS = {
    "nats": (services.nats, nats_streams),
    "redis": (services.redis, redis_streams),
    "amqp": (services.rabbitmq, rabbit_queues),
}
LOGS = pytest.mark.parametrize("site", ["nats", "redis"], indirect=True)
"""Brokers that keep what was acknowledged."""


@pytest.fixture(params=list(KINDS))
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    serve, make = KINDS[request.param]
    with serve() as service:
        yield Site(request.param, service, make)


@contextlib.asynccontextmanager
async def worker(site: Site, member: str = "one", since: Since | None = None) -> AsyncIterator[StreamWorker]:
    """A worker from ``in`` to ``out``; its counts are in ``said`` afterwards."""
    clock, catalog = SystemClock(), Catalog()
    loop = asyncio.get_running_loop()
    live = Live(
        "m", "7", EchoModel(), policy=Policy(), placement=Placement(), meter=MemoryMeter(), clock=clock, loop=loop
    )
    catalog.put(live)
    reading, writing = await site.broker("in"), await site.broker("out")
    source = await reading.source("g", member, since)
    ends = Ends(site.place("in"), "g", source, site.place("out"), await writing.target())
    running = StreamWorker(Pipeline(catalog, clock), "m", ends, StreamSettings(wait=QUICK, report=1.0), clock)
    task = asyncio.create_task(running.run())
    try:
        yield running
    finally:
        running.stop()
        await asyncio.wait_for(task, 30)
        await source.close()
        live.close()
        for broker in (reading, writing):
            await broker.close()


async def produce(site: Site, numbers: range) -> None:
    """One after the other in batches, each until the broker has it."""
    broker = await site.broker("in")
    target = await broker.target()
    for at in range(numbers.start, numbers.stop, 20):
        letters = [_letter(number) for number in range(at, min(at + 20, numbers.stop))]
        while True:
            try:
                await target.publish(letters)
                break
            except Unavailable:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.005)
    await broker.close()


def _letter(number: int) -> Outgoing:
    body = json.dumps({"x": [number, 0]}).encode()
    return Outgoing(body, {"x-request-id": str(number)}, f"k{number % KEYS}", f"p{number}")


async def answers(site: Site, different: int, seconds: float = 60.0, name: str = "out") -> list[Message]:
    """All answers, once there are ``different`` ones."""
    broker = await site.broker(name)
    source = await broker.source("check", "check")
    found: list[Message] = []
    async with asyncio.timeout(seconds):
        while len({one.headers["x-request-id"] for one in found}) < different:
            some = await source.fetch(500, 0.2)
            await source.settle(some)
            found += some
    some = await source.fetch(500, 0.5)
    await source.settle(some)
    found += some
    await source.close()
    await broker.close()
    return found


def first_times(found: list[Message]) -> dict[str, list[int]]:
    """The numbers of each key, each where it was answered first."""
    order: dict[str, list[int]] = defaultdict(list)
    for one in found:
        number = int(one.headers["x-request-id"])
        if number not in order[one.key]:
            order[one.key].append(number)
    return order


async def test_nothing_is_lost_when_the_broker_is_killed_in_full_run(site: Site) -> None:
    await site.make(site.service.port, "in", "out")
    total = 3_000
    async with worker(site) as running:
        producing = asyncio.create_task(produce(site, range(total)))
        for share in (0.25, 0.6):
            async with asyncio.timeout(120):  # RabbitMQ takes its time to start again
                while running.counts.answered < share * total:
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(site.service.kill)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(site.service.start)
        await producing
        found = await answers(site, total)
        for _ in range(100):
            if running._window.count == 0:
                break
            await asyncio.sleep(0.05)
        assert running._window.count == 0
        assert running.counts.away >= 2
    order = first_times(found)
    assert sorted(number for numbers in order.values() for number in numbers) == list(range(total))
    for key, numbers in order.items():
        assert numbers == sorted(numbers), key
        assert numbers[-1] == total - KEYS + int(key.removeprefix("k")), "the last message of the key was processed"
    if site.scheme == "nats":
        assert len(found) == total, "JetStream keeps duplicates out"
    async with worker(site) as again:  # all was acknowledged
        await asyncio.sleep(0.7)
        assert again.counts.messages == 0


async def test_workers_of_a_group_share_and_one_that_is_killed_costs_nothing(site: Site) -> None:
    await site.make(site.service.port, "in", "out")
    async with worker(site, "one") as one, worker(site, "two") as two:
        await produce(site, range(1_000))
        found = await answers(site, 1_000)
        assert one.counts.messages > 0
        assert two.counts.messages > 0
    assert len(found) == 1_000
    broker = await site.broker("in")
    source = await broker.source("g", "gone")
    await produce(site, range(1_000, 1_010))
    taken = await source.fetch(5, 5)
    assert taken
    await source.close()  # as a worker does that could not finish
    async with worker(site, "three"):
        again = await answers(site, 10)
    assert {one.headers["x-request-id"] for one in again} == {str(number) for number in range(1_000, 1_010)}
    await broker.close()


@LOGS
async def test_a_replay_answers_the_window_again_and_ends(site: Site) -> None:
    await site.make(site.service.port, "in", "out")
    await produce(site, range(100))
    async with worker(site):
        await answers(site, 100)
    broker = await site.broker("in")
    reader = await broker.source("ids", "ids")
    ids: list[str] = []
    async with asyncio.timeout(30):
        while len(ids) < 100:
            ids += [one.id for one in await reader.fetch(100, 2)]
    await broker.close()
    async with worker(site, "replay", Since(id=ids[60])) as running:
        async with asyncio.timeout(20):
            while not (running._ends.source.ended and running._window.count == 0):
                await asyncio.sleep(0.02)
        assert running.counts.answered == 40


@LOGS
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_broker_may_end_in_order_too(site: Site, number: signal.Signals) -> None:
    """A restart as an operator does it, while messages wait."""
    await site.make(site.service.port, "in", "out")
    await produce(site, range(400))
    async with worker(site):
        await asyncio.to_thread(site.service.stop, number)
        await asyncio.to_thread(site.service.start)
        found = await answers(site, 400)
    assert {one.headers["x-request-id"] for one in found} == {str(one) for one in range(400)}
