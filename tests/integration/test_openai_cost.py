"""What an answer has cost stands in its usage, where the official SDK finds it; streams have no other place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from running import running

from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.ledger import Price
from fairlead.kit.clock import SystemClock
from fairlead.serve.llm.ask import last
from fairlead.serve.llm.ledger.books import Books
from fairlead.serve.llm.ledger.ledger import Ledger
from fairlead.serve.llm.ledger.prices import PriceBook
from fairlead.serve.llm.ledger.stage import LedgerStage
from fairlead.testing.engines import EchoEngine
from fairlead.testing.ledgers import MemoryLedger
from fairlead.testing.sinks import MemorySink

HI: Any = [{"role": "user", "content": "hello big world"}]
PRICE = Price("m", 0, "EUR", 10**12, 10**12, 10**13, 10**13)
"""0.001 EUR a token of the prompt, 0.01 of the answer."""


@pytest.fixture(scope="module", params=[True, False], ids=["priced", "unpriced"])
def asked(request: pytest.FixtureRequest) -> Iterator[tuple[openai.OpenAI, bool]]:
    engine = EchoEngine(EngineOptions("echo", ""))
    prices = PriceBook([PRICE] if request.param else [])
    ledger = Ledger(MemoryLedger(), prices, Books([]), SystemClock(), MemorySink(), project="p")
    enter = LedgerStage(ledger, "m", ("m",), engine).stage(last(engine))
    with (
        running({}, chats={"m": engine}, enter=enter) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as sdk,
    ):
        yield sdk, request.param


def cost(usage: Any, prompt: int, answer: int, priced: bool, answers: int = 1) -> None:
    """What the SDK does not know of is kept beside what it knows."""
    if not priced:
        assert "cost" not in usage.to_dict()
        return
    assert usage.cost == pytest.approx(prompt * answers * 0.001 + answer * 0.01)
    assert usage.currency == "EUR"


def test_a_whole_chat_and_its_header(asked: tuple[openai.OpenAI, bool]) -> None:
    sdk, priced = asked
    raw = sdk.chat.completions.with_raw_response.create(model="m", messages=HI)
    usage = raw.parse().usage
    assert usage is not None
    cost(usage, usage.prompt_tokens, usage.completion_tokens, priced)
    told = raw.headers.get("fairlead-cost")
    assert told == (f"{usage.to_dict()['cost']} EUR" if priced else None)


def test_several_answers_are_added_up(asked: tuple[openai.OpenAI, bool]) -> None:
    sdk, priced = asked
    usage = sdk.chat.completions.create(model="m", messages=HI, n=3).usage
    assert usage is not None
    cost(usage, usage.prompt_tokens, usage.completion_tokens, priced, answers=3)


@pytest.mark.parametrize("way", ["chat", "completions"])
def test_a_stream_that_is_asked_for_its_usage(asked: tuple[openai.OpenAI, bool], way: str) -> None:
    sdk, priced = asked
    more: Any = {"model": "m", "stream": True}
    more |= {"messages": HI} if way == "chat" else {"prompt": "hello big world"}
    create: Any = sdk.chat.completions.create if way == "chat" else sdk.completions.create
    *chunks, end = create(**more, stream_options={"include_usage": True})
    assert all(one.usage is None for one in chunks)
    assert end.choices == []
    cost(end.usage, end.usage.prompt_tokens, end.usage.completion_tokens, priced)
    assert all(one.usage is None for one in create(**more))


@pytest.mark.parametrize("streams", [True, False])
def test_responses(asked: tuple[openai.OpenAI, bool], streams: bool) -> None:
    sdk, priced = asked
    found: Any = sdk.responses.create(model="m", input="hello big world", stream=streams)
    if streams:
        found = list(found)[-1].response
    cost(found.usage, found.usage.input_tokens, found.usage.output_tokens, priced)
