"""The engine `openai` with another Fairlead as its server: the whole suite, and errors that come through."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator

import pytest
from running import running

from fairlead.adapters.engines.served.openai import OpenAIEngine
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import ContextTooLong, EngineLost, Unavailable
from fairlead.contracts.generation import Format, Generation, Message, Sampling, Tool
from fairlead.testing import engine_suite
from fairlead.testing.engine_suite import Check, Subject
from fairlead.testing.engines import EchoEngine
from fairlead.testing.hearing import Heard

pytestmark = pytest.mark.skipif(
    "chats" not in inspect.signature(running).parameters, reason="the API of this tree is a sketch that does not stream"
)
HELLO = (Message("user", "hello big world"),)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    engines = {
        "m": EchoEngine(EngineOptions("m", "", options={"delay": 0.001})),
        "dying": EchoEngine(EngineOptions("dying", "", options={"dies_after": 2, "delay": 0.01})),
    }
    with running({}, chats=engines) as server:
        yield f"{server.url}/v1"


@pytest.mark.parametrize("check", engine_suite.CHECKS, ids=lambda check: check.__name__)
async def test_the_suite(check: Check, url: str) -> None:
    await check(Subject(lambda: OpenAIEngine(EngineOptions("m", "", url)), counts=False, same=True))


async def test_everything_that_can_be_asked_and_every_end(url: str) -> None:
    engines = {name: OpenAIEngine(EngineOptions(name, "", url)) for name in ("m", "dying", "nobody")}
    for one in engines.values():
        await one.start()

    async def answer(asked: Generation) -> Heard:
        heard = Heard()
        engines[asked.model].generate(asked, heard)
        await asyncio.wait_for(heard.over.wait(), 10)
        heard.check()
        return heard

    try:
        assert (await answer(Generation("1", "m", "one two three", Sampling(most=2)))).ended.reason == "length"
        assert (await answer(Generation("1", "m", (5, 6)))).text == "5 6"
        called = await answer(Generation("1", "m", HELLO, tools=(Tool("f"),), choose="f"))
        assert [call.name for piece in called.pieces for call in piece.calls if call.name] == ["f"]
        assert called.ended.reason == "tool_calls"
        told = await answer(Generation("1", "m", HELLO, Sampling(logprobs=2, temperature=0.0, seed=7)))
        assert [one.token for piece in told.pieces for one in piece.logprobs] == ["hello", " big", " world"]
        assert (await answer(Generation("1", "m", HELLO, format=Format("f", {"type": "object"})))).text == "{}"
        assert isinstance((await answer(Generation("1", "m", "w " * 5000))).events[-1], ContextTooLong)
        lost = await answer(Generation("1", "dying", HELLO))
        assert isinstance(lost.events[-1], EngineLost)
        assert lost.text == "hello big"
        assert isinstance((await answer(Generation("1", "nobody", HELLO))).events[-1], Unavailable)
    finally:
        for one in engines.values():
            await one.stop()
