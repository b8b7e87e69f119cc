"""Every shape of an answer, whole and streamed, against OpenAI's own description of its API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai_shapes import EVENTS, check, events
from running import running

from fairlead.contracts.engine import EngineOptions, Event, Tell
from fairlead.contracts.errors import EngineLost
from fairlead.contracts.generation import Begun, CallDelta, Chosen, Ended, Piece, Usage
from fairlead.serve.llm.ask import OVER, Ask
from fairlead.testing.engines import EchoEngine

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}
FLAT = {"type": "function", "name": "look", "description": "d", "parameters": {"type": "object"}, "strict": False}
FORM = {"name": "s", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}, "strict": True}

_SURE = (Chosen(" a", -0.5, b" a", ((" a", -0.5, b" a"), (" b", -1.0, b" b"))),)
SCRIPTS: dict[str, list[Event]] = {
    "rich": [
        Begun(Usage(3)),
        Piece(reasoning="let me "),
        Piece(reasoning="think"),
        Piece("one", logprobs=_SURE),
        Piece(" two"),
        Piece(tokens=1, calls=(CallDelta(0, "call_1", "look", '{"a"'),)),
        Piece(tokens=1, calls=(CallDelta(0, arguments=":1}"), CallDelta(1, "call_2", "look", "{}"))),
        Ended("tool_calls", Usage(3, 2, 5, 2)),
    ],
    "refusing": [Begun(Usage(3)), Piece(refusal="I "), Piece(refusal="will not"), Ended("stop", Usage(3, 0, 2))],
    "mixed": [Piece("so "), Piece(refusal="no"), Piece("yes"), Ended("stop", Usage(3, 0, 3))],
    "long": [Piece("cut"), Ended("length", Usage(3, 0, 1))],
    "filtered": [Piece("bad"), Ended("content_filter", Usage(3, 0, 1))],
    "silent": [Begun(Usage(3)), Ended("stop", Usage(3))],
    "lost": [Begun(Usage(3)), Piece("half"), EngineLost("the engine ended", retry_after=1)],
}


def script(ask: Ask, tell: Tell) -> Any:
    """Plays what the question names, at once; but an error comes when what was before it has been written."""
    prompt = ask.generation.prompt
    name = prompt if isinstance(prompt, str) else prompt[-1].content  # type: ignore[union-attr]
    for event in SCRIPTS[str(name)]:
        if isinstance(event, EngineLost):
            asyncio.get_running_loop().call_later(0.02, tell, event)
        else:
            tell(event)
    return OVER


@pytest.fixture(scope="module")
def echo() -> Iterator[httpx.Client]:
    chats = {"m": EchoEngine(EngineOptions("echo", ""))}
    with running({}, chats=chats) as found, httpx.Client(base_url=found.url) as client:
        yield client


@pytest.fixture(scope="module")
def scripted() -> Iterator[httpx.Client]:
    chats = {"m": EchoEngine(EngineOptions("echo", ""))}
    with running({}, chats=chats, enter=script) as found, httpx.Client(base_url=found.url) as client:
        yield client


def said(text: str = "hello big world") -> list[dict[str, Any]]:
    return [{"role": "developer", "content": "be brief"}, {"role": "user", "content": text}]


CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several": {"n": 3},
    "chances": {"logprobs": True, "top_logprobs": 2},
    "short": {"max_completion_tokens": 1},
    "tools": {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
    "named tool": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}},
    "form": {"response_format": {"type": "json_schema", "json_schema": FORM}},
    "all": {
        "temperature": 0.5, "top_p": 0.9, "seed": 1, "stop": ["x"], "presence_penalty": 1, "frequency_penalty": -1,
        "logit_bias": {"5": -100}, "user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto",
        "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "ignore_eos": False, "min_tokens": 0, "max_tokens": 50,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CHATS)
def test_chat(echo: httpx.Client, name: str) -> None:
    asked = {"model": "m", "messages": said(), **CHATS[name]}
    whole = echo.post(CHAT, json=asked)
    assert whole.status_code == 200, whole.text
    check("CreateChatCompletionResponse", whole.json())
    streamed = echo.post(CHAT, json={**asked, "stream": True, "stream_options": {"include_usage": True}})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.text.endswith("data: [DONE]\n\n")
    chunks = events(streamed.text)
    for one in chunks:
        check("CreateChatCompletionStreamResponse", one)
    agree(whole.json(), chunks)


def agree(whole: dict[str, Any], chunks: list[dict[str, Any]]) -> None:
    """The stream says what the whole answer says."""
    assert len({(one["id"], one["created"], one["model"]) for one in chunks}) == 1
    *others, last = chunks
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert all(one["usage"] is None for one in others)
    for choice in whole["choices"]:
        mine = [one["choices"][0] for one in others if one["choices"][0]["index"] == choice["index"]]
        assert mine[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert [one["finish_reason"] for one in mine[:-1]] == [None] * (len(mine) - 1)
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
        assert mine[-1]["delta"] == {}
        text = "".join(one["delta"].get("content") or "" for one in mine)
        assert text == (choice["message"]["content"] or "")
        found = [chance for one in mine if one["logprobs"] for chance in one["logprobs"]["content"]]
        assert found == ((choice["logprobs"] or {}).get("content") or [])
        calls: dict[int, dict[str, Any]] = {}
        for delta in (call for one in mine for call in one["delta"].get("tool_calls", ())):
            if "id" in delta:
                calls[delta["index"]] = {"type": "function", "id": "?", "function": {"name": "", "arguments": ""}}
            calls[delta["index"]]["function"]["name"] += delta["function"].get("name", "")
            calls[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]
        assert [{**one, "id": "?"} for one in choice["message"].get("tool_calls", ())] == list(calls.values())


@pytest.mark.parametrize("name", ["rich", "refusing", "mixed", "long", "filtered", "silent"])
def test_chat_by_script(scripted: httpx.Client, name: str) -> None:
    asked = {"model": "m", "messages": said(name), "logprobs": True, "tools": [TOOL]}
    whole = scripted.post(CHAT, json=asked).json()
    check("CreateChatCompletionResponse", whole)
    stream = scripted.post(CHAT, json={**asked, "stream": True, "stream_options": {"include_usage": True}})
    chunks = events(stream.text)
    for one in chunks:
        check("CreateChatCompletionStreamResponse", one)
    agree(whole, chunks)
    if name == "rich":
        message = whole["choices"][0]["message"]
        assert (message["content"], message["reasoning_content"]) == ("one two", "let me think")
        assert [one["id"] for one in message["tool_calls"]] == ["call_1", "call_2"]
        assert whole["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
        assert (whole["usage"]["completion_tokens"], whole["usage"]["total_tokens"]) == (7, 12)


TEXTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several": {"prompt": ["a b", "c d e"], "n": 2},
    "ids": {"prompt": [1, 2, 3]},
    "many ids": {"prompt": [[1, 2], [3]]},
    "chances": {"logprobs": 3},
    "echo": {"echo": True},
    "short": {"max_tokens": 1},
}


@pytest.mark.parametrize("name", TEXTS)
def test_completions(echo: httpx.Client, name: str) -> None:
    asked = {"model": "m", "prompt": "hello big world", **TEXTS[name]}
    response = echo.post(COMPLETIONS, json=asked)
    whole = response.json()
    assert response.status_code == 200, whole
    check("CreateCompletionResponse", whole)
    chunks = events(echo.post(COMPLETIONS, json={**asked, "stream": True}).text)
    for one in chunks:
        assert "usage" not in one
        for choice in one["choices"]:  # null before the end, as the API does and its description forgets to say
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        check("CreateCompletionResponse", one)
    for choice in whole["choices"]:
        mine = [one["choices"][0] for one in chunks if one["choices"][0]["index"] == choice["index"]]
        assert "".join(one["text"] for one in mine) == choice["text"]
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
        offsets = [at for one in mine if one["logprobs"] for at in one["logprobs"]["text_offset"]]
        assert offsets == (choice["logprobs"] or {}).get("text_offset", [])
        if name == "chances":
            assert offsets == [0, 5, 9]
    if name == "echo":
        assert whole["choices"][0]["text"] == "hello big worldhello big world"
    if name == "several":
        assert [one["text"] for one in whole["choices"]] == ["a b", "a b", "c d e", "c d e"]
        assert whole["usage"]["prompt_tokens"] == 5  # a prompt counts once
    with_usage = {**asked, "stream": True, "stream_options": {"include_usage": True}}
    *_, last = events(echo.post(COMPLETIONS, json=with_usage).text)
    assert last["usage"] == whole["usage"]


ANSWERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "chances": {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
    "tools": {"tools": [FLAT], "tool_choice": "required"},
    "form": {"text": {"format": {"type": "json_schema", **FORM}}},
    "long": {"input": "a b c d e f g h i j k l m n o p q r", "max_output_tokens": 16},
    "items": {
        "instructions": "be brief",
        "metadata": {"a": "b"},
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "it is fine"},
        ],
    },
}


def unnamed(document: Any) -> Any:
    """A response without what differs from one to the next."""
    if isinstance(document, list):
        return [unnamed(one) for one in document]
    if not isinstance(document, dict):
        return document
    left_out = ("id", "call_id", "created_at", "completed_at")
    return {key: unnamed(value) for key, value in document.items() if key not in left_out}


def unfold(client: httpx.Client, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream of a response, each checked."""
    response = client.post(RESPONSES, json={**asked, "stream": True})
    assert "[DONE]" not in response.text
    found = events(response.text)
    for one in found:
        check(EVENTS[one["type"]], one)
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    assert [one["type"] for one in found[:2]] == ["response.created", "response.in_progress"]
    return found


@pytest.mark.parametrize("name", ANSWERS)
def test_responses(echo: httpx.Client, name: str) -> None:
    asked = {"model": "m", "input": "hello big world", **ANSWERS[name]}
    whole = echo.post(RESPONSES, json=asked)
    assert whole.status_code == 200, whole.text
    check("Response", whole.json())
    found = unfold(echo, asked)
    assert unnamed(found[-1]["response"]) == unnamed(whole.json())
    assert found[-1]["type"] == ("response.incomplete" if name == "long" else "response.completed")
    if name == "items":
        assert whole.json()["output"][0]["content"][0]["text"] == "it is fine"


@pytest.mark.parametrize("name", SCRIPTS)
def test_responses_by_script(scripted: httpx.Client, name: str) -> None:
    asked = {"model": "m", "input": name}
    found = unfold(scripted, asked)
    last = found[-1]["response"]
    if name == "lost":
        assert found[-1]["type"] == "response.failed"
        assert last["error"] == {"code": "server_error", "message": "the engine ended"}
        assert scripted.post(RESPONSES, json=asked).status_code == 503
        return
    whole = scripted.post(RESPONSES, json=asked).json()
    check("Response", whole)
    assert unnamed(last) == unnamed(whole)
    kinds = {"rich": ["reasoning", "message", "function_call", "function_call"], "silent": []}.get(name, ["message"])
    assert [one["type"] for one in whole["output"]] == kinds
    if name == "mixed":
        (message,) = whole["output"]
        assert [one["type"] for one in message["content"]] == ["output_text", "refusal", "output_text"]
    done = {one["output_index"]: one["item"] for one in found if one["type"] == "response.output_item.done"}
    assert [done[at] for at in sorted(done)] == last["output"]


def test_a_stream_that_fails_says_so_and_ends_without_done(scripted: httpx.Client) -> None:
    for path, body in ((CHAT, {"messages": said("lost")}), (COMPLETIONS, {"prompt": "lost"})):
        found = scripted.post(path, json={"model": "m", "stream": True, **body})
        assert found.status_code == 200
        assert "[DONE]" not in found.text
        *_, last = events(found.text)
        assert last == {
            "error": {"message": "the engine ended", "type": "server_error", "param": None, "code": "engine_lost"}
        }
        whole = scripted.post(path, json={"model": "m", **body})
        assert (whole.status_code, whole.headers["retry-after"]) == (503, "1")
        check("ErrorResponse", whole.json())
