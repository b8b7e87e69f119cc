from __future__ import annotations

import random

import pytest

from fairlead.adapters.engines.served.link import Garbled
from fairlead.adapters.engines.served.sse import Events

STREAM = b": hello\n\ndata: one\n\nevent: x\ndata:two\nid: 7\n\ndata: a\ndata: b\n\nretry: 5\n\ndata\n\ndata:  led\n\n"
TOLD = [b"one", b"two", b"a\nb", b"", b" led"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_it_does_not_matter_where_the_bytes_are_cut(end: bytes) -> None:
    whole = STREAM.replace(b"\n", end)
    for seed in range(60):
        drawn, events, at = random.Random(seed), Events(), 0
        found: list[bytes] = []
        while at < len(whole):
            size = drawn.randint(1, (3, 12, 200)[seed % 3])
            found += events.feed(whole[at : at + size])
            at += size
        assert found + events.rest() == TOLD, seed


def test_the_last_event_may_lack_its_empty_line() -> None:
    events = Events()
    assert events.feed(b"data: [DONE]") == []
    assert events.rest() == [b"[DONE]"]
    assert events.rest() == []


@pytest.mark.parametrize("chunk", [b"x" * 10, b"data: xxxx\n", b"data: x"])
def test_a_line_and_an_event_are_bounded(chunk: bytes) -> None:
    events = Events(largest=100)

    def feed() -> None:
        for _ in range(30):
            events.feed(chunk)

    with pytest.raises(Garbled, match="more than 100 bytes"):
        feed()


def test_a_line_that_comes_byte_by_byte_is_read_once() -> None:
    events = Events()
    for _ in range(1_000):
        assert not events.feed(b"x")
    assert events.feed(b"\ndata: end\n\n") == [b"end"]
