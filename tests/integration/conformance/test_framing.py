"""Where a request begins and ends: chunks, every split, and bytes that would smuggle one request into another."""

from __future__ import annotations

from contextlib import suppress

import pytest
from running import Running
from wire import ECHO, HEALTH, LIMIT, Wire, ask, chunked, document, post, serve

from fairlead.serve.protocol import Fast
from fairlead.serve.reading import HELD, PIECE

BODY = document(7)
CHUNKED = b"transfer-encoding: chunked"
H2C = (
    b"connection: Upgrade, HTTP2-Settings",
    b"upgrade: h2c",
    b"http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)
"""What Java's HttpClient adds to every request on a plain connection."""


def sized(length: bytes, *lines: bytes) -> bytes:
    """A request whose content-length is written as given."""
    return post(7, b"content-length: " + length, *lines, size=False)


def framed(coding: bytes, body: bytes | None = None, *lines: bytes) -> bytes:
    """A request with this transfer-encoding."""
    return post(7, b"transfer-encoding: " + coding, *lines, size=False, body=chunked(BODY) if body is None else body)


def test_the_two_ways_are_two(server: Running, way: str) -> None:
    with Wire(server, post(7)) as wire:
        assert wire.answer().is_for(7)
        kinds = {type(link.cycle) for link in server.server._web.server_state.connections if link.cycle}
    assert (Fast in kinds) == (way == "short")


SIZE = b"%d" % len(BODY)
GOOD = {
    "plain": post(7),
    "blank lines first": b"\r\n\r\n" + post(7),
    "zeros before the length": sized(b"0000" + SIZE),
    "thousands of zeros": sized(b"0" * 5000 + SIZE),
    "blanks behind the length": sized(SIZE + b" \t"),
    "no blank before the value": post(7, b"x-a:b"),
    "absolute target": post(7, path=b"http://x" + ECHO),
    "a query": post(7, path=ECHO + b"?a=b&c"),
    "an escape": post(7, path=b"/v2/models/%65cho/infer"),
    "a fragment": post(7, path=ECHO + b"#a"),
    "chunked": framed(b"chunked"),
    "Chunked": framed(b"Chunked"),
    "one byte a chunk": framed(b"chunked", chunked(BODY, 1)),
    "chunk extensions": framed(b"chunked", chunked(BODY, 9, b';a=b;c="d e";f')),
    "trailers": framed(b"chunked", chunked(BODY, 50, b"", b"x-t: 1\r\nx-request-id: theirs\r\n")),
    "zeros in the chunk size": framed(b"chunked", b"0000%x\r\n%b\r\n0000\r\n\r\n" % (len(BODY), BODY)),
    "many headers": post(7, *(b"x-%d: %d" % (i, i) for i in range(200))),
    "bytes above ASCII in a value": post(7, b"x-a: \xff\xc3\xa9"),
    "h2c": post(7, *H2C),
    "h2c, chunked": framed(b"chunked", None, *H2C),
    "websocket": post(7, b"connection: upgrade", b"upgrade: websocket"),
    "upgrade without connection": post(7, b"upgrade: h2c"),
    "connection without upgrade": post(7, b"connection: upgrade"),
    "upgrade beside keep-alive": post(7, b"upgrade: h2c", b"connection: upgrade", b"connection: keep-alive"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_valid_is_answered_and_the_next_one_too(server: Running, name: str) -> None:
    for follower, value in ((HEALTH, 0), (post(8), 8), (GOOD[name], 7)):
        with Wire(server, GOOD[name] + follower) as wire:
            assert wire.answer().is_for(7)
            answer = wire.answer()
            assert answer.is_for(value) if value else answer.body == b'{"live":true}'
            wire.send(post(9))
            assert wire.answer().is_for(9)


BAD = {
    "length and chunked": post(7, CHUNKED, body=chunked(BODY)),
    "chunked and length": framed(b"chunked", None, b"content-length: 5"),
    "two lengths": post(7, b"content-length: 5"),
    "the same length twice": post(7, b"content-length: " + SIZE),
    "a list of lengths": sized(SIZE + b", " + SIZE),
    "a length with a plus": sized(b"+" + SIZE),
    "a length with a minus": sized(b"-" + SIZE),
    "a length with a blank": sized(b"7 7"),
    "a length in hex": sized(b"0x4a"),
    "an empty length": sized(b""),
    "a length with a fraction": sized(SIZE + b".0"),
    "a length too large for 64 bits": sized(b"18446744073709551617"),
    "a folded header": post(7, b"x-a: b\r\n c"),
    "a folded length": sized(b"\r\n " + SIZE),
    "a folded coding": framed(b"\r\n chunked"),
    "chunked, identity": framed(b"chunked, identity"),
    "identity": framed(b"identity"),
    "xchunked": framed(b"xchunked"),
    "chunked after a control byte": framed(b"\x0bchunked"),
    "chunked twice, the last another": framed(b"chunked", None, b"transfer-encoding: identity"),
    "bare LF": post(7).replace(b"\r\n", b"\n"),
    "one bare LF": post(7, b"x-a: b\nx-c: d"),
    "one bare CR": post(7, b"x-a: b\rx-c: d"),
    "head ended by LF": HEALTH[:-2] + b"\n",
    "head ended by CR CR LF": HEALTH[:-2] + b"\r\r\n",
    "NUL in a value": post(7, b"x-a: b\0c"),
    "NUL in a name": post(7, b"x\0a: b"),
    "blank before the colon": sized(SIZE).replace(b"length:", b"length :"),
    "no colon": post(7, b"x-a"),
    "no name": post(7, b": b"),
    "blank before the first header": HEALTH.replace(b"\r\nhost", b"\r\n host"),
    "chunk size too large": framed(b"chunked", b"fffffffffffffffff\r\nabc"),
    "chunk size no number": framed(b"chunked", b"zz\r\nabc"),
    "chunk size with a minus": framed(b"chunked", b"-1\r\n\r\n"),
    "chunk size in 0x": framed(b"chunked", b"0x3\r\nabc\r\n0\r\n\r\n"),
    "chunk longer than said": framed(b"chunked", b"3\r\nabcde\r\n0\r\n\r\n"),
    "chunks with bare LF": framed(b"chunked", chunked(BODY).replace(b"\r\n", b"\n")),
    "bare LF in an extension": framed(b"chunked", chunked(BODY, 16, b";a\nb")),
    "a length among the trailers": framed(b"chunked", chunked(BODY, 50, b"", b"content-length: 3\r\n")),
    "a lower-case method": post(7).replace(b"POST", b"post"),
    "an unknown method": post(7).replace(b"POST", b"FOO"),
    "a method with a blank before": b" " + post(7),
    "HTTP/1.2": post(7, version=b"1.2"),
    "HTTP/11": post(7, version=b"11"),
    "http/1.1": post(7).replace(b"HTTP/", b"http/"),
    "no version": b"GET /healthz foo\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nhost: x\r\n\r\n",
    "two targets": b"GET / / HTTP/1.1\r\nhost: x\r\n\r\n",
    "bytes above ASCII in the target": b"GET /\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n",
    "an absolute target without a host": b"GET http:/// HTTP/1.1\r\nhost: x\r\n\r\n",
    "CONNECT": b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    "CONNECT with a path": b"CONNECT / HTTP/1.1\r\nhost: x\r\n\r\n",
    "CONNECT to a route": post(7).replace(b"POST", b"CONNECT"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "noise": bytes(range(255, 0, -1)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_valid_is_refused_and_nothing_behind_it_is_read(server: Running, name: str) -> None:
    for before in (b"", post(1), post(1) + post(2, path=b"/v2/models/late/infer") + HEALTH):
        with Wire(server, before + BAD[name] + post(8)) as wire:
            if before:
                assert wire.answer().is_for(1)
            if before.endswith(HEALTH):
                assert wire.answer().is_for(2)
                assert wire.answer().status == 200
            answer = wire.answer()
            assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
            assert answer.closes
            assert wire.end()


TWO = {
    "plain": post(7) + post(8),
    "chunked": framed(b"chunked", chunked(BODY, 30, b";a", b"x-t: 1\r\n")) + post(8),
    "h2c": post(7, *H2C) + post(8),
}


@pytest.mark.parametrize("name", TWO)
def test_split_at_every_byte(server: Running, name: str) -> None:
    """One connection, so that what is left of one split would spoil the next."""
    data = TWO[name]
    with Wire(server) as wire:
        for at in range(1, len(data)):
            wire.send(data[:at])
            if at % 9 == 0:
                wire.silent(0.001)
            wire.send(data[at:])
            assert wire.answer().is_for(7), at
            assert wire.answer().is_for(8), at


@pytest.mark.parametrize("name", TWO)
def test_one_byte_at_a_time(server: Running, name: str) -> None:
    with Wire(server) as wire:
        for byte in TWO[name]:
            wire.send(bytes((byte,)))
        assert wire.answer().is_for(7)
        assert wire.answer().is_for(8)


@pytest.mark.parametrize("name", ["CONNECT", "two lengths", "chunk longer than said", "one bare LF"])
def test_what_is_not_valid_is_refused_however_it_is_cut(server: Running, name: str) -> None:
    for at in range(1, len(BAD[name]), 7):
        with Wire(server, BAD[name][:at]) as wire:
            wire.silent(0.0005)
            wire.send(BAD[name][at:])
            assert wire.answer().status == 400, at
            assert wire.end()


def test_a_head_that_looks_like_a_remembered_one(server: Running) -> None:
    """The short way knows heads by their bytes: whatever differs by one is read anew."""
    known = post(7)
    with Wire(server) as wire:
        for _ in range(3):
            wire.send(known)
            assert wire.answer().is_for(7)
        wire.send(post(8, body=document(8) + b" "))
        assert wire.answer().is_for(8)
        wire.send(known.replace(b"echo", b"echp"))
        assert wire.answer().status == 404
        wire.send(known.replace(b"POST", b"PUT "[:3]))
        assert wire.answer().status == 405
        wire.send(known.replace(b"host: x", b"host: x\n"))
        assert wire.answer().status == 400


def test_a_head_inside_a_body_is_body(server: Running) -> None:
    inner = post(9)
    padded = BODY + b" " * 40
    for data in (post(7, body=inner), post(7, body=padded + inner)):
        with Wire(server, data + post(8)) as wire:
            assert wire.answer().status == 400
            assert wire.answer().is_for(8)
            wire.send(post(7))
            assert wire.answer().is_for(7)


@pytest.mark.parametrize("size", [1, PIECE - 1, PIECE, PIECE + 1, HELD, LIMIT - 1000])
def test_bodies_of_every_size(server: Running, size: int) -> None:
    request = post(7, body=BODY + b" " * size)
    for _ in range(2):  # the second time the head is known
        with Wire(server, request + post(8) + request[:50]) as wire:
            assert wire.answer().is_for(7)
            assert wire.answer().is_for(8)
            wire.send(request[50:])
            assert wire.answer().is_for(7)


@pytest.mark.parametrize("kind", ["sized", "chunked"])
@pytest.mark.parametrize("over", [1, 100_000])
def test_a_body_over_the_limit(server: Running, kind: str, over: int) -> None:
    """Refused; a sized one before it is read. What comes nevertheless is dropped; the next request is answered."""
    body = BODY + b" " * (LIMIT + over - len(BODY))
    request = post(7, body=body) if kind == "sized" else framed(b"chunked", chunked(body, 5000))
    head = request.index(b"\r\n\r\n") + 4
    with Wire(server, request[:head]) as wire:
        if kind == "chunked":
            wire.send(request[head:])
        answer = wire.answer()
        assert answer.status == 413
        assert f"the limit is {LIMIT} bytes" in answer.json()["error"]
        if kind == "sized":
            wire.send(request[head:])
        wire.send(post(8))
        assert wire.answer().is_for(8)


@pytest.mark.parametrize("limit", [2048, 64 * 1024])
def test_the_size_of_a_head_is_bounded_however_it_comes(way: str, limit: int) -> None:
    with serve(way, max_head=limit) as server:
        fits = post(7, b"x-a: " + b"a" * (limit - 300))
        over = [post(7, b"x-a: " + b"a" * limit), post(7, *(b"x-%d: 1" % i for i in range(limit // 8)))]
        over += [b"GET /" + b"a" * limit * 3, b"GET / HTTP/1.1\r\n" + b"a" * limit * 3]
        assert ask(server, fits).is_for(7)
        with Wire(server, post(7, body=BODY + b" " * limit * 2) + fits[:-300]) as wire:
            assert wire.answer().is_for(7), "the body before it does not count"
            wire.send(fits[-300:])
            assert wire.answer().is_for(7)
        for data in over:
            for size in (len(data), 700):
                with Wire(server, post(1)) as wire:
                    with suppress(ConnectionError):  # refused before the last piece
                        for at in range(0, len(data), size):
                            wire.send(data[at : at + size])
                    assert wire.answer().is_for(1)
                    answer = wire.answer()
                    assert (answer.status, answer.json()["code"]) == (431, "head_too_large")
                    assert answer.closes


@pytest.mark.parametrize("what", ["trailers", "one trailer", "chunk extension"])
def test_what_comes_between_pieces_of_a_body_is_bounded_and_dropped(way: str, what: str) -> None:
    filler = {
        "trailers": b"0\r\n" + b"x-t: 1\r\n" * 2000,
        "one trailer": b"0\r\nx-t: " + b"1" * 20_000,
        "chunk extension": b"1;" + b"a" * 20_000,
    }[what]
    with serve(way, max_head=4096) as server, Wire(server, framed(b"chunked", b"")) as wire:
        with suppress(ConnectionError):
            wire.send(chunked(BODY)[:-5])
            for at in range(0, len(filler), 1000):
                wire.send(filler[at : at + 1000])
        answer = wire.answer()
        assert (answer.status, answer.closes) == (431, True)
