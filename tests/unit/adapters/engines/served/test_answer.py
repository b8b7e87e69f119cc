"""One answer, without a socket: whatever bytes come, it ends once, and only in ways that were promised."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from fairlead.adapters.engines.served.answer import Answer, Patience
from fairlead.adapters.engines.served.link import Garbled
from fairlead.adapters.engines.served.refusals import Whom
from fairlead.contracts.engine import Event
from fairlead.contracts.errors import EngineLost, FairleadError, Unavailable
from fairlead.contracts.generation import Ended, Generation, Message, Usage
from fairlead.testing.hearing import Heard

HEADERS = {b"content-type": b"text/event-stream"}


class Line:
    """A ``Link`` and the ``Links`` that it is of."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def send(self, listener: Answer, request: bytes) -> None:
        self.done.append("sent")

    def want(self, listener: Answer) -> None:
        listener.take(self)  # type: ignore[arg-type]

    def forget(self, listener: Answer) -> None:
        self.done.append("forgot")

    def leave(self) -> None:
        self.done.append("left")

    def close(self) -> None:
        self.done.append("hung up")


class Keeper:
    patience = Patience(60.0, 60.0, 1 << 20)

    def __init__(self) -> None:
        self.links: Any = Line()
        self.told: list[str] = []

    def request(self, asked: Generation) -> bytes:
        return b"request"

    def whom(self) -> Whom:
        return Whom("the server", "m")

    def gone(self, answer: Answer) -> None:
        self.told.append("gone")

    def well(self) -> None:
        self.told.append("well")

    def ill(self, error: FairleadError) -> None:
        self.told.append("ill")

    def uncounted(self) -> None:
        self.told.append("uncounted")


def begun(tell: Any = None) -> tuple[Keeper, Answer, Heard]:
    keeper, heard = Keeper(), Heard()
    answer = Answer(keeper, Generation("g", "m", (Message("user", "hi"),)), tell or heard)
    answer.begin()
    return keeper, answer, heard


def chunk(**said: Any) -> bytes:
    return b"data: " + json.dumps(said).encode() + b"\n\n"


PIECES = [
    chunk(choices=[{"delta": {"role": "assistant", "content": ""}}]),
    chunk(choices=[{"delta": {"content": "hello"}}], usage=None),
    chunk(choices=[{"delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]}}]),
    chunk(choices=[{"delta": {"content": " there"}, "logprobs": {"content": [{"token": " there", "logprob": -1.5}]}}]),
    chunk(choices=[{"delta": {}, "finish_reason": "stop"}]),
    chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": {}}),
    b"data: [DONE]\n\n",
]


async def test_a_whole_answer_leaves_its_connection_to_the_next() -> None:
    keeper, answer, heard = begun()
    answer.head(200, HEADERS)
    answer.body(b"".join(PIECES))
    heard.check()
    assert heard.text == "hello there"
    assert heard.ended == Ended("tool_calls", Usage(3, 0, 4, 0))
    assert keeper.links.done == ["sent", "left"]
    assert keeper.told == ["well", "gone"]
    answer.complete()
    answer.cancel()
    heard.check()


@pytest.mark.parametrize("place", range(5))
async def test_cancelled_inside_what_is_told_it_hangs_up(place: int) -> None:
    told: list[Event] = []
    held: list[Answer] = []

    def tell(event: Event) -> None:
        told.append(event)
        if len(told) > place:
            held[0].cancel()
            held[0].cancel()

    keeper, answer, _ = begun(tell)
    held.append(answer)
    answer.head(200, HEADERS)
    answer.body(b"".join(PIECES))
    answer.lost("gone")
    assert len(told) == place + 1
    assert keeper.links.done == ["sent", "hung up" if place < 4 else "left"]
    assert keeper.told.count("gone") == 1


async def test_a_kept_connection_that_is_gone_is_replaced_once() -> None:
    keeper, answer, heard = begun()
    answer.lost("closed", again=True)
    assert not heard.events
    answer.lost("closed", again=True)
    assert isinstance(heard.events[-1], Unavailable)
    assert keeper.links.done == ["sent", "sent", "forgot"]


@pytest.mark.parametrize("seed", range(200))
async def test_whatever_bytes_come_it_ends_once(seed: int) -> None:
    drawn = random.Random(seed)
    data = bytearray(b"".join(PIECES))
    for _ in range(drawn.randint(1, 12)):
        at = drawn.randrange(len(data))
        if drawn.random() < 0.3:
            del data[at : at + drawn.randint(1, 30)]
        elif drawn.random() < 0.5:
            data[at:at] = drawn.choice([b"null", b"[", b"}", b"-1", b'"x"', b"1e999", b"\xff", b"\n\n", b"data: "])
        else:
            data[at] = drawn.randrange(256)
    keeper, answer, heard = begun()
    answer.head(200 if seed % 5 else 400, HEADERS if seed % 3 else {b"content-type": b"application/json"})
    try:
        for at in range(0, len(data), 50):
            answer.body(bytes(data[at : at + 50]))
        answer.complete()
    except Garbled as error:
        answer.lost(str(error))
    heard.check()
    last = heard.events[-1]
    assert isinstance(last, Ended | FairleadError)
    if heard.pieces and not isinstance(last, Ended):
        assert isinstance(last, EngineLost)
    assert keeper.told.count("gone") == 1
