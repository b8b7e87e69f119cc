"""The socket between the supervisor and a worker: real sockets, one loop."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from fairlead.serve.channel import Channel
from fairlead.serve.messages import Accepted, Measure, Measured, Taken, ToSupervisor, ToWorker


class End:
    """One end, keeping what comes."""

    def __init__(self, link: socket.socket, kinds: Any) -> None:
        self.messages: list[Any] = []
        self.connections: list[socket.socket | None] = []
        self.closed = asyncio.Event()
        self.flowing = asyncio.Event()
        self.came = asyncio.Event()
        self.channel = Channel(link, kinds, self._received, self.closed.set, self.flowing.set)

    def start(self) -> None:
        self.channel.start(asyncio.get_running_loop())

    def _received(self, message: Any, connection: socket.socket | None) -> None:
        self.messages.append(message)
        if type(message) is Accepted:
            self.connections.append(connection)
        self.came.set()

    async def has(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.messages) < count:
                self.came.clear()
                await self.came.wait()


def pair() -> tuple[End, End]:
    ours, theirs = socket.socketpair()
    return End(ours, ToSupervisor), End(theirs, ToWorker)


async def test_a_descriptor_stays_with_its_message() -> None:
    supervisor, worker = pair()
    supervisor.start()
    worker.start()
    far: list[socket.socket] = []
    for number in range(40):
        near, other = socket.socketpair()
        far.append(other)
        supervisor.channel.send(Accepted(number, ""), near)
        supervisor.channel.send(Measure())
        near.close()  # the kernel keeps it alive on its way
    await worker.has(80)
    for number, connection in enumerate(worker.connections):
        assert connection is not None
        assert not connection.get_inheritable()
        connection.sendall(b"%d" % number)
        assert far[number].recv(10) == b"%d" % number
        connection.close()
        far[number].close()
    worker.channel.close()
    async with asyncio.timeout(10):
        await supervisor.closed.wait()
    supervisor.channel.close()


async def test_what_has_no_room_waits_and_flows_again() -> None:
    supervisor, worker = pair()
    supervisor.start()
    text = b"x" * 300_000
    for _ in range(20):
        worker.channel.send(Measured(text))
    assert worker.channel.full
    worker.start()
    worker.channel.send(Taken(1))
    await supervisor.has(21)
    assert supervisor.messages == [*([Measured(text)] * 20), Taken(1)]
    async with asyncio.timeout(10):
        await worker.flowing.wait()
    assert not worker.channel.full
    worker.channel.close()
    supervisor.channel.close()


async def test_the_last_word_arrives_before_the_end() -> None:
    supervisor, worker = pair()
    supervisor.start()
    worker.start()
    worker.channel.send(Measured(b"the last"))
    worker.channel.finish(5)
    async with asyncio.timeout(10):
        await supervisor.closed.wait()
    assert supervisor.messages == [Measured(b"the last")]
    worker.channel.send(Taken(1))  # to nobody: no error
    assert not supervisor.channel.open


async def test_nonsense_ends_the_channel() -> None:
    ours, theirs = socket.socketpair()
    supervisor = End(ours, ToSupervisor)
    supervisor.start()
    theirs.sendall(b"\xff" * 64)
    async with asyncio.timeout(10):
        await supervisor.closed.wait()
    theirs.close()
