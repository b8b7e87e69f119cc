"""Detector ``http`` against a real server of the shape that docs/guardrails.md tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from fairlead.adapters.guardrails.http import HttpGuard
from fairlead.contracts.errors import Unavailable
from fairlead.contracts.guardrail import Channel, DetectorOptions


class Guard(BaseHTTPRequestHandler):
    seen: list[tuple[dict, str]]
    answer: tuple[int, bytes]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).seen.append((body, self.headers.get("authorization", "")))
        status, data = type(self).answer
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def guard() -> Iterator[tuple[str, type[Guard]]]:
    made = type("Made", (Guard,), {"seen": [], "answer": (200, b'{"findings": []}')})
    server = ThreadingHTTPServer(("127.0.0.1", 0), made)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/check", made
    server.shutdown()
    server.server_close()
    thread.join()


def options(url: str, **given) -> DetectorOptions:
    return DetectorOptions("http", given.pop("kinds", ()), given.pop("threshold", None), {"url": url, **given})


async def test_asks_as_documented(guard, monkeypatch) -> None:
    url, made = guard
    monkeypatch.setenv("GUARD_TOKEN", "t0k3n")
    found = [{"kind": "pii", "score": 0.9, "start": 2, "end": 5}, {"kind": "spam"}, {"kind": "weak", "score": 0.2}]
    made.answer = (200, json.dumps({"findings": found, "more": 1}).encode())
    detector = HttpGuard(options(url, token="env:GUARD_TOKEN"))
    told = await detector.ask("a text", Channel.USER, 5.0)
    assert [tuple(one) for one in told] == [("spam", 0, 6, 1.0), ("pii", 2, 5, 0.9)]
    assert made.seen == [({"text": "a text", "channel": "user"}, "Bearer t0k3n")]
    assert "t0k3n" not in repr(detector.__dict__)
    await detector.close()


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (302, b""),
        (200, b"{"),
        (200, b"[]"),
        (200, b'{"findings": [{"score": 1}]}'),
        (200, b" " * (1 << 21)),
    ],
)
async def test_everything_else_is_no_answer(guard, answer: tuple[int, bytes]) -> None:
    url, made = guard
    made.answer = answer
    detector = HttpGuard(options(url))
    with pytest.raises(Unavailable, match="the guard at 127.0.0.1"):
        await detector.ask("a text", Channel.USER, 5.0)
    await detector.close()


async def test_nobody_there() -> None:
    detector = HttpGuard(options("http://127.0.0.1:9/check"))
    with pytest.raises(Unavailable, match="does not answer"):
        await asyncio.wait_for(detector.ask("a text", Channel.USER, 2.0), 5)
    await detector.close()
