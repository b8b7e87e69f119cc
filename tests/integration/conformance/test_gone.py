"""Callers who leave: each of their calls is cancelled, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from running import Running
from wire import ECHO, HEALTH, Wire, chunked, document, post, serve, slow, until

from fairlead.serve.batcher import Policy

SLOW = b"/v2/models/slow/infer"
LEAVE: dict[str, Callable[[Wire], None]] = {"fin": Wire.close, "rst": Wire.reset}
BEHIND = [post(9), HEALTH, post(9, path=SLOW), post(9)[:20], post(9)[:-3], post(9) * 100]
CHUNKED = (b"transfer-encoding: chunked",)


@pytest.fixture(params=LEAVE)
def leave(request: pytest.FixtureRequest) -> Callable[[Wire], None]:
    return LEAVE[request.param]


SIZES = {"alone": 1, "batched": 64}


@pytest.fixture(scope="module")
def _servers_of_own() -> Iterator[dict[tuple[str, str], Running]]:
    with ExitStack() as stack:
        yield {
            (way, size): stack.enter_context(serve(way, policy=Policy(max_rows=rows)))
            for way in ("short", "long")
            for size, rows in SIZES.items()
        }


@pytest.fixture(params=SIZES)
def held(
    request: pytest.FixtureRequest, way: str, _servers_of_own: dict[tuple[str, str], Running]
) -> Iterator[Running]:
    """A server whose slow model stands still with one call inside."""
    server = _servers_of_own[way, request.param]
    model = slow(server)
    model.hold()
    model.batches.clear()
    with Wire(server, post(1, path=SLOW)) as first:
        assert model.entered.wait(10)
        yield server
        model.release.set()
        assert first.answer().is_for(1), "the one inside was harmed"
    until(lambda: server.pipeline.in_flight == 0)
    until(lambda: links(server) == 0)


def links(server: Running) -> int:
    return sum(not link.transport.is_closing() for link in list(server.server._web.server_state.connections))


def ran(server: Running) -> set[float]:
    return {float(value) for batch in slow(server).batches for value in batch["x"][:, 0]}


def test_who_leaves_while_queued(held: Running, leave: Callable[[Wire], None]) -> None:
    stay, gone = Wire(held, post(2, path=SLOW)), Wire(held, post(3, path=SLOW))
    until(lambda: held.pipeline.in_flight == 3)
    leave(gone)
    until(lambda: held.pipeline.in_flight == 2)
    slow(held).release.set()
    assert stay.answer().is_for(2)
    stay.close()
    assert 3.0 not in ran(held)
    until(lambda: links(held) == 1)


def test_who_leaves_while_it_runs(way: str, leave: Callable[[Wire], None]) -> None:
    """Three in one batch; one leaves; the others are answered."""
    with serve(way) as server:
        model = slow(server)
        blocker = Wire(server, post(1, path=SLOW))
        assert model.entered.wait(10)
        three = [Wire(server, post(value, path=SLOW)) for value in (2, 3, 4)]
        until(lambda: server.pipeline.in_flight == 4)
        model.hold()
        model.release.set()
        assert blocker.answer().is_for(1)
        model.entered.wait(10)
        model.hold()
        leave(three[1])
        until(lambda: server.pipeline.in_flight <= 2)
        model.release.set()
        assert three[0].answer().is_for(2)
        assert three[2].answer().is_for(4)
        for wire in (blocker, three[0], three[2]):
            wire.close()
        assert server.pipeline.in_flight == 0


def test_all_who_are_queued_leave(held: Running, leave: Callable[[Wire], None]) -> None:
    wires = [Wire(held, post(value, path=SLOW)) for value in range(2, 30)]
    until(lambda: held.pipeline.in_flight == 29)
    for wire in wires:
        leave(wire)
    until(lambda: held.pipeline.in_flight == 1)
    until(lambda: links(held) == 1)


@pytest.mark.parametrize("behind", BEHIND)
def test_who_leaves_with_more_behind(held: Running, leave: Callable[[Wire], None], behind: bytes) -> None:
    """The call that is queued is cancelled, and what is pipelined behind it never starts."""
    gone = Wire(held, post(8, path=SLOW) + behind)
    until(lambda: held.pipeline.in_flight == 2)
    gone.send(behind)
    leave(gone)
    until(lambda: held.pipeline.in_flight == 1)
    until(lambda: links(held) == 1)
    slow(held).release.set()
    assert not {8.0, 9.0} & ran(held)


@pytest.mark.parametrize("kind", ["sized", "known", "chunked", "expects", "head", "several"])
def test_who_leaves_in_the_middle_of_a_request(server: Running, leave: Callable[[Wire], None], kind: str) -> None:
    half = {
        "sized": post(7)[:-20],
        "known": post(7) + post(7)[:-20],
        "chunked": post(7, *CHUNKED, size=False, body=chunked(document(7))[:40]),
        "expects": post(7, b"expect: 100-continue")[:-95],
        "head": post(7)[:40],
        "several": post(7) + HEALTH + post(8, path=ECHO + b"?a") + post(7)[:-20],
    }[kind]
    for _ in range(5):
        wire = Wire(server, half)
        wire.silent(0.002)
        leave(wire)
    until(lambda: server.pipeline.in_flight == 0)
    until(lambda: links(server) == 0)
    with Wire(server, post(8)) as wire:
        assert wire.answer().is_for(8)


def test_bad_bytes_behind_a_call_that_is_queued(held: Running) -> None:
    """Its answer comes first, then the refusal; the caller's leaving still cancels it."""
    stay, gone = (Wire(held, post(value, path=SLOW) + b"nonsense\r\n\r\n") for value in (2, 3))
    until(lambda: held.pipeline.in_flight == 3)
    assert stay.silent()
    gone.send(b"more nonsense")
    gone.close()
    slow(held).release.set()
    assert stay.answer().is_for(2)
    assert stay.answer().status == 400
    assert stay.end()
    stay.close()


def test_a_broken_body_behind_a_call_that_is_queued(held: Running) -> None:
    broken = post(3, *CHUNKED, size=False, body=b"5\r\nabcdefgh")
    wire = Wire(held, post(2, path=SLOW) + HEALTH + broken)
    until(lambda: held.pipeline.in_flight == 2)
    assert wire.silent()
    slow(held).release.set()
    assert wire.answer().is_for(2)
    assert wire.answer().status == 200
    assert wire.answer().status == 400
    assert wire.end()
    wire.close()


def test_a_refusal_in_the_middle_of_a_call_s_own_body(server: Running) -> None:
    for path in (ECHO, b"/v2/models/nope/infer"):
        broken = post(3, *CHUNKED, size=False, path=path, body=b"5\r\nabcde\r\nzz\r\n")
        with Wire(server, broken) as wire:
            answer = wire.answer()
            assert answer.status in (400, 404)
            json.loads(answer.body)
            assert wire.end()
    until(lambda: server.pipeline.in_flight == 0)
