"""A model on other servers: what becomes of calls when these are down, slow, wrong or away for a while."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from upstream_servers import MODEL, Asked, Double, doubled, doubles, http

from fairlead.contracts.errors import (
    BrokenModel,
    Cancelled,
    CircuitOpen,
    DeadlineExceeded,
    FairleadError,
    InputError,
    ModelFailed,
    Overloaded,
    QueueFull,
    SourceNotFound,
    Unavailable,
    UsageError,
)
from fairlead.contracts.types import Reply
from fairlead.kit import upstreams
from fairlead.kit.clock import SystemClock
from fairlead.kit.upstreams import Remote
from fairlead.serve.call import Call
from fairlead.serve.endpoint import Live
from fairlead.serve.remote.settings import Upstream
from fairlead.serve.settings import EndpointSettings
from fairlead.testing.sinks import MemorySink
from fairlead.wiring.loading import live_upstream

Outcome = Reply | FairleadError


class Bench:
    """One live version whose model is elsewhere."""

    def __init__(self, live: Live, sink: MemorySink) -> None:
        self.live, self.sink = live, sink

    @property
    def asked(self) -> dict[str, int]:
        """Requests by outcome, over all addresses."""
        found: dict[str, int] = {}
        for (_, outcome), count in self.sink.meters["m", "upstream"].asked.items():
            found[outcome] = found.get(outcome, 0) + count
        return found

    def begin(self, *rows: float, deadline: float = 10.0) -> tuple[Call, asyncio.Future[Outcome]]:
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        now = SystemClock.now()

        def done(call: Call) -> None:
            assert call.outcome is not None
            answered.set_result(call.outcome)

        inputs = {"x": np.array(rows, np.float32).reshape(-1, 1)}
        call = self.live.call(inputs, {}, done, arrived=now, deadline=now + deadline)
        self.live.submit(call)
        return call, answered

    async def ask(self, *rows: float, deadline: float = 10.0) -> Outcome:
        return await asyncio.wait_for(self.begin(*rows, deadline=deadline)[1], 20)


@asynccontextmanager
async def asking(*urls: str, max_rows: int = 0, **how: Any) -> AsyncIterator[Bench]:
    loop, sink = asyncio.get_running_loop(), MemorySink()
    upstream = Upstream(Remote(tuple(map(upstreams.address, urls)), "m"), **how)
    settings = EndpointSettings(max_rows=max_rows)
    live = await loop.run_in_executor(None, live_upstream, "m", upstream, settings, sink, SystemClock(), loop)
    try:
        yield Bench(live, sink)
    finally:
        live.close()
        await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def values(outcome: Outcome) -> list[float]:
    assert isinstance(outcome, Reply), outcome
    found: list[float] = outcome.outputs["y"][:, 0].tolist()
    return found


async def free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    return port


async def test_calls_of_one_turn_ride_together_in_one_request() -> None:
    async with doubles() as (there,), asking(there.url) as here:
        outcomes = await asyncio.gather(*(here.ask(one, one + 0.5) for one in range(5)))
        assert [values(one) for one in outcomes] == [[2 * one, 2 * one + 1] for one in range(5)]
        assert len(there.asked) == 1
        assert 0 < float(there.asked[0].headers["x-request-timeout-ms"]) <= 10_000
        assert await here.ask() is not None
        assert here.live.executor.kind == "remote"


async def test_connections_are_kept_and_no_more_requests_than_allowed_are_under_way() -> None:
    async with doubles() as (there,), asking(there.url, connections=3, max_rows=1) as here:
        open_ = most = 0

        async def counted(asked: Asked, writer: asyncio.StreamWriter) -> None:
            nonlocal open_, most
            open_ += 1
            most = max(most, open_)
            await asyncio.sleep(0.005)
            open_ -= 1
            await there.right(asked, writer)

        there.infer = counted
        outcomes = await asyncio.gather(*(here.ask(one) for one in range(30)))
        assert [values(one) for one in outcomes] == [[2.0 * one] for one in range(30)]
        assert most == 3
        assert there.connections <= 4  # one of them asked for the description


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def chunked(asked: Asked, writer: asyncio.StreamWriter) -> None:
    body = doubled(asked.rows)
    writer.write(CHUNKED)
    for piece in (body[:7], body[7:]):
        await asyncio.sleep(0.005)
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    writer.write(b"0\r\n\r\n")


async def to_the_end(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + doubled(asked.rows))
    writer.close()


async def interim(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + http(doubled(asked.rows)))


async def byte_by_byte(asked: Asked, writer: asyncio.StreamWriter) -> None:
    for byte in http(doubled(asked.rows)):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)


@pytest.mark.parametrize("answering", [chunked, to_the_end, interim, byte_by_byte], ids=lambda one: one.__name__)
async def test_every_shape_of_an_http_answer_is_read(answering: Any) -> None:
    async with doubles() as (there,), asking(there.url) as here:
        there.infer = answering
        for one in range(3):
            assert values(await here.ask(one)) == [2.0 * one]


async def test_a_kept_connection_that_was_closed_between_requests_costs_nobody_an_answer() -> None:
    async with doubles() as (there,), asking(there.url, retries=0) as here:

        async def once(asked: Asked, writer: asyncio.StreamWriter) -> None:
            await there.right(asked, writer)
            writer.close()  # without having said that it would

        there.infer = once
        for one in range(10):
            assert values(await here.ask(one)) == [2.0 * one]
        assert here.asked == {"ok": 10}


@pytest.mark.parametrize("surplus", [120, 10**6], ids=["the beginning of another answer", "another answer"])
async def test_what_nobody_asked_for_is_in_nobodys_answer(surplus: int) -> None:
    async def chatty(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(http(doubled(asked.rows)) + http(doubled([7.0]))[:surplus])

    async with doubles() as (there,), asking(there.url) as here:
        there.infer = chatty
        for number in range(5):
            assert values(await here.ask(number)) == [2.0 * number]
        assert here.asked == {"ok": 5}
        assert there.connections >= 5


async def garbage(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def no_json(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(http(b"<html>hello" + b"x" * 5000))


async def other_name(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(http(doubled(asked.rows, name="z")))


async def other_rows(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(http(doubled([*asked.rows, 1.0])))


async def cut_tensor(asked: Asked, writer: asyncio.StreamWriter) -> None:
    output = {"name": "y", "datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}}
    head = json.dumps({"model_name": "m", "outputs": [output]}).encode()
    writer.write(http(head + b"\0\0", "200 OK", f"inference-header-content-length: {len(head)}"))


async def deep(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(http(b'{"outputs": ' + b"[" * 10**5))


async def deep_error(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(http(b'{"why": ' + b"[" * 10**5, "302 Found"))


async def redirected(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(http(b"", "302 Found", "location: http://elsewhere/"))


async def oversize(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")


async def long_headers(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"x-more: and more of it and more of it\r\n" * 4000 + b"\r\n")


@pytest.mark.parametrize(
    "answering",
    [garbage, no_json, other_name, other_rows, cut_tensor, deep, deep_error, redirected, oversize, long_headers],
    ids=lambda one: one.__name__,
)
async def test_garbage_fails_the_call_names_the_address_and_ejects_it(answering: Any) -> None:
    async with doubles() as (there,), asking(there.url, failures=2, seconds=1.0) as here:
        there.infer = answering
        for _ in range(2):
            outcome = await here.ask(1.0)
            assert isinstance(outcome, ModelFailed)
            assert there.url in str(outcome)
            assert len(str(outcome)) < 500
        assert here.asked == {"garbled": 2}
        (trouble,) = here.live.executor.troubles()
        assert "is left out for" in trouble
        there.infer = there.right
        assert isinstance(outcome := await here.ask(1.0), CircuitOpen)
        assert outcome.retry_after == 1
        await until(lambda: not here.live.executor.troubles())
        assert values(await here.ask(1.0)) == [2.0]
        assert here.live.executor.troubles() == []


async def cut(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(http(doubled(asked.rows))[:-9])
    writer.transport.abort()


async def hung_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def bad_gateway(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(http(b"upstream went away", "502 Bad Gateway"))


async def not_ready(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(http(b'{"error": "still loading"}', "503 Service Unavailable", "retry-after: 7"))


async def not_found(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(http(b'{"error": "no such model"}', "404 Not Found"))


@pytest.mark.parametrize("answering", [cut, hung_up, bad_gateway, not_ready, not_found], ids=lambda one: one.__name__)
async def test_without_an_answer_another_address_is_asked(answering: Any) -> None:
    async with doubles(2) as (bad, good), asking(bad.url, good.url, failures=3) as here:
        bad.infer = answering
        for one in range(20):
            assert values(await here.ask(one)) == [2.0 * one]
        assert 3 <= len(bad.asked) <= 4  # a kept connection that is lost is tried afresh once
        assert here.asked["unreached"] == 3
        here.live.report()
        meter = here.sink.meters["m", "upstream"]
        assert meter.upstreams == {bad.url: (0, True), good.url: (0, False)}


async def test_when_nobody_answers_it_says_when_to_come_back() -> None:
    async with doubles() as (there,), asking(there.url) as here:
        there.infer = not_ready
        outcome = await here.ask(1.0, deadline=5.0)
        assert isinstance(outcome, Unavailable)
        assert outcome.retry_after == 7
        assert str(outcome) == f"{there.url} does not answer: 503: still loading"
        there.kill()
        outcome = await here.ask(1.0)
        assert isinstance(outcome, Unavailable)
        assert "there is no connection" in str(outcome)


@pytest.mark.parametrize(
    ("status", "kind"), [("429 Too Many Requests", QueueFull), ("503 Service Unavailable", Overloaded)]
)
async def test_a_full_server_is_passed_on_with_its_retry_after_and_ejects_nobody(
    status: str, kind: type[FairleadError]
) -> None:
    async def full(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b'{"error": "too much to do", "code": "overloaded"}', status, "retry-after: 3"))

    async with doubles() as (there,), asking(there.url, failures=1) as here:
        there.infer = full
        for _ in range(3):
            outcome = await here.ask(1.0, deadline=2.0)  # which would be over by then
            assert isinstance(outcome, kind)
            assert outcome.retry_after == 3
        assert here.asked == {"refused": 3}
        assert here.live.executor.troubles() == []


@pytest.mark.parametrize(("status", "kind"), [("400 Bad Request", InputError), ("500 Error", ModelFailed)])
async def test_a_poison_row_fails_alone(status: str, kind: type[FairleadError]) -> None:
    async with doubles() as (there,), asking(there.url, failures=1) as here:

        async def poisoned(asked: Asked, writer: asyncio.StreamWriter) -> None:
            if 13.0 in asked.rows:
                writer.write(http(b'{"error": "thirteen is\\nnot allowed"}', status))
            else:
                await there.right(asked, writer)

        there.infer = poisoned
        outcomes = await asyncio.gather(*(here.ask(one) for one in range(20)))
        bad = outcomes.pop(13)
        assert type(bad) is kind
        assert "thirteen is not allowed" in str(bad)
        assert there.url in str(bad)
        assert [values(one) for one in outcomes] == [[2.0 * one] for one in range(20) if one != 13]
        assert here.live.executor.troubles() == []


async def never(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def dripping(asked: Asked, writer: asyncio.StreamWriter) -> None:
    for byte in http(doubled(asked.rows)):
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("answering", [never, dripping], ids=lambda one: one.__name__)
async def test_nothing_waits_past_its_deadline_and_the_request_is_given_up_there(answering: Any) -> None:
    async with doubles() as (there,), asking(there.url, failures=2) as here:
        await here.ask(0.0)
        there.infer = answering
        for _ in range(2):
            began = time.monotonic()
            assert isinstance(await here.ask(1.0, deadline=0.2), DeadlineExceeded)
            assert time.monotonic() - began < 1.5
        await until(lambda: there.hangups == 2)
        assert here.asked == {"ok": 1, "timeout": 2}
        assert "did not answer in time" in here.live.executor.troubles()[0]
        assert here.live.idle


async def test_a_short_deadline_is_not_the_servers_fault() -> None:
    async def slowly(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.03)
        writer.write(http(doubled(asked.rows)))

    async with doubles() as (there,), asking(there.url, failures=1) as here:
        there.infer = slowly
        for _ in range(5):
            assert isinstance(await here.ask(1.0, deadline=0.005), DeadlineExceeded)
        assert here.live.executor.troubles() == []


async def test_when_all_callers_of_a_batch_hang_up_the_other_server_is_told() -> None:
    async with doubles() as (there,), asking(there.url) as here:
        there.infer = never
        begun = [here.begin(one) for one in (1.0, 2.0)]
        await until(lambda: len(there.asked) == 1)
        here.live.cancel(begun[0][0])
        await asyncio.sleep(0.05)
        assert there.hangups == 0
        here.live.cancel(begun[1][0])
        await until(lambda: there.hangups == 1)
        assert [type(await answered) for _, answered in begun] == [Cancelled, Cancelled]
        await until(lambda: here.live.idle)
        assert here.asked == {"cancelled": 1}
        assert here.live.executor.troubles() == []


async def test_a_call_that_is_cancelled_in_the_turn_it_came_leaves_no_place_taken() -> None:
    async with doubles() as (there,), asking(there.url, connections=1) as here:
        for _ in range(3):
            call, _ = here.begin(1.0)
            await asyncio.sleep(0)
            here.live.cancel(call)
        assert values(await here.ask(4.0)) == [8.0]


async def test_unloading_answers_what_runs() -> None:
    async with doubles() as (there,), asking(there.url) as here:
        there.infer = never
        _, answered = here.begin(1.0)
        await until(lambda: len(there.asked) == 1)
        here.live.close()
        outcome = await asyncio.wait_for(answered, 5)
        assert isinstance(outcome, Unavailable)
        assert "unloaded" in str(outcome)


async def test_one_of_two_is_killed_under_load_and_comes_back_and_no_call_fails() -> None:
    how = {"failures": 3, "seconds": 0.3, "max_rows": 1}
    async with doubles(2) as (one, other), asking(one.url, other.url, **how) as here:
        stop, failed, answered = False, [], 0

        async def caller(number: float) -> None:
            nonlocal answered
            while not stop:
                outcome = await here.ask(number)
                if isinstance(outcome, FairleadError) or values(outcome) != [2 * number]:
                    failed.append(outcome)
                answered += 1

        callers = [asyncio.ensure_future(caller(float(number))) for number in range(8)]
        await until(lambda: len(one.asked) > 50 and len(other.asked) > 50)
        one.kill()
        await until(lambda: here.live.executor.troubles() != [])
        before = answered
        await until(lambda: answered > before + 200)
        seen = len(one.asked)
        await one.start()
        await until(lambda: here.live.executor.troubles() == [] and len(one.asked) > seen + 50)
        stop = True
        await asyncio.gather(*callers)
        assert failed == []
        assert here.asked["unreached"] >= 3


async def test_whatever_happens_every_call_ends_once_and_no_place_stays_taken() -> None:
    chance = random.Random(11)
    answers = [chunked, interim, garbage, other_rows, cut, hung_up, bad_gateway, not_ready, never]
    how = {"connections": 4, "failures": 2, "seconds": 0.1, "max_rows": 4}
    async with doubles(3) as all_, asking(*(one.url for one in all_), **how) as here:
        for one in all_:

            async def anything(asked: Asked, writer: asyncio.StreamWriter, one: Double = one) -> None:
                answer = one.right if chance.random() < 0.7 else chance.choice(answers)
                await answer(asked, writer)

            one.infer = anything
        begun = []
        for number in range(1500):
            call, answered = here.begin(float(number), deadline=chance.choice([0.02, 0.3]))
            begun.append((number, call, answered))
            if chance.random() < 0.1:
                here.live.cancel(begun[chance.randrange(len(begun))][1])
            if chance.random() < 0.2:
                await asyncio.sleep(0.003)
        outcomes = await asyncio.wait_for(asyncio.gather(*(answered for *_, answered in begun)), 20)
        right = 0
        for (number, *_), outcome in zip(begun, outcomes, strict=True):
            if isinstance(outcome, Reply):
                assert values(outcome) == [2.0 * number]
                right += 1
            else:
                expected = DeadlineExceeded | Cancelled | ModelFailed | Unavailable | Overloaded
                assert isinstance(outcome, expected), outcome
        assert right > 100
        await until(lambda: here.live.idle)
        here.live.report()
        assert [in_flight for in_flight, _ in here.sink.meters["m", "upstream"].upstreams.values()] == [0, 0, 0]


# What is found when the endpoint is loaded, and later.


async def test_no_address_answers_and_each_is_named() -> None:
    port = await free_port()
    with pytest.raises(Unavailable, match=rf"no address of 'm' answers \(http://127.0.0.1:{port}: there is no conn"):
        async with asking(f"http://127.0.0.1:{port}"):
            pass


async def test_a_name_that_is_not_known_is_said() -> None:
    with pytest.raises(Unavailable, match="there is no connection"):
        async with asking("http://no-such-host.invalid:8000"):
            pass


async def test_addresses_that_serve_different_models_are_an_error_at_load() -> None:
    async with doubles(2) as (one, other):
        other.model = {**MODEL, "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 1]}]}
        with pytest.raises(
            BrokenModel, match=f"{other.url} serves another model than {one.url}: its input 'x' is FP64"
        ):
            async with asking(one.url, other.url):
                pass


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [({"error": "x"}, BrokenModel, "which inputs"), ({"inputs": 3}, BrokenModel, "in no form that is known")],
    ids=["nothing", "another form"],
)
async def test_a_description_that_is_none(model: Any, kind: type[FairleadError], words: str) -> None:
    async with doubles() as (there,):
        there.model = model
        with pytest.raises(kind, match=words):
            async with asking(there.url):
                pass


async def test_one_that_is_down_at_load_is_taken_in_when_it_is_there() -> None:
    async with doubles(2) as (one, late):
        late.kill()
        async with asking(one.url, late.url, seconds=0.2, max_rows=1) as here:
            assert late.url in here.live.executor.troubles()[0]
            assert values(await here.ask(1.0)) == [2.0]
            await late.start()
            await until(lambda: here.live.executor.troubles() == [])
            for _ in range(20):
                await asyncio.gather(here.ask(1.0), here.ask(2.0))
            assert late.asked


async def test_one_that_comes_back_as_another_model_is_kept_out_until_it_agrees() -> None:
    async with doubles(2) as (one, other), asking(one.url, other.url, failures=1, seconds=0.1) as here:
        other.infer = hung_up
        other.model = {**MODEL, "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1, 1]}]}
        await until_out(here, other)
        await until(lambda: "serves another model" in "".join(here.live.executor.troubles()))
        assert "its output 'y' is INT64 [-1, 1], not FP32 [-1, 1]" in here.live.executor.troubles()[0]
        asked = len(other.asked)
        for number in range(10):
            assert values(await here.ask(number)) == [2.0 * number]
        assert len(other.asked) == asked
        other.infer, other.model = other.right, MODEL
        await until(lambda: here.live.executor.troubles() == [])


async def until_out(here: Bench, other: Double) -> None:
    async with asyncio.timeout(10):
        while not here.live.executor.troubles():
            await asyncio.gather(*(here.ask(float(one)) for one in range(4)))
    assert other.url in here.live.executor.troubles()[0]


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
async def test_a_file_of_authorities_that_cannot_be_read_is_said(scheme: str) -> None:
    with pytest.raises(UsageError, match="upstream.ca 'none.pem' of 'm': No such file or directory; give a PEM file"):
        async with asking(f"{scheme}://127.0.0.1:9", ca="none.pem"):
            pass


async def test_a_model_that_is_not_there_is_said() -> None:
    async with doubles() as (there,):

        async def nothing(asked: Asked, writer: asyncio.StreamWriter, _: asyncio.StreamReader) -> None:
            writer.write(http(b'{"error": "unknown"}', "404 Not Found"))

        there._answer = nothing  # type: ignore[method-assign]
        with pytest.raises(SourceNotFound, match="it has no model 'm'; name the model that is there"):
            async with asking(there.url):
                pass


async def test_an_error_that_nests_too_deep_is_the_models_all_the_same() -> None:
    async def failing(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b'{"why": ' + b"[" * 10**5, "500 Error"))

    async with doubles() as (there,), asking(there.url) as here:
        there.infer = failing
        outcome = await here.ask(1.0)
        assert isinstance(outcome, ModelFailed)
        assert '500: {"why": [[[' in str(outcome)
