"""The life of one request for text, without a socket: one outcome whatever happens, and nothing after it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from fairlead.contracts.engine import EngineOptions, Event, Tell
from fairlead.contracts.errors import EngineLost, RateLimited
from fairlead.contracts.generation import Begun, Ended, Piece, Usage
from fairlead.kit.clock import SystemClock
from fairlead.serve.access.credentials import Certificate
from fairlead.serve.catalog import Catalog
from fairlead.serve.front import Front
from fairlead.serve.llm.ask import Ask, Enter
from fairlead.serve.llm.chats import Chat, Chats
from fairlead.serve.openai import chat, completions
from fairlead.serve.openai.answers import DONE
from fairlead.serve.openai.desk import Desk, Way
from fairlead.serve.openai.talk import Talk
from fairlead.serve.pipeline import Pipeline
from fairlead.testing.engines import EchoEngine
from fairlead.testing.sinks import MemorySink

WAY = Way("/v1/chat/completions", chat.read, chat.PROMPT)
EVENTS: tuple[Event, ...] = (Begun(Usage(2)), Piece("a"), Piece(" b"), Ended("stop", Usage(2, 0, 2)))


class Held:
    """An answer whose events the test tells."""

    def __init__(self, ask: Ask, tell: Tell) -> None:
        self.ask, self.tell = ask, tell
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


class Line:
    """``before``: what is told before it is entered."""

    def __init__(self, before: Sequence[Event] = ()) -> None:
        self.held: list[Held] = []
        self._before = before

    def __call__(self, ask: Ask, tell: Tell) -> Held:
        self.held.append(found := Held(ask, tell))
        for event in self._before:
            tell(event)
        return found


class Said(Talk):
    """Remembers what it wrote."""

    def __init__(self, desk: Desk, way: Way = WAY, headers: dict[bytes, bytes] | None = None) -> None:
        super().__init__(desk, way, headers or {})
        self.status = 0
        self.head, self.text = b"", b""
        self.writes: list[bytes] = []
        self.ends = 0

    def put(self, status: int, head: bytes, body: bytes) -> None:
        assert not self.status
        self.status, self.head, self.text, self.ends = status, head, body, self.ends + 1

    def stream(self, head: bytes, data: bytes, last: bool) -> None:
        assert bool(head) is not bool(self.status)
        assert not self.ends
        self.status, self.head = 200, self.head or head
        self.text += data
        self.writes.append(data)
        self.ends += last

    def certificate(self) -> Certificate | None:
        return None


def desk(enter: Enter, beat: float = 15.0, **more: Any) -> Desk:
    chats, front = Chats(), Front(Pipeline(Catalog(), SystemClock()), MemorySink(), 1000)
    chats.put(Chat("m", EchoEngine(EngineOptions("echo", "")), enter, **more))
    return Desk(front, chats, beat)


def body(**more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "a b"}], **more}).encode()


def flying(talk: Said) -> int:
    return talk._desk.front.pipeline.in_flight


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("cut", range(len(EVENTS) + 1))
@pytest.mark.parametrize("how", ["cancel", "error", "late", "raise"])
async def test_it_ends_once_wherever_it_is_cut(streams: bool, cut: int, how: str) -> None:
    line = Line()
    talk = Said(desk(line))
    talk.submit(body(stream=streams, n=2))
    assert flying(talk) == 1
    for event in EVENTS[:cut]:
        line.held[0].tell(event)
        await turn()
    begun = talk.status
    if how == "cancel":
        talk.cancel()
        talk.cancel()
    elif how == "error":
        line.held[1].tell(EngineLost("gone"))
    elif how == "late":
        talk._late()
    else:
        line.held[1].tell(Piece(5))  # type: ignore[arg-type]  # which no answer can encode as text
        line.held[1].tell(Ended("stop", None))  # type: ignore[arg-type]
    assert flying(talk) == 0
    assert all(one.cancelled == 1 for one in line.held)
    for held in line.held:
        for event in (*EVENTS, EngineLost("again")):
            held.tell(event)  # nobody hears it
    await turn()
    if how == "cancel":
        assert (talk.status, talk.ends) == (begun, 0)
    else:
        assert talk.ends == 1
        assert talk.status == (200 if begun else {"error": 503, "late": 504, "raise": 500}[how])
        assert b'"error"' in talk.text
        assert DONE not in talk.text


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("sync", [False, True], ids=["later", "at once"])
async def test_it_is_whole(streams: bool, sync: bool) -> None:
    line = Line(EVENTS if sync else ())
    talk = Said(desk(line))
    talk.submit(body(stream=streams, n=2))
    if not sync:
        for event in EVENTS:
            for held in line.held:
                held.tell(event)
    await turn()
    assert (talk.status, talk.ends, flying(talk)) == (200, 1, 0)
    if streams:
        assert len(talk.writes) == 1  # it all came in one turn
        assert talk.text.count(b'"content":" b"') == 2
        assert talk.text.endswith(DONE)
    else:
        assert [one["message"]["content"] for one in json.loads(talk.text)["choices"]] == ["a b", "a b"]


async def test_what_comes_in_one_turn_is_written_once_and_in_order() -> None:
    line = Line()
    made = desk(line)
    talks = [Said(made) for _ in range(3)]
    for talk in talks:
        talk.submit(body(stream=True))
    for _ in range(4):
        for held in line.held:
            held.tell(Piece("x"))
            held.tell(Piece("y"))
        await turn()
    for talk in talks:
        assert len(talk.writes) == 4
        assert [one.count(b"data: ") for one in talk.writes] == [3, 2, 2, 2]  # the role first
        talk.cancel()


async def test_an_error_before_the_first_write_has_its_status_and_after_it_none() -> None:
    limited = RateLimited("too much", retry_after=2)
    limited.told = b"x-ratelimit-remaining-requests: 0\r\n"
    line = Line()
    talk = Said(desk(line))
    talk.submit(body(stream=True))
    line.held[0].tell(Piece("x"))
    line.held[0].tell(limited)  # in the same turn: nothing was written yet
    await turn()
    assert (talk.status, talk.ends, talk.writes) == (429, 1, [])
    assert b"retry-after: 2\r\n" in talk.head
    assert b"x-ratelimit-remaining-requests: 0\r\n" in talk.head


async def test_silence_is_broken_and_time_kept() -> None:
    line = Line()
    talk = Said(desk(line, beat=0.02, deadline=0.11))
    talk.submit(body(stream=True))
    await asyncio.sleep(0.3)
    assert talk.writes[0] == b": keep-alive\n\n"
    assert 3 <= len(talk.writes) <= 7
    assert b"deadline_exceeded" in talk.writes[-1]
    assert line.held[0].cancelled == 1


async def test_a_line_that_raises_and_one_that_is_not_there() -> None:
    def enter(ask: Ask, tell: Tell) -> Any:
        raise ValueError(f"{ask} {tell}")

    talk = Said(desk(enter))
    talk.submit(body())
    assert (talk.status, flying(talk)) == (500, 0)
    assert b"ValueError" not in talk.text
    gone = Said(desk(enter))
    gone.submit(body(model="x"))
    assert (gone.status, json.loads(gone.text)["error"]["code"]) == (404, "model_not_found")
    assert gone._desk.front.sink.edge_errors == {("/v1/chat/completions", "not_found"): 1}  # type: ignore[attr-defined]


async def test_every_prompt_and_choice_is_asked_with_its_own_id() -> None:
    line = Line()
    talk = Said(desk(line), Way("/v1/completions", completions.read, completions.PROMPT))
    talk.submit(json.dumps({"model": "m", "prompt": ["a", "b"], "n": 2, "seed": 7}).encode())
    asked = [one.ask.generation for one in line.held]
    assert [one.prompt for one in asked] == ["a", "a", "b", "b"]
    assert [one.sampling.seed for one in asked] == [7, 8, 7, 8]
    assert len({one.id for one in asked}) == 4
    assert [one.ask.first for one in line.held] == [True, False, False, False]
    talk.cancel()
