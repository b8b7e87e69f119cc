"""What the fuzzer sends: plans of requests, good, bad and worse, with what is owed for each."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random


@dataclass(frozen=True)
class Wanted:
    """An answer that is owed: one of ``statuses``; with 200, to ``value`` where there is one."""

    kind: str
    value: int | None = None
    statuses: tuple[int, ...] = (200,)
    method: str = "POST"


@dataclass
class Plan:
    """One connection. ``leaves``: no, reset or half (closed).  ``may_end``: the server may end it early.

    ``ends``: the server must end it when all is answered.
    """

    pieces: list[bytes] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)
    leaves: str = "no"
    may_end: bool = False
    ends: bool = False


def document(value: int, dice: Random) -> bytes:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [value, -value]}
    spaces = b" " * (dice.choice((0, 0, 0, 1, 50, 3000, 40_000, 120_000)) if dice.random() < 0.3 else 0)
    return json.dumps({"id": f"n{value}", "inputs": [tensor]}).encode() + spaces


def path(dice: Random) -> bytes:
    name = dice.choice((b"echo", b"echo", b"late"))
    return dice.choice((b"/v2/models/%b/infer", b"/v2/models/%b/infer", b"/v2/models/%b/infer?q")) % name


HEADERS = (
    b"x-a: b",
    b"accept: */*",
    b"user-agent: fuzz",
    b"x-request-id: abc",
    b"traceparent: 00-1-2-3",
    b"x-b:  \t c ",
)
HEADERS += (
    b"connection: keep-alive",
    b"x-long: " + b"l" * 3000,
    b"cookie: \xff\xfe",
    b"expect: nothing",
    b"te: trailers",
)


def head(dice: Random, first: bytes, *lines: bytes) -> bytes:
    more = dice.sample(HEADERS, dice.choice((0, 0, 0, 1, 2, 5)))
    every = [*lines, *more]
    dice.shuffle(every)
    return b"\r\n".join((first, b"host: fuzz", *every, b"", b""))


def plain(dice: Random, value: int) -> tuple[bytes, Wanted]:
    body = document(value, dice)
    return head(dice, b"POST %b HTTP/1.1" % path(dice), b"content-length: %d" % len(body)) + body, Wanted(
        "plain", value
    )


def same_head(dice: Random, value: int) -> tuple[bytes, Wanted]:
    """As a client that keeps its connection sends: the head is one that was seen before."""
    body = document(value, dice)
    first = b"POST /v2/models/echo/infer HTTP/1.1\r\nhost: fuzz\r\ncontent-length: %d\r\n\r\n" % len(body)
    return first + body, Wanted("same head", value)


def chunked(dice: Random, value: int) -> tuple[bytes, Wanted]:
    body, out = document(value, dice), b""
    while body:
        size = dice.choice((1, 2, 16, 1000, 100_000))
        piece, body = body[:size], body[size:]
        out += b"%x%b\r\n%b\r\n" % (len(piece), dice.choice((b"", b"", b";a=b", b';a="b c"')), piece)
        if size < 16 and len(body) > 500:
            out += b"%x\r\n%b\r\n" % (len(body), body)
            body = b""
    out += b"0\r\n" + dice.choice((b"", b"", b"x-t: 1\r\n")) + b"\r\n"
    return head(dice, b"POST %b HTTP/1.1" % path(dice), b"transfer-encoding: chunked") + out, Wanted("chunked", value)


def offer(dice: Random, value: int) -> tuple[bytes, Wanted]:
    body = document(value, dice)
    lines = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAEAAEAA")
    data = b"\r\n".join(
        (b"POST %b HTTP/1.1" % path(dice), b"host: fuzz", *lines, b"content-length: %d" % len(body), b"", body)
    )
    return data, Wanted("h2c", value)


def packed(dice: Random, value: int) -> tuple[bytes, Wanted]:
    body = gzip.compress(document(value, dice), 1)
    lines = (b"content-encoding: gzip", b"content-length: %d" % len(body))
    return head(dice, b"POST %b HTTP/1.1" % path(dice), *lines) + body, Wanted("gzip", value)


def expecting(dice: Random, value: int) -> tuple[bytes, Wanted]:
    body = document(value, dice)
    lines = (b"expect: 100-continue", b"content-length: %d" % len(body))
    return head(dice, b"POST %b HTTP/1.1" % path(dice), *lines) + body, Wanted("expects", value)


def page(dice: Random, value: int) -> tuple[bytes, Wanted]:
    method = dice.choice(("GET", "GET", "HEAD"))
    target = dice.choice((b"/healthz", b"/v2/models/echo", b"/readyz"))
    return head(dice, b"%b %b HTTP/1.1" % (method.encode(), target)), Wanted("page", None, (200,), method)


def mistaken(dice: Random, value: int) -> tuple[bytes, Wanted]:
    """Valid HTTP that gets an error, and the connection lives on."""
    noise = dice.randbytes(dice.choice((0, 1, 30, 2000)))
    target, status = dice.choice(
        ((b"/v2/models/echo/infer", 400), (b"/v2/models/nope/infer", 404), (b"/nope", 404), (b"/healthz", 405))
    )
    return head(dice, b"POST %b HTTP/1.1" % target, b"content-length: %d" % len(noise)) + noise, Wanted(
        "mistaken", None, (status,)
    )


def oversize(dice: Random, value: int) -> tuple[bytes, Wanted]:
    body = b" " * dice.randint(262_145, 400_000)
    return head(dice, b"POST %b HTTP/1.1" % path(dice), b"content-length: %d" % len(body)) + body, Wanted(
        "oversize", None, (413,)
    )


Maker = Callable[[Random, int], tuple[bytes, Wanted]]
GOOD: tuple[Maker, ...] = (
    plain,
    plain,
    same_head,
    same_head,
    same_head,
    chunked,
    offer,
    packed,
    page,
    mistaken,
    expecting,
)

BROKEN = (
    b"nonsense\r\n\r\n",
    b"post / HTTP/1.1\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.2\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\n\r\n",
    b"GET http:/// HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\nhost: x\n\n",
    b"GET / HTTP/1.1\r\na b: c\r\n\r\n",
    b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
    b"GET / HTTP/1.1\r\na: \0\r\n\r\n",
    b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
    b"POST / HTTP/1.1\r\ncontent-length: -5\r\n\r\nabcdef",
    b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST /v2/models/echo/infer HTTP/1.1\r\ncontent-length : 5\r\n\r\nabcde",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
)


def spoiled(dice: Random, data: bytes) -> bytes:
    """The same bytes with a few changed, cut out, doubled or put in."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(out) or 1)
        match dice.randrange(4):
            case 0:
                out[at : at + 1] = dice.randbytes(1)
            case 1:
                del out[at : at + dice.choice((1, 1, 3, 40))]
            case 2:
                out[at:at] = out[at : at + dice.choice((1, 4, 60))]
            case _:
                out[at:at] = dice.choice(
                    (b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"0", b"\xff", b"\r\n\r\n", b"chunked")
                )
    return bytes(out)


CUTS = (1, 2, 5, 20, 100, 1000, 20_000, 1_000_000)


def cut(dice: Random, one: Plan, data: bytes) -> None:
    """Into pieces with pauses; only so many, so that a plan ends."""
    while data:
        size = dice.choice(CUTS) if len(one.pieces) < 60 else len(data)
        one.pieces.append(data[:size])
        one.pauses.append(dice.choice((0, 0, 0, 0, 0.0005, 0.005)) if len(one.pieces) < 40 else 0)
        data = data[size:]


def plan(dice: Random) -> Plan:
    """One connection's worth. The requests up to the first bad byte are owed their answers, whatever comes after."""
    one, data = Plan(), b""
    for _ in range(dice.choice((1, 1, 2, 3, 8, 30))):
        value = dice.randrange(1, 1 << 40)
        request, wanted = dice.choice(GOOD if dice.random() < 0.98 else (oversize,))(dice, value)
        data += dice.choice((b"", b"", b"", b"\r\n")) + request
        one.wanted.append(wanted)
        if wanted.kind == "expects" and dice.random() < 0.1:
            break
    match dice.choice(("keep", "keep", "close", "broken", "broken", "spoiled", "noise", "leave", "leave", "half")):
        case "close":
            body = document(7, dice)
            first = dice.choice((b"POST %b HTTP/1.0", b"POST %b HTTP/1.1\r\nconnection: close")) % path(dice)
            data += (
                first
                + b"\r\ncontent-length: %d\r\n\r\n" % len(body)
                + body
                + dice.choice((b"", b"GET / HTTP/1.1\r\n\r\n"))
            )
            one.wanted.append(Wanted("close", 7))
            one.ends = True
        case "broken":
            data += dice.choice(BROKEN) + dice.choice((b"", dice.randbytes(50), BROKEN[3]))
            one.wanted.append(Wanted("broken", None, (400,)))
            one.ends = True
        case "spoiled":
            data += spoiled(dice, dice.choice(GOOD)(dice, 3)[0])
        case "noise":
            data += dice.randbytes(dice.choice((3, 300, 30_000)))
        case "leave":
            data = data[: dice.randrange(len(data)) + 1]
            one.leaves, one.may_end = dice.choice(("reset", "half")), True
        case "half":
            one.leaves, one.may_end = "half", True
    if one.leaves != "no":
        one.may_end = True
    cut(dice, one, data)
    return one
