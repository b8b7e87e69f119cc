"""Texting over a fake engine: what is asked of it, and what is told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from letters import Letters, ids
from saying import SayingTokens

from fairlead.contracts.engine import EngineOptions, Event
from fairlead.contracts.errors import (
    ContextTooLong,
    DeadlineExceeded,
    EngineLost,
    InvalidParameter,
    ModelFailed,
    Unavailable,
)
from fairlead.contracts.generation import Begun, Ended, Format, Generation, Message, Piece, Sampling, Tool, Usage
from fairlead.contracts.tokens import Tokens
from fairlead.serve.llm.texting.engine import INLINE, Texting
from fairlead.serve.llm.texting.speaking import Manner
from fairlead.testing.clock import ManualClock

TALK = (Message("user", "hi"),)
TOOLS = (Tool("weather", "", {"type": "object", "properties": {"city": {"type": "string"}}}), Tool("add"))


class Case:
    """A texting engine, and everything that it told of one answer."""

    def __init__(self, tokenizer: Letters | None = None, manner: Manner | None = None, **options: Any) -> None:
        self.tokens = SayingTokens(EngineOptions("m", "", options={"context": 20_000} | options))
        self.clock = ManualClock()
        self.tokenizer = tokenizer or Letters()
        self.engine = Texting("m", self.tokens, lambda: self.tokenizer, self.clock, manner)
        self.told: list[Event] = []

    def says(self, text: str, size: int = 1) -> None:
        found = ids(text)
        self.tokens.says = [found[at : at + size] for at in range(0, len(found), size)]

    async def ask(self, prompt: Any = TALK, sampling: Sampling | None = None, **more: Any) -> list[Event]:
        self.told = []
        sampling = sampling or Sampling()
        self.engine.generate(Generation("g1", "m", prompt, sampling, **more), self.told.append)
        for _ in range(500):
            if self.told and not isinstance(self.told[-1], Begun | Piece):
                return self.told
            await asyncio.sleep(0.002)
        raise AssertionError("it never ended")

    @property
    def text(self) -> str:
        return "".join(one.text for one in self.told if isinstance(one, Piece))

    @property
    def end(self) -> Ended:
        assert isinstance(self.told[-1], Ended), self.told[-1]
        return self.told[-1]


@pytest.fixture
async def case() -> AsyncIterator[Case]:
    made = Case()
    await made.engine.start()
    yield made
    await made.engine.stop()


async def test_text_of_tokens(case: Case) -> None:
    case.says("h€y")
    await case.ask("abc", Sampling(temperature=0.5))
    assert case.told == [
        Begun(Usage(input=4)), Piece("h"), Piece("€", 3), Piece("y"), Ended("stop", Usage(input=4, output=5)),
    ]  # fmt: skip
    asked = case.tokens.asked[0]
    assert list(asked.ids) == [256, *b"abc"]
    assert (asked.ends, asked.most, asked.grammar) == ((257,), 20_000 - 4, None)
    assert asked.sampling.temperature == 0.5


async def test_tokens_that_come_together_are_one_piece(case: Case) -> None:
    case.says("hello there", 4)
    await case.ask()
    assert [one for one in case.told if isinstance(one, Piece)] == [Piece("hell", 4), Piece("o th", 4), Piece("ere", 3)]


@pytest.mark.parametrize(
    ("most", "reason", "text"), [(3, "length", "abc"), (None, "stop", "abcd"), (9, "stop", "abcd")]
)
async def test_the_longest_answer(case: Case, most: int | None, reason: str, text: str) -> None:
    case.says("abcd</s>ef")
    await case.ask(sampling=Sampling(most=most))
    assert (case.text, case.end.reason) == (text, reason)


async def test_an_end_that_is_ignored(case: Case) -> None:
    case.says("ab</s>cd")
    await case.ask(sampling=Sampling(ignore_end=True))
    assert case.text == "abcd"
    assert case.tokens.asked[0].ends == ()


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_stop_texts(case: Case, size: int) -> None:
    case.says("one two three", size)
    await case.ask(sampling=Sampling(stop=("o t", "xyz")))
    assert (case.text, case.end.reason) == ("one tw", "stop")
    assert case.end.usage.output <= len("one two t") + size
    case.says("one tw", size)
    await case.ask(sampling=Sampling(stop=("two",)))
    assert (case.text, case.end.reason) == ("one tw", "stop")


async def test_a_stop_text_ends_the_engine_within_a_step() -> None:
    case = Case(delay=0.001)
    await case.engine.start()
    case.says("stop " * 1000)
    await case.ask(sampling=Sampling(stop=("p s",)))
    assert case.engine.load().running == 0
    assert case.text == "sto"
    await case.engine.stop()


async def test_likelihoods_come_with_their_text_and_not_of_what_was_cut(case: Case) -> None:
    case.tokens.says = [[*ids("a€"), 262], ids("XY")]
    await case.ask(sampling=Sampling(logprobs=2, stop=("XY",)))
    chosen = [one for piece in case.told if isinstance(piece, Piece) for one in piece.logprobs]
    assert [one.data for one in chosen] == [b"a", b"\xe2", b"\x82", b"\xac", b" the"]
    assert chosen[4].token == " the"
    assert chosen[4].logprob == -4.0
    assert chosen[0].others == (("a", 0.0, b"a"),)
    assert "XY" not in case.text


async def test_a_prompt_that_does_not_fit_says_by_how_much() -> None:
    case = Case(context=20)
    await case.engine.start()
    await case.ask("x" * 25)
    assert isinstance(case.told[0], ContextTooLong)
    assert "26 tokens" in str(case.told[0])
    assert "shorten it by 7" in str(case.told[0])
    with pytest.raises(ContextTooLong):
        await case.engine.count(Generation("g", "m", "x" * 25))
    case.tokenizer.encode = lambda text: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    await case.ask("x" * 561)  # longer than any 20 tokens: it is not even read
    assert "561 characters" in str(case.told[0])
    del case.tokenizer.encode
    await case.ask("x" * 18, Sampling(most=100))
    assert case.tokens.asked[-1].most == 1
    await case.engine.stop()


async def test_prompts_of_ids(case: Case) -> None:
    case.says("ok")
    await case.ask((97, 98))
    assert list(case.tokens.asked[-1].ids) == [97, 98]
    await case.ask((97, 9999))
    assert "no token 9999" in str(case.told[0])
    await case.ask(())
    assert list(case.tokens.asked[-1].ids) == [256]


async def test_a_prompt_is_read_once_for_counting_and_for_each_answer(case: Case) -> None:
    case.says("ok")
    assert await case.engine.count(Generation("g", "m", TALK)) == 10
    before = case.tokenizer.calls
    await case.ask()
    await case.ask(sampling=Sampling(seed=1))
    assert case.tokenizer.calls == before
    await case.ask((Message("user", "hi"),), tools=TOOLS)
    assert case.tokenizer.calls == before + 1


async def test_a_long_prompt_is_read_in_a_thread_and_can_be_cancelled(case: Case) -> None:
    case.says("ok")
    long = (Message("user", "x" * INLINE),)
    told: list[Event] = []
    case.engine.generate(Generation("g", "m", long), told.append)
    assert told == []
    assert case.engine.load().waiting == 1
    cancelled: list[Event] = []
    case.engine.generate(Generation("h", "m", long), cancelled.append).cancel()
    for _ in range(1000):
        await asyncio.sleep(0.001)
        if told and isinstance(told[-1], Ended):
            break
    assert isinstance(told[-1], Ended)
    assert cancelled == []
    assert await case.engine.count(Generation("g", "m", (Message("user", "y" * INLINE),))) > INLINE


async def test_stopping_ends_what_is_being_read() -> None:
    case = Case()
    await case.engine.start()
    slow = case.tokenizer.converse
    case.tokenizer.converse = lambda messages, tools: (time.sleep(0.05), slow(messages, tools))[1]  # type: ignore[method-assign]
    told: list[Event] = []
    for place in range(4):
        case.engine.generate(Generation(str(place), "m", (Message("user", "x" * INLINE),)), told.append)
    await case.engine.stop()
    await asyncio.sleep(0.15)
    assert len(told) == 4
    assert all(isinstance(one, Unavailable) for one in told)


async def test_a_time_that_is_over_asks_nobody(case: Case) -> None:
    case.clock.advance(5)
    await case.ask(deadline=5.0)
    assert isinstance(case.told[0], DeadlineExceeded)
    assert case.tokens.asked == []


async def test_cancelling_inside_what_is_told(case: Case) -> None:
    case.tokens._delay = 0.001
    case.says("abcdef")
    told: list[Event] = []

    def tell(event: Event) -> None:
        told.append(event)
        if isinstance(event, Piece):
            running.cancel()
            running.cancel()

    running = case.engine.generate(Generation("g", "m", TALK), tell)
    await asyncio.sleep(0.03)
    assert [type(one) for one in told] == [Begun, Piece]
    assert case.engine.load().running == 0


@pytest.mark.parametrize("phase", ["reading", "begun", "half", "ended"])
async def test_after_cancel_nothing_is_told(case: Case, phase: str) -> None:
    case.tokens._delay = 0.001
    case.says("abcdef")
    told: list[Event] = []
    prompt = (Message("user", "x" * (INLINE if phase == "reading" else 1)),)
    running = case.engine.generate(Generation("g", "m", prompt), told.append)
    if phase == "half":
        await asyncio.sleep(0.004)
    if phase == "ended":
        await asyncio.sleep(0.05)
        assert isinstance(told[-1], Ended)
    seen = len(told)
    running.cancel()
    await asyncio.sleep(0.02)
    assert len(told) == seen
    assert case.engine.load().running == 0


async def test_errors_of_the_engine_and_of_the_tokenizer_end_the_answer(case: Case) -> None:
    await case.ask((Message("user", "bad"),))
    assert isinstance(case.told[0], InvalidParameter)
    case.tokenizer.encode = lambda text: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    await case.ask("x")
    assert isinstance(case.told[0], ModelFailed)
    await case.engine.stop()
    await case.ask()
    assert isinstance(case.told[0], Unavailable)


async def test_calls(case: Case) -> None:
    case.says('Let me see. <tool_call>{"name": "weather", "arguments": {"city": "Bonn"}}</tool_call></s>', 4)
    await case.ask(tools=TOOLS)
    calls = [one for piece in case.told if isinstance(piece, Piece) for one in piece.calls]
    assert case.text == "Let me see."
    assert (calls[0].name, calls[0].id[:5]) == ("weather", "call_")
    assert "".join(one.arguments for one in calls) == '{"city": "Bonn"}'
    assert case.end.reason == "tool_calls"
    await case.ask(tools=TOOLS, choose="none")
    assert case.text.startswith("Let me see. <tool_call>")
    assert case.tokens.asked[-1].grammar is None


async def test_special_tokens_of_calls_are_read() -> None:
    case = Case(Letters("tools [TOOL_CALLS]"))
    await case.engine.start()
    case.says('[TOOL_CALLS][{"name": "add", "arguments": {}}, {"name": "add", "arguments": {}}]')
    await case.ask(tools=TOOLS)
    calls = [one for piece in case.told if isinstance(piece, Piece) for one in piece.calls]
    assert [len(one.id) for one in calls if one.id] == [9, 9]
    await case.ask(tools=TOOLS, parallel=False)
    assert {one.place for piece in case.told if isinstance(piece, Piece) for one in piece.calls} == {0}
    await case.ask()
    assert case.text.startswith("[{")
    await case.engine.stop()


@pytest.mark.parametrize(("choose", "names"), [("required", ["weather", "add"]), ("add", ["add"])])
async def test_a_call_that_must_be(case: Case, choose: str, names: list[str]) -> None:
    case.says('{"name": "add", "arguments": {"a": 1}}')
    await case.ask(tools=TOOLS, choose=choose)
    grammar = case.tokens.asked[-1].grammar
    assert grammar is not None
    schema = grammar["json_schema"]
    forms: Sequence[Any] = schema.get("anyOf", [schema])
    assert [one["properties"]["name"]["enum"][0] for one in forms] == names
    assert (case.text, case.end.reason) == ("", "tool_calls")
    await case.ask(tools=TOOLS, choose="other")
    assert "no tool 'other'" in str(case.told[0])


async def test_formats(case: Case) -> None:
    case.says("{}")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    await case.ask(format=Format("x", schema))
    assert case.tokens.asked[-1].grammar == {"json_schema": schema}
    await case.ask(format=Format())
    assert case.tokens.asked[-1].grammar == {"json_schema": {"type": "object"}}
    await case.ask(format=Format("x", {"type": "text"}))
    assert "response_format.json_schema.schema.type" in str(case.told[0])
    await case.ask(tools=(Tool("f", "", {"type": "text"}),))
    assert "tools[0].function.parameters.type" in str(case.told[0])


async def test_thought() -> None:
    case = Case(Letters("<think> tools <tool_call>"))
    await case.engine.start()
    case.says("<think>\nhm</think>\n\nYes", 3)
    await case.ask()
    assert "".join(one.reasoning for one in case.told if isinstance(one, Piece)) == "hm"
    assert case.text == "Yes"
    assert case.end.usage.reasoning > 0
    assert case.end.usage.completion == len("<think>\nhm</think>\n\nYes")
    await case.engine.stop()
    plain = Case(Letters("<think>"), Manner(thinks="none"))
    await plain.engine.start()
    plain.says("<think>hm</think>Yes")
    await plain.ask()
    assert plain.text == "<think>hm</think>Yes"
    await plain.engine.stop()


async def test_what_the_engine_cannot_is_refused(case: Case) -> None:
    await case.ask(sampling=Sampling(bias=((1, 2.0),)))
    assert "logit_bias" in str(case.told[0])
    await case.ask(sampling=Sampling(stop=("x" * 70_000,)))
    assert "65536" in str(case.told[0])
    assert case.engine.traits.tools
    for other in (Case(Letters("plain")), Case(manner=Manner(tools="none"))):
        await other.engine.start()
        assert not other.engine.traits.tools
        await other.engine.stop()


async def test_an_engine_that_is_lost(case: Case) -> None:
    def generate(asked: Any, tell: Any) -> Any:
        tell(Tokens((97,)))
        tell(EngineLost("gone"))
        tell(Tokens((98,)))
        return case

    case.cancel = lambda: None  # type: ignore[attr-defined]
    case.tokens.generate = generate  # type: ignore[method-assign]
    await case.ask()
    assert [type(one) for one in case.told] == [Piece, EngineLost]


@pytest.mark.parametrize(("prompt", "text"), [(TALK, "x y"), ("", "x y"), ("say", " x y")])
async def test_the_space_that_nobody_wrote(prompt: Any, text: str) -> None:
    case = Case(Letters(pads=True))
    await case.engine.start()
    case.says(" x y")
    await case.ask(prompt)
    assert case.text == text
    await case.engine.stop()


async def test_a_token_that_ends_is_no_text_whatever_it_is() -> None:
    tokenizer = Letters()
    tokenizer.ends = (ord("!"),)
    case = Case(tokenizer)
    await case.engine.start()
    case.tokens.says = [[*b"hi"]]
    await case.ask()
    assert case.text == "hi"
    reading = case.engine._speech.reading  # type: ignore[union-attr]
    prepared = case.engine._speech.prepared(Generation("g", "m", "x"), None)  # type: ignore[union-attr]
    assert reading(Generation("g", "m", "x"), prepared).piece(ord("!")) == b""
    assert reading(Generation("g", "m", "x", Sampling(ignore_end=True)), prepared).piece(ord("!")) == b"!"
    await case.engine.stop()


async def test_an_answer_that_was_begun_goes_on() -> None:
    case = Case(Letters(pads=True))
    await case.engine.start()
    assert case.engine.traits.resumes
    case.says(" there")
    talk = (*TALK, Message("assistant", "well"))
    await case.ask(talk, resumes=True)
    assert case.text == " there"
    (asked,) = case.tokens.asked
    assert [*asked.ids] == [*case.tokenizer.converse(TALK, ()), *b"well"]
    await case.ask(talk)
    assert [*case.tokens.asked[1].ids] == case.tokenizer.converse(talk, ())
    assert case.text == "there"
    await case.engine.stop()
