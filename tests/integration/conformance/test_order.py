"""Answers in order, each to its own request; how long a connection lives."""

from __future__ import annotations

import random

import pytest
from running import Running
from wire import ECHO, HEALTH, Answer, Wire, ask, chunked, document, post, serve, slow, until

LATE = b"/v2/models/late/infer"
SLOW = b"/v2/models/slow/infer"


def kinds(value: float) -> dict[str, bytes]:
    """One request of every kind; all but ``get`` come back with ``value``."""
    return {
        "plain": post(value),
        "late": post(value, path=LATE),
        "query": post(value, path=ECHO + b"?a=b"),
        "version": post(value, path=b"/v2/models/echo/versions/1/infer"),
        "chunked": post(value, b"transfer-encoding: chunked", size=False, body=chunked(document(value))),
        "upgrade": post(value, b"connection: upgrade", b"upgrade: h2c"),
        "keep-alive": post(value, b"connection: Keep-Alive"),
        "long head": post(value, b"x-filler: " + b"f" * 3000),
        "get": HEALTH,
    }


def right(answer: Answer, kind: str, value: float) -> bool:
    return answer.body == b'{"live":true}' if kind == "get" else answer.is_for(value)


@pytest.mark.parametrize("inline", [True, False])
def test_pipelined_requests_of_every_kind_are_answered_in_order(way: str, inline: bool) -> None:
    names = list(kinds(0))
    with serve(way, inline=inline) as server:
        for seed in range(12):
            dice = random.Random(seed)
            asked = [(dice.choice(names), float(seed * 100 + i)) for i in range(dice.randint(2, 40))]
            data = b"".join(kinds(value)[kind] for kind, value in asked)
            with Wire(server) as wire:
                while data:
                    size = dice.choice((1, 7, 100, 1000, 10_000, len(data)))
                    wire.send(data[:size])
                    data = data[size:]
                for kind, value in asked:
                    assert right(wire.answer(), kind, value), (seed, kind, value)
                wire.send(HEALTH)
                assert wire.answer().status == 200
        assert server.pipeline.in_flight == 0


def test_nothing_overtakes_a_slow_one(server: Running) -> None:
    model = slow(server)
    model.hold()
    with Wire(server, post(1, path=SLOW) + HEALTH + post(2) + post(3, path=LATE) + post(4)) as wire:
        assert model.entered.wait(10)
        assert wire.silent()
        model.release.set()
        for value in (1, 0, 2, 3, 4):
            answer = wire.answer()
            assert answer.is_for(value) if value else answer.body == b'{"live":true}'


def test_errors_keep_their_turn(server: Running) -> None:
    bad = post(0, body=b"{")
    lost = post(0, path=b"/v2/models/nope/infer")
    with Wire(server, post(1) + bad + lost + post(2, path=LATE) + bad + post(3)) as wire:
        assert [wire.answer().status for _ in range(6)] == [200, 400, 404, 200, 400, 200]


def test_requests_and_connections_do_not_mix(server: Running) -> None:
    wires = [Wire(server) for _ in range(20)]
    for turn in range(5):
        for number, wire in enumerate(wires):
            wire.send(post(turn * 100 + number, path=LATE if number % 3 == 0 else ECHO))
        for number, wire in enumerate(wires):
            assert wire.answer().is_for(turn * 100 + number)
    for wire in wires:
        wire.close()


@pytest.mark.parametrize("count", [2000])
def test_a_deep_pipeline_is_answered_whole(server: Running, count: int) -> None:
    """More than is parsed at once and more than is held: reading pauses and goes on."""
    with Wire(server) as wire:
        wire.link.settimeout(20)
        sent = 0
        for value in range(count):
            wire.send(post(value))
            if value - sent > 600:  # the answers must be taken, or both sides stand still
                assert wire.answer().is_for(sent)
                sent += 1
        for value in range(sent, count):
            assert wire.answer().is_for(value)


@pytest.mark.parametrize("lines", [(), (b"connection: keep-alive",), (b"connection: Keep-Alive",)])
def test_keep_alive(server: Running, lines: tuple[bytes, ...]) -> None:
    with Wire(server) as wire:
        for value in range(5):
            wire.send(post(value, *lines))
            answer = wire.answer()
            assert answer.is_for(value)
            assert "connection" not in answer.headers


CLOSING = {
    "close": post(1, b"connection: close"),
    "Close": post(1, b"Connection: Close"),
    "close among others": post(1, b"connection: x-a, close"),
    "close and keep-alive": post(1, b"connection: close", b"connection: keep-alive"),
    "keep-alive and close": post(1, b"connection: keep-alive", b"connection: close"),
    "1.0": post(1, version=b"1.0"),
    "1.0 keep-alive": post(1, b"connection: keep-alive", version=b"1.0"),
    "1.0 expects": post(1, b"expect: 100-continue", version=b"1.0"),
}


@pytest.mark.parametrize("name", CLOSING)
def test_a_connection_that_ends_says_so_and_ends(server: Running, name: str) -> None:
    with Wire(server, CLOSING[name] + post(2)) as wire:
        answer = wire.answer()
        assert answer.is_for(1)
        assert answer.closes
        assert wire.end(), "nothing behind a request that closes is answered"


@pytest.mark.parametrize("given", [b"abc-1", b"a b", b"~" * 128])
def test_the_request_id_is_echoed(server: Running, given: bytes) -> None:
    for request in (post(1, b"x-request-id: " + given), post(0, b"x-request-id: " + given, body=b"{")):
        assert ask(server, request).headers["x-request-id"] == given.decode()


@pytest.mark.parametrize("given", [b"", b"~" * 129, b"caf\xc3\xa9"])
def test_a_request_id_that_cannot_be_echoed_is_replaced(server: Running, given: bytes) -> None:
    first, second = (ask(server, post(1, b"x-request-id: " + given)).headers["x-request-id"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("first", [SLOW, LATE])
def test_while_it_drains_every_answer_closes(way: str, first: bytes) -> None:
    with serve(way) as server:
        model = slow(server)
        waiting = Wire(server, post(1, path=SLOW))
        idle, other = Wire(server, post(0)), Wire(server, HEALTH)
        assert idle.answer().is_for(0)
        assert other.answer().status == 200
        assert model.entered.wait(10)
        server.stop()
        until(lambda: server.server.draining)
        idle.send(post(2, path=LATE) if first == LATE else post(2))
        other.send(post(0, body=b"{"))
        model.release.set()
        for wire, status in ((waiting, 200), (idle, 200), (other, 400)):
            answer = wire.answer()
            assert answer.status == status
            assert answer.closes
            assert wire.end()
            wire.close()
