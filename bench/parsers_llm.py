"""Targets of ``bench.parsers``: bodies of OpenAI's API, and what a server of that API answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from fairlead.adapters.engines.served import asking as served
from fairlead.adapters.engines.served.answer import Answer, Patience
from fairlead.adapters.engines.served.link import Garbled
from fairlead.adapters.engines.served.refusals import Whom
from fairlead.contracts.engine import EngineOptions, Event
from fairlead.contracts.errors import FairleadError, InputError
from fairlead.contracts.generation import Ended, Generation, Message
from fairlead.serve.llm import worst
from fairlead.serve.llm.ask import Ask, last, over
from fairlead.serve.llm.cache import canonical
from fairlead.serve.llm.chats import Chat
from fairlead.serve.llm.guard import asked as guard
from fairlead.serve.llm.route.prefixes import blocks
from fairlead.serve.llm.texting import schemas
from fairlead.serve.llm.texting.stopping import Automaton
from fairlead.serve.openai import asking, chat, completions, responses
from fairlead.serve.openai.kept import Shelf
from fairlead.testing.engines import EchoEngine

_ENGINE: Final = EchoEngine(EngineOptions("chat", ""))
_CHAT: Final = Chat("chat", _ENGINE, last(_ENGINE))
_READERS: Final[tuple[Callable[[bytes], Any], ...]] = (chat.read, completions.read, responses.reading(Shelf()))


def bodies(data: bytes) -> None:
    """Each as each of the three routes reads it, and what stages and engines make of it."""
    for read in _READERS:
        with suppress(InputError):
            wish = read(data)
            _ = wish.facts
            plan = wish.plan(_CHAT, "id", lambda: 1.0, None)
            first = Ask(asking.generation(plan, "chat", "id", 9.0, None, 1), 0.0, "r")
            for one, _place in zip(asking.each(plan, first), range(4), strict=False):
                _stages(one)


def _stages(one: Ask) -> None:
    asked = one.generation
    worst.prompt_guess(asked)
    worst.prompt_bound(asked)
    canonical.exact(one, "key")
    canonical.question(asked)
    blocks(asked, 64)
    if served.talks(asked):
        guard.rebuilt(asked.prompt, guard.said(asked.prompt))
    if asked.sampling.stop:
        Automaton(asked.sampling.stop)
    for tool in asked.tools:
        if tool.parameters is not None:
            with suppress(InputError):
                schemas.checked(tool.parameters, "tools", held=False)
    if asked.format is not None and asked.format.schema is not None:
        with suppress(InputError):
            schemas.checked(asked.format.schema, "schema")
    with suppress(InputError):
        json.loads(served.body(asked, served.Manner("m")))


class _Line:
    """A connection that leads nowhere."""

    def send(self, listener: Answer, request: bytes) -> None: ...

    def want(self, listener: Answer) -> None:
        listener.take(self)  # type: ignore[arg-type]

    def forget(self, listener: Answer) -> None: ...

    def leave(self) -> None: ...

    def close(self) -> None: ...


class _Keeper:
    patience = Patience(60.0, 60.0, 1 << 20)

    def __init__(self) -> None:
        self.links: Any = _Line()

    def request(self, asked: Generation) -> bytes:  # noqa: ARG002 - the protocol names it
        return b"request"

    def whom(self) -> Whom:
        return Whom("the server", "m")

    def gone(self, answer: Answer) -> None: ...

    def well(self) -> None: ...

    def ill(self, error: FairleadError) -> None: ...

    def uncounted(self) -> None: ...


def answers(data: bytes) -> None:
    """The first byte says with which status, the second as what, and the third where it is cut."""
    asyncio.run(_answered(data))


async def _answered(data: bytes) -> None:
    told: list[Event] = []
    answer = Answer(_Keeper(), Generation("g", "m", (Message("user", "hi"),)), told.append)
    answer.begin()
    head, rest = data[:3].ljust(3, b"\0"), data[3:]
    status = (200, 200, 200, 400, 404, 429, 500, 503)[head[0] % 8]
    kind = b"application/json" if head[1] % 4 == 0 else b"text/event-stream"
    size = 1 + head[2]
    try:
        answer.head(status, {b"content-type": kind})
        for at in range(0, len(rest), size):
            answer.body(rest[at : at + size])
        answer.complete()
    except Garbled:
        return
    ends = [place for place, event in enumerate(told) if over(event)]
    assert ends == [len(told) - 1], told
    for event in told:
        assert not isinstance(event, Ended) or min(event.usage) >= 0, event


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"openai": bodies, "openai-answers": answers}


def _body(**more: Any) -> bytes:
    return json.dumps({"model": "chat", **more}).encode()


_TALK: Final = [
    {"role": "system", "content": "be good"},
    {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]},
    {"role": "tool", "content": "1", "tool_call_id": "a"},
    {"role": "user", "content": "go on"},
]  # fmt: skip
_SCHEMA: Final = {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": ["string"]}}}


def _events(*chunks: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks) + b"data: [DONE]\n\n"


EXAMPLES: Final[dict[str, list[bytes]]] = {
    "openai": [
        _body(messages=_TALK, temperature=0.5, stop=["a", "b"], n=2, seed=1, logprobs=True, top_logprobs=2, stream=True,
              stream_options={"include_usage": True}, logit_bias={"5": 1.0}, max_completion_tokens=5),
        _body(messages=_TALK[:2], tools=[{"type": "function", "function": {"name": "f", "parameters": _SCHEMA}}],
              tool_choice={"type": "function", "function": {"name": "f"}}, parallel_tool_calls=False),
        _body(messages=_TALK[:1],
              response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": _SCHEMA, "strict": True}}),
        _body(prompt="once"), _body(prompt=["a", "b"], echo=True), _body(prompt=[[1, 2], [3]]),
        _body(input="hi", instructions="be good", metadata={"a": "b"}, include=["message.output_text.logprobs"]),
        _body(input=[{"role": "user", "content": [{"type": "input_text", "text": "x"}]},
                     {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
                     {"type": "function_call_output", "call_id": "a", "output": "1"}],
              tools=[{"type": "function", "name": "f", "parameters": _SCHEMA}],
              text={"format": {"type": "json_schema", "name": "a", "schema": _SCHEMA}}),
        b'{"model": "chat", "messages": ' + b"[" * 5000,
    ],
    "openai-answers": [
        b"\0\x01\xff" + _events(
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
            {"choices": [{"delta": {"content": "hi", "reasoning_content": "so"}}], "usage": None},
            {"choices": [{"delta": {"tool_calls": [
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]}}]},
            {"choices": [{"delta": {"content": "x"}, "logprobs": {"content": [
                {"token": "x", "logprob": -1.0, "bytes": [120], "top_logprobs": [{"token": "y", "logprob": -2.0}]}]}}]},
            {"choices": [{"delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4,
                                      "prompt_tokens_details": {"cached_tokens": 1},
                                      "completion_tokens_details": {"reasoning_tokens": 1}}},
        ),
        b"\0\x01\x02" + _events({"choices": [{"text": "a", "logprobs": {
            "tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0}]}, "finish_reason": "length"}]}),
        b"\0\x01\x07" + _events({"error": {"message": "no", "code": 429}}),
        b"\0\0\x40" + json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
                                  "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode(),
        b"\x03\0\x40" + json.dumps({"error": {"message": "too long", "code": "context_length_exceeded"}}).encode(),
        b"\x05\0\x40" + json.dumps({"object": "error", "message": "slow down", "code": "x"}).encode(),
    ],
}  # fmt: skip
