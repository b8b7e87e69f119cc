"""The short way without a socket: what it takes, what it remembers of heads, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from fairlead.kit.clock import SystemClock
from fairlead.serve.batcher import Policy
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.front import Front
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.protocol import HEADS_KEPT, InferenceProtocol, protocol
from fairlead.serve.settings import ServerSettings
from fairlead.testing.models import EchoModel

INFER = b"/v2/models/echo/infer"


class Meter:
    def answered(self, seconds: float, rows: int, queue: float, compute: float) -> None: ...
    def failed(self, code: str, seconds: float) -> None: ...
    def queue(self, rows: int, calls: int) -> None: ...
    def shed(self, reason: str, lane: str) -> None: ...
    def batch(self, rows: int, calls: int, seconds: float) -> None: ...


class Sink:
    def edge_error(self, route: str, code: str) -> None: ...


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, *_: Any) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


async def long_way(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Wire:
    """One connection, and the server behind it."""

    def __init__(self) -> None:
        clock, catalog = SystemClock(), Catalog()
        loop = asyncio.get_running_loop()
        catalog.put(
            Live("echo", "1", EchoModel(), policy=Policy(), placement=Placement(True), meter=Meter(), clock=clock,
                 loop=loop)
        )  # fmt: skip
        front = Front(Pipeline(catalog, clock), Sink(), 1 << 16)  # type: ignore[arg-type]
        made: Any = protocol(front, ServerSettings(), lambda: False)
        config = uvicorn.Config(long_way, http=made, lifespan="off", log_config=None, access_log=False, ws="none")
        config.load()
        self.link: InferenceProtocol = made(config, ServerState(), {})
        self.transport = Transport()
        self.link.connection_made(self.transport)

    async def answers(self, count: int) -> list[bytes]:
        for _ in range(200):
            if len(self.transport.written) >= count:
                break
            await asyncio.sleep(0)
        found, self.transport.written = self.transport.written, []
        return found

    async def one(self) -> bytes:
        return b"".join(await self.answers(1))


def request(*values: float, headers: bytes = b"", path: bytes = INFER) -> bytes:
    inputs = [{"name": "x", "shape": [len(values) // 2, 2], "datatype": "FP64", "data": list(values)}]
    body = json.dumps({"inputs": inputs}).encode()
    return b"POST %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b" % (path, headers, len(body), body)


def values(answer: bytes) -> list[float]:
    assert answer.startswith(b"HTTP/1.1 200"), answer
    found: list[float] = json.loads(answer.partition(b"\r\n\r\n")[2])["outputs"][0]["data"]
    return found


def unparsed(wire: Wire) -> Callable[[], None]:
    """Make the parser unreachable, to show that it is not asked; returns how to give it back."""
    parser = wire.link.parser

    class Unreachable:
        def feed_data(self, data: bytes) -> None:
            raise AssertionError(f"the parser was given {data!r}")

    wire.link.parser = Unreachable()

    def back() -> None:
        wire.link.parser = parser

    return back


async def test_a_head_is_parsed_once() -> None:
    wire = Wire()
    wire.link.data_received(request(1, 2))
    assert values(await wire.one()) == [1, 2]
    back = unparsed(wire)
    wire.link.data_received(request(3, 4))
    assert values(await wire.one()) == [3, 4]
    back()
    wire.link.data_received(request(5, 6, headers=b"a: b\r\n"))
    assert values(await wire.one()) == [5, 6]
    wire.link.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"299" in await wire.one()


async def test_a_known_head_and_its_body_may_come_in_any_pieces() -> None:
    wire = Wire()
    whole = request(1, 2)
    wire.link.data_received(whole)
    await wire.one()
    for at in range(1, len(whole)):
        wire.link.data_received(whole[:at])
        wire.link.data_received(whole[at:])
        assert values(await wire.one()) == [1, 2], at
    for number in range(len(whole)):
        wire.link.data_received(whole[number : number + 1])
    assert values(await wire.one()) == [1, 2]


async def test_requests_that_come_in_one_piece_are_answered_in_order() -> None:
    wire = Wire()
    wire.link.data_received(request(1, 2))
    await wire.one()
    get = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    wire.link.data_received(request(1, 1) + request(2, 2) + get + request(3, 3) + request(4, 4)[:-3])
    wire.link.data_received(request(4, 4)[-3:])
    for _ in range(2000):
        await asyncio.sleep(0)
    text = b"".join(wire.transport.written)
    assert re.findall(rb"HTTP/1.1 (\d+)", text) == [b"200", b"299", b"299", b"299", b"299"]
    assert values(wire.transport.written[0]) == [1, 1], "the first rides the short way; the rest wait for their turn"


async def test_many_bad_bodies_in_one_piece() -> None:
    wire = Wire()
    bad = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n{" % INFER
    wire.link.data_received(bad)
    await wire.one()
    wire.link.data_received(bad * 3000)
    assert len(await wire.answers(3000)) == 3000


@pytest.mark.parametrize(
    "head",
    [
        b"POST %b HTTP/1.1\r\nhost: x\r\nx-request-id: abc\r\ncontent-length: 2\r\n\r\n",
        b"POST %b HTTP/1.1\r\nhost: x\r\ntraceparent: 00-a-b-01\r\ncontent-length: 2\r\n\r\n",
        b"\r\nPOST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n",
        b"POST %b HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 3000 + b"\r\ncontent-length: 2\r\n\r\n",
        b"POST %b?a=1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n",
        b"POST %b HTTP/1.0\r\nhost: x\r\ncontent-length: 2\r\n\r\n",
        b"POST %b HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
        b"POST %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n",
        b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n",
        b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 999999\r\n\r\n",
        b"PUT %b HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n",
    ],
)
async def test_heads_that_are_not_remembered(head: bytes) -> None:
    wire = Wire()
    wire.link.data_received(head % INFER + b"{}")
    await wire.answers(1)
    assert wire.link.heads == {}


async def test_heads_are_bounded() -> None:
    wire = Wire()
    for number in range(HEADS_KEPT + 10):
        wire.link.data_received(request(1, 2, headers=b"n: %d\r\n" % number))
        await wire.one()
    assert len(wire.link.heads) == 10


async def test_a_known_head_whose_endpoint_is_gone_goes_the_long_way() -> None:
    wire = Wire()
    wire.link.data_received(request(1, 2))
    await wire.one()
    wire.link.front.pipeline.catalog.remove("echo", "1")
    wire.link.data_received(request(1, 2))
    assert b"299" in await wire.one()


async def test_a_call_leaves_nothing_for_the_garbage_collector() -> None:
    """Whatever a call allocates is freed by its last reference: the collector has nothing to find, so it does not
    stop the loop."""
    wire = Wire()
    requests = [request(float(number), 1.0) for number in range(100)]
    for one in requests:
        wire.link.data_received(one)
        await wire.one()
    found = []
    for _ in range(3):  # what a call leaves, each round leaves; what threads of other tests leave, one may
        gc.collect()
        gc.disable()
        try:
            for one in requests * 3:
                wire.link.data_received(one)
                await wire.one()
            found.append(gc.collect())
        finally:
            gc.enable()
    assert min(found) < 20
