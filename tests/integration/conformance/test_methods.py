"""Methods, targets, and the body that a caller offers before it sends it."""

from __future__ import annotations

import pytest
from running import Running
from wire import ECHO, HEALTH, LIMIT, Wire, ask, chunked, document, post

EXPECTS = b"expect: 100-continue"
BODY = document(7)


def line(method: bytes, path: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join((b"%b %b HTTP/1.1" % (method, path), b"host: x", *lines, b"", b""))


def test_head_has_the_headers_of_get_and_no_body(server: Running) -> None:
    got = ask(server, HEALTH)
    with Wire(server, line(b"HEAD", b"/healthz") + post(7)) as wire:
        head = wire.answer("HEAD")
        assert (head.status, head.headers["content-length"]) == (200, str(len(got.body)))
        assert wire.answer().is_for(7)


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"PROPFIND"])
def test_a_wrong_method_is_told_which_is_right(server: Running, method: bytes) -> None:
    for request in (line(method, ECHO), post(7).replace(b"POST", method, 1)):
        with Wire(server, request + post(8)) as wire:
            answer = wire.answer()
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
            assert wire.answer().is_for(8)


def test_head_of_an_inference_route(server: Running) -> None:
    with Wire(server, line(b"HEAD", ECHO) + post(8)) as wire:
        assert wire.answer("HEAD").status == 405
        assert wire.answer().is_for(8)


@pytest.mark.parametrize("path", [b"*", b"/nope", b"//healthz", b"/%zz", b"/v2/models/echo/infers", b"/" + b"a" * 9000])
def test_a_target_that_is_no_route(server: Running, path: bytes) -> None:
    for method in (b"OPTIONS", b"GET"):
        with Wire(server, line(method, path) + post(8)) as wire:
            assert wire.answer().status == 404
            assert wire.answer().is_for(8)


@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_expect_is_answered_when_the_body_is_wanted(server: Running, framing: str) -> None:
    lines = (EXPECTS,) if framing == "sized" else (EXPECTS, b"transfer-encoding: chunked")
    body = BODY if framing == "sized" else chunked(BODY)
    head = post(7, *lines, size=framing == "sized")[: -len(BODY)]
    with Wire(server) as wire:
        for _ in range(3):
            wire.send(head)
            assert wire.answer().status == 100
            wire.send(body)
            answer = wire.answer()
            assert answer.is_for(7)
            assert not answer.closes


def test_expect_waits_its_turn(server: Running) -> None:
    with Wire(server, post(1, path=b"/v2/models/late/infer") + post(7, EXPECTS)[: -len(BODY)]) as wire:
        assert wire.answer().is_for(1)
        assert wire.answer().status == 100
        wire.send(BODY + post(8))
        assert wire.answer().is_for(7)
        assert wire.answer().is_for(8)


def test_a_body_that_comes_unasked_is_taken(server: Running) -> None:
    with Wire(server, post(7, EXPECTS) + post(8)) as wire:
        answer = wire.answer()
        if answer.status == 100:  # may be left out, may be sent
            answer = wire.answer()
        assert answer.is_for(7)
        assert wire.answer().is_for(8)


REFUSED = {
    "too large": (413, post(7, EXPECTS, b"content-length: %d" % (LIMIT + 1), size=False, body=b"")),
    "no such endpoint": (404, post(7, EXPECTS, path=b"/v2/models/nope/infer")[: -len(BODY)]),
    "no such route": (404, post(7, EXPECTS, path=b"/nope")[: -len(BODY)]),
    "wrong method": (405, post(7, EXPECTS)[: -len(BODY)].replace(b"POST", b"PUT")),
    "a page that reads no body": (200, post(7, EXPECTS, path=b"/healthz")[: -len(BODY)].replace(b"POST", b"GET")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_body_that_is_not_wanted_is_not_asked_for(server: Running, name: str) -> None:
    """Nobody can know whether the body still comes, so the connection ends: what follows is never taken for it."""
    status, head = REFUSED[name]
    with Wire(server, head) as wire:
        answer = wire.answer()
        assert answer.status == status
        assert answer.closes
        assert wire.end()


def test_an_expectation_that_nobody_knows_is_passed_over(server: Running) -> None:
    assert ask(server, post(7, b"expect: something")).is_for(7)
