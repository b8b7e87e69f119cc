"""The official SDK, unchanged, against a real server; and what the wire shows that the SDK hides."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai_shapes import check, events
from pydantic import BaseModel
from running import Running, running

from fairlead.contracts import errors
from fairlead.contracts.engine import EngineOptions, EngineTraits, Tell
from fairlead.contracts.errors import FairleadError, InvalidParameter
from fairlead.contracts.generation import Message
from fairlead.serve.app import Application
from fairlead.serve.llm.ask import OVER, Ask, Enter, last
from fairlead.serve.openai.embeddings import Embedded, Embedding
from fairlead.testing.engines import EchoEngine
from fairlead.testing.models import EchoModel

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "serve" / "openai"))

from bad_input import CASES, Case, Five

HI = [{"role": "user", "content": "hello big world"}]
CHAT = "/v1/chat/completions"
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def engine(**options: Any) -> EchoEngine:
    return Five(EngineOptions("echo", "", options=options))


class Anything(BaseModel):
    """A form."""


class Lengths:
    """An embedder: of each text its length, and twice that."""

    deadline = 5.0

    def __init__(self) -> None:
        self.asked: list[Embedding] = []
        self.cancelled = 0

    async def embed(self, asked: Embedding) -> Embedded:
        self.asked.append(asked)
        if asked.dimensions not in (None, 1, 2):
            raise InvalidParameter(f"dimensions is {asked.dimensions}; this model has 1 or 2")
        if asked.inputs[0] == "wait":
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        asked.notes.headers["fairlead-seen"] = "yes"
        rows = [[len(one), 2.0 * len(one)][: asked.dimensions or 2] for one in asked.inputs]
        return Embedded(np.array(rows, np.float32), sum(len(one) for one in asked.inputs))


class Letters:
    """A tokenizer: a character a token."""

    ends, begin, chats, size = (0,), (1,), True, 1000

    def encode(self, text: str) -> list[int]:
        return [ord(one) for one in text]

    def piece(self, token: int) -> bytes:
        return chr(token).encode()

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def converse(self, messages: Sequence[Message], tools: Sequence[Any]) -> list[int]:
        return [1, *(ord(one) for message in messages for one in message.content)]


EMBEDDER = Lengths()


def furnish(application: Application) -> None:
    application.embedders["e"] = EMBEDDER
    application.tokenizers["m"] = Letters()


@contextlib.contextmanager
def serving(found: EchoEngine | None = None, **more: Any) -> Iterator[tuple[Running, httpx.Client]]:
    also = more.pop("also", furnish)
    with (
        running({"churn": EchoModel()}, chats={"m": found or engine()}, also=also, **more) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        yield server, client


@pytest.fixture(scope="module", params=["short", "long"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with serving(short_way=request.param == "short") as (found, _):
        yield found


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as made:
        yield made


@pytest.fixture
def sdk(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


# The SDK.


def test_chat(sdk: openai.OpenAI) -> None:
    whole = sdk.chat.completions.create(model="m", messages=HI, n=2, logprobs=True, top_logprobs=1)  # type: ignore[call-overload]
    assert [one.message.content for one in whole.choices] == ["hello big world"] * 2
    assert whole.choices[0].logprobs.content[0].token == "hello"
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (4, 6, 10)
    stream = sdk.chat.completions.create(model="m", messages=HI, stream=True)  # type: ignore[call-overload]
    assert "".join(one.choices[0].delta.content or "" for one in stream) == "hello big world"


def test_the_sdk_puts_streams_together(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(model="m", messages=HI, tools=[TOOL], tool_choice="required") as stream:  # type: ignore[arg-type]
        for _ in stream:
            pass
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or ()
    assert (call.function.name, call.function.arguments) == ("look", "{}")  # type: ignore[union-attr]
    with sdk.responses.stream(model="m", input="hello big world") as unfolding:
        for _ in unfolding:
            pass
        assert unfolding.get_final_response().output_text == "hello big world"


def test_what_was_answered_can_be_sent_back(sdk: openai.OpenAI) -> None:
    """As programs do it: the whole message or item, with every field that it has, null or not."""
    called = sdk.chat.completions.create(model="m", messages=HI, tools=[TOOL], tool_choice="required")  # type: ignore[call-overload]
    message = called.choices[0].message
    turns = [*HI, message.model_dump(), {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "fine"}]
    again = sdk.chat.completions.create(model="m", messages=turns)
    assert again.choices[0].message.content == "fine"
    function: Any = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    first = sdk.responses.create(model="m", input="one", tools=[function], tool_choice="required")
    text = sdk.responses.create(model="m", input="two")
    (call,) = first.output
    items: Any = [
        {"role": "user", "content": "one"},
        *(one.to_dict() for one in (*first.output, *text.output)),
        {"type": "function_call_output", "call_id": call.call_id, "output": "fine"},  # type: ignore[union-attr]
    ]
    assert sdk.responses.create(model="m", input=items).output_text == "fine"
    parsed = sdk.chat.completions.parse(model="m", messages=HI, response_format=Anything)  # type: ignore[arg-type]
    assert parsed.choices[0].message.parsed == Anything()


def test_forms_and_completions(sdk: openai.OpenAI) -> None:
    schema = {"name": "s", "schema": {"type": "object"}}
    form: Any = {"type": "json_schema", "json_schema": schema}
    found = sdk.chat.completions.create(model="m", messages=HI, response_format=form)  # type: ignore[call-overload]
    assert json.loads(found.choices[0].message.content) == {}
    text = sdk.completions.create(model="m", prompt="a b c", stop=" c", echo=True)
    assert text.choices[0].text == "a b ca b"


def test_responses_are_kept(sdk: openai.OpenAI) -> None:
    first = sdk.responses.create(model="m", input="one")
    assert sdk.responses.retrieve(first.id).output_text == "one"
    second = sdk.responses.create(model="m", input="two", previous_response_id=first.id, instructions="be brief")
    assert (second.output_text, second.usage.input_tokens if second.usage else 0) == ("two", 2 + 2 + 2 + 3)
    sdk.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.responses.create(model="m", input="three", previous_response_id=first.id)
    assert caught.value.param == "previous_response_id"
    unkept = sdk.responses.create(model="m", input="one", store=False)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(unkept.id)


def test_responses_that_nobody_keeps() -> None:
    def forgetful(application: Application) -> None:
        application.kept = 0

    with serving(also=forgetful) as (_, client):
        made = client.post("/v1/responses", json={"model": "m", "input": "one", "store": True}).json()
        assert made["store"] is False
        again = {"model": "m", "input": "two", "previous_response_id": made["id"]}
        for refused in (client.post("/v1/responses", json=again), client.get(f"/v1/responses/{made['id']}")):
            assert refused.status_code == 400
            assert "keeps no responses" in refused.json()["error"]["message"]


def test_models_and_embeddings(sdk: openai.OpenAI, client: httpx.Client) -> None:
    assert {one.id for one in sdk.models.list()} == {"churn", "m"}
    assert sdk.models.retrieve("m").id == "m"
    found = sdk.embeddings.create(model="e", input=["a", "bcd"])  # the SDK asks for base64
    assert [one.embedding for one in found.data] == [[1.0, 2.0], [3.0, 6.0]]
    assert found.usage.prompt_tokens == 4
    plain = client.post("/v1/embeddings", json={"model": "e", "input": [[5, 6], [7]], "dimensions": 1})
    assert [one["embedding"] for one in plain.json()["data"]] == [[2.0], [1.0]]
    assert plain.headers["fairlead-seen"] == "yes"
    check("CreateEmbeddingResponse", plain.json())
    raw = client.post("/v1/embeddings", json={"model": "e", "input": "abc", "encoding_format": "base64"}).json()
    assert base64.b64decode(raw["data"][0]["embedding"]) == np.array([3, 6], "<f4").tobytes()
    with pytest.raises(openai.BadRequestError):
        sdk.embeddings.create(model="e", input="a", dimensions=7)


def test_a_text_that_would_take_minutes_and_gigabytes_is_sent_in_parts() -> None:
    with serving(max_body=2**26) as (_, client):
        for path, long in (("/tokenize", {"prompt": "x" * 4_000_000}), ("/detokenize", {"tokens": [104] * 2_000_000})):
            refused = client.post(path, json=long)
            assert (refused.status_code, "send the text in parts" in refused.text) == (413, True), refused.text
        assert client.post("/tokenize", json={"prompt": "x" * 3_000_000}).json()["count"] == 3_000_001


def test_tokenize(client: httpx.Client) -> None:
    found = client.post("/tokenize", json={"model": "m", "prompt": "hi", "return_token_strs": True}).json()
    assert found == {"count": 3, "max_model_len": 4096, "tokens": [1, 104, 105], "token_strs": ["\x01", "h", "i"]}
    assert client.post("/tokenize", json={"prompt": "hi", "add_special_tokens": False}).json()["count"] == 2
    assert client.post("/tokenize", json={"messages": HI}).json()["count"] == 16
    assert client.post("/tokenize", json={"prompt": "x" * 30_000}).json()["count"] == 30_001
    assert client.post("/detokenize", json={"model": "m", "tokens": [104, 105]}).json() == {"prompt": "hi"}
    refused = client.post("/detokenize", json={"tokens": [5000]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tokens[0]")
    assert client.post("/tokenize", json={"model": "m"}).status_code == 400


async def test_the_asynchronous_sdk(server: Running) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as sdk:
        asking = [sdk.chat.completions.create(model="m", messages=HI) for _ in range(20)]  # type: ignore[call-overload]
        answers = await asyncio.gather(*asking)
        assert {one.choices[0].message.content for one in answers} == {"hello big world"}
        stream = await sdk.responses.create(model="m", input="hello big world", stream=True)
        kinds = [event.type async for event in stream]
        assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
        chunks = await sdk.chat.completions.create(model="m", messages=HI, stream=True)  # type: ignore[call-overload]
        assert "".join([one.choices[0].delta.content or "" async for one in chunks]) == "hello big world"


# Errors.

RAISED: dict[str, tuple[type[FairleadError], type[openai.APIStatusError], str]] = {
    "context": (errors.ContextTooLong, openai.BadRequestError, "context_length_exceeded"),
    "blocked": (errors.ContentBlocked, openai.BadRequestError, "content_filter"),
    "unknown": (errors.Unauthenticated, openai.AuthenticationError, "invalid_api_key"),
    "forbidden": (errors.Forbidden, openai.PermissionDeniedError, "insufficient_permissions"),
    "missing": (errors.NotFound, openai.NotFoundError, "model_not_found"),
    "limited": (errors.RateLimited, openai.RateLimitError, "rate_limit_exceeded"),
    "poor": (errors.OverBudget, openai.RateLimitError, "insufficient_quota"),
    "queued": (errors.QueueFull, openai.RateLimitError, "queue_full"),
    "shed": (errors.Overloaded, openai.InternalServerError, "server_overloaded"),
    "down": (errors.Unavailable, openai.InternalServerError, "unavailable"),
    "broken": (errors.CircuitOpen, openai.InternalServerError, "circuit_open"),
    "lost": (errors.EngineLost, openai.InternalServerError, "engine_lost"),
    "late": (errors.DeadlineExceeded, openai.InternalServerError, "deadline_exceeded"),
    "failed": (errors.ModelFailed, openai.InternalServerError, "model_failed"),
    "internal": (FairleadError, openai.InternalServerError, "internal"),
}


def failing(ask: Ask, tell: Tell) -> Any:
    name = ask.generation.prompt[-1].content  # type: ignore[union-attr]
    if name == "raises":
        raise RuntimeError("a secret of the server")
    error = RAISED[name][0]("this went wrong", retry_after=3 if name == "limited" else None)
    if isinstance(error, errors.RateLimited):
        error.kind, error.told = "requests", b"x-ratelimit-remaining-requests: 0\r\n"
    tell(error)
    return OVER


def test_errors_are_the_exceptions_of_the_sdk() -> None:
    with (
        serving(enter=failing) as (server, client),
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as sdk,
    ):
        for name, (_, kind, code) in RAISED.items():
            for streams in (False, True):
                with pytest.raises(kind) as caught:
                    sdk.chat.completions.create(  # type: ignore[call-overload]
                        model="m", messages=[{"role": "user", "content": name}], stream=streams
                    )
                assert (caught.value.code, type(caught.value)) == (code, kind)
                assert "this went wrong" in str(caught.value)
                assert caught.value.request_id
                check("ErrorResponse", caught.value.response.json())
            if name == "limited":
                assert caught.value.response.headers["retry-after"] == "3"
                assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
                assert caught.value.type == "requests"
            if name == "context":
                assert caught.value.param == "messages"
        found = client.post(CHAT, json={"model": "m", "messages": [{"role": "user", "content": "raises"}]})
        assert (found.status_code, "secret" in found.text) == (500, False)
        assert server.pipeline.in_flight == 0


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_bad_input(client: httpx.Client, case: Case) -> None:
    found = client.post(case.path, content=case.body)
    assert found.status_code == case.status, found.text
    check("ErrorResponse", found.json())
    told = found.json()["error"]
    assert (told["type"], told["code"], told["param"]) == ("invalid_request_error", case.code, case.param)
    assert case.words in told["message"]


def test_what_is_no_request(client: httpx.Client) -> None:
    for path in (CHAT, "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize"):
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            found = client.request(method, path)
            assert (found.status_code, found.headers["allow"]) == (405, "POST")
            check("ErrorResponse", found.json())
        large = client.post(path, content=b"x" * (1 << 20) + b"y")
        assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
        streamed = client.post(path, content=iter([b"x" * 600_000] * 2))
        assert streamed.status_code == 413
    assert client.post("/v1/responses/x").headers["allow"] == "GET, DELETE"


def test_a_model_of_tensors_is_told_apart(client: httpx.Client) -> None:
    found = client.post(CHAT, json={"model": "churn", "messages": HI})
    assert (found.status_code, found.json()["error"]["code"]) == (404, "model_not_found")
    assert "/v2/models/churn/infer" in found.json()["error"]["message"]


class Plain(EchoEngine):
    """An engine that can do nothing beside writing."""

    @property
    def traits(self) -> EngineTraits:
        return EngineTraits("plain", 4096, 1)


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        (CHAT, {"tools": [TOOL]}, "tools"),
        (CHAT, {"response_format": {"type": "json_object"}}, "response_format"),
        (CHAT, {"seed": 1}, "seed"),
        (CHAT, {"logprobs": True}, "logprobs"),
        ("/v1/completions", {"logprobs": 0}, "logprobs"),
        ("/v1/completions", {"seed": 0}, "seed"),
        ("/v1/responses", {"text": {"format": {"type": "json_object"}}}, "text.format"),
        ("/v1/responses", {"include": ["message.output_text.logprobs"]}, "include"),
        ("/v1/responses", {"tools": [{"type": "function", "name": "f"}]}, "tools"),
    ],
)
def test_what_the_engine_lacks_is_refused(path: str, more: dict[str, Any], param: str) -> None:
    prompt = {CHAT: {"messages": HI}, "/v1/completions": {"prompt": "a"}, "/v1/responses": {"input": "a"}}[path]
    with serving(Plain(EngineOptions("plain", ""))) as (_, client):
        found = client.post(path, json={"model": "m", **prompt, **more})
        assert found.status_code == 400
        told = found.json()["error"]
        assert (told["code"], told["param"]) == ("unsupported_parameter", param)
        assert "plain" in told["message"]
        allowed = {**more, "tool_choice": "none"} if param == "tools" else {}
        assert client.post(path, json={"model": "m", **prompt, **allowed}).status_code == 200


# What is asked of the line.


def test_each_choice_is_an_ask() -> None:
    asks: list[Ask] = []
    inner = engine()

    def enter(ask: Ask, tell: Tell) -> Any:
        asks.append(ask)
        ask.notes.headers["fairlead-cache"] = "miss"
        ask.notes.headers["fairlead-bad"] = "a\r\nb: c"
        return last(inner)(ask, tell)

    limits = {"default": 7, "most": 9, "deadline": 30.0}
    with serving(inner, enter=enter, chat=limits) as (_, client):
        headers = {"x-request-id": "me", "x-request-timeout-ms": "5000", "x-request-priority": "batch"}
        body = {"model": "m", "messages": HI, "n": 3, "seed": 2**63 - 2, "user": "u", "stop": "z", "top_k": -1}
        found = client.post(CHAT, json=body, headers=headers)
        assert found.headers["x-request-id"] == "me"
        assert found.headers["fairlead-cache"] == "miss"
        assert "fairlead-bad" not in found.headers
        assert [one.first for one in asks] == [True, False, False]
        assert len({one.generation.id for one in asks}) == 3
        assert len({id(one.notes) for one in asks}) == 1
        assert asks[0].notes.facts == {"api": CHAT, "user": "u", "several": True}
        generation = asks[0].generation
        assert [one.generation.sampling.seed for one in asks] == [2**63 - 2, 2**63 - 1, 2**63 - 4]
        assert (generation.lane, generation.sampling.most, generation.sampling.top_k) == (2, 7, 0)
        assert 4.0 < generation.deadline - asks[0].arrived <= 5.0
        assert (asks[0].request_id, asks[0].streams, asks[0].size > 50) == ("me", False, True)
        client.post(CHAT, json={"model": "m", "messages": HI, "max_tokens": 1000, "stream": True})
        assert (asks[-1].generation.sampling.most, asks[-1].streams) == (9, True)
        for name, value in (("x-request-timeout-ms", "soon"), ("x-request-priority", "now")):
            assert client.post(CHAT, json=body, headers={name: value}).status_code == 400


def test_headers_of_a_stream_are_those_before_its_first_piece() -> None:
    class Told:
        def lines(self) -> bytes:
            return b"x-ratelimit-limit-requests: 5\r\n"

    inner = engine(delay=0.01)

    def enter(ask: Ask, tell: Tell) -> Any:
        ask.notes.headers["fairlead-guard"] = "on"
        ask.notes.allowance = Told()
        return last(inner)(ask, tell)

    with serving(inner, enter=enter) as (_, client):
        for streams in (True, False):
            found = client.post(CHAT, json={"model": "m", "messages": HI, "stream": streams})
            assert found.headers["fairlead-guard"] == "on"
            assert found.headers["x-ratelimit-limit-requests"] == "5"


# Time, hanging up, the end.


def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come to be"
        time.sleep(0.01)


def raw(body: dict[str, Any], path: str = CHAT, *, chunked: bool = False) -> bytes:
    text = json.dumps({"model": "m", **body}).encode()
    if chunked:  # which goes the long way
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{len(text):x}\r\n"
        return head.encode() + text + b"\r\n0\r\n\r\n"
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text


LONG = [{"role": "user", "content": "word " * 500}]


@pytest.mark.parametrize("chunked", [False, True], ids=["short", "long"])
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("when", ["at once", "later"])
def test_who_hangs_up_cancels_every_answer(chunked: bool, streams: bool, when: str) -> None:
    slow = engine(delay=0.02)
    with serving(slow) as (server, _):
        link = server.send(raw({"messages": LONG, "n": 3, "stream": streams}, chunked=chunked))
        until(lambda: slow.load().running == 3)
        assert server.pipeline.in_flight == 1
        if when == "later":
            time.sleep(0.1)
            if streams:
                assert link.recv(10_000).startswith(b"HTTP/1.1 200")
        link.close()
        until(lambda: slow.load().running == 0, 2)
        assert server.pipeline.in_flight == 0


def test_who_hangs_up_cancels_what_waits_in_the_pipeline() -> None:
    slow = engine(delay=0.02)
    with serving(slow) as (server, _):
        link = server.send(raw({"messages": LONG, "stream": True}) + raw({"messages": LONG}))
        until(lambda: slow.load().running == 1)
        link.close()
        until(lambda: slow.load().running == 0, 2)
        assert len(slow.asked) <= 2


def test_embeddings_are_cancelled_too() -> None:
    with serving() as (server, client):
        before = EMBEDDER.cancelled
        text = b'{"model":"e","input":"wait"}'
        head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(text)
        link = server.send(head + text)
        until(lambda: server.pipeline.in_flight == 1)
        link.close()
        until(lambda: EMBEDDER.cancelled == before + 1, 2)
        late = client.post(
            "/v1/embeddings", json={"model": "e", "input": "wait"}, headers={"x-request-timeout-ms": "50"}
        )
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("chunked", [False, True], ids=["short", "long"])
def test_time_is_over(chunked: bool) -> None:
    slow = engine(delay=0.05)
    with serving(slow) as (server, client):
        body = json.dumps({"model": "m", "messages": LONG}).encode()
        content = iter([body]) if chunked else body
        whole = client.post(CHAT, content=content, headers={"x-request-timeout-ms": "120"})
        assert (whole.status_code, whole.json()["error"]["code"]) == (504, "deadline_exceeded")
        body = json.dumps({"model": "m", "messages": LONG, "stream": True}).encode()
        content = iter([body]) if chunked else body
        stream = client.post(CHAT, content=content, headers={"x-request-timeout-ms": "300"})
        assert stream.status_code == 200
        assert events(stream.text)[-1]["error"]["code"] == "deadline_exceeded"
        assert (slow.load().running, server.pipeline.in_flight) == (0, 0)


@pytest.mark.parametrize("chunked", [False, True], ids=["short", "long"])
def test_a_silent_stream_is_kept_alive(chunked: bool) -> None:
    def beating(application: Application) -> None:
        application.beat = 0.1

    with serving(engine(delay=0.45), also=beating) as (_, client):
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "a b"}], "stream": True}).encode()
        found = client.post(CHAT, content=iter([body]) if chunked else body)
        assert found.text.startswith(": keep-alive\n\n")
        assert 6 <= found.text.count(": keep-alive\n\n") <= 20
        assert "".join(one["choices"][0]["delta"].get("content", "") for one in events(found.text)) == "a b"
        assert found.text.endswith("data: [DONE]\n\n")


def test_a_stream_is_finished_before_the_server_ends() -> None:
    slow = engine(delay=0.02)
    with serving(slow) as (server, _):
        link = server.send(raw({"messages": [{"role": "user", "content": "word " * 20}], "stream": True}))
        until(lambda: slow.load().running == 1)
        server.stop()
        assert everything(link).endswith(b"0\r\n\r\n")


def test_who_outlasts_the_grace_is_told() -> None:
    slow = engine(delay=0.05)
    with serving(slow, grace=0.3) as (server, _):
        link = server.send(raw({"messages": LONG, "stream": True}))
        until(lambda: slow.load().running == 1)
        server.stop()
        told = everything(link)
        assert b'"code":"unavailable"' in told
        assert b"[DONE]" not in told
        until(lambda: slow.load().running == 0)


def everything(link: socket.socket) -> bytes:
    found = b""
    with link, contextlib.suppress(ConnectionResetError):
        while piece := link.recv(65536):
            found += piece
    return found


def outcome(server: Running, at: int) -> str:
    """What one of many clients sees: every other one hangs up at an odd moment, every third wants no stream."""
    chance, streams = random.Random(at), at % 3 != 0
    body = {"messages": [{"role": "user", "content": "w " * 30}], "n": 1 + at % 3, "stream": streams}
    with server.send(raw(body), timeout=20) as link:
        if at % 2:
            time.sleep(chance.random() * 0.3)
            return "hung up"
        found = b""
        while not found.endswith(b"\r\n0\r\n\r\n" if streams else b"}"):
            piece = link.recv(65536)
            if not piece:
                return "cut off"
            found += piece
    if b'"error"' in found:
        assert b"[DONE]" not in found
        return "told in the stream" if b"200 OK" in found else "told"
    return "whole" if not streams or b"[DONE]" in found else "cut short"


def test_a_storm_of_clients_and_an_engine_that_dies() -> None:
    shared = engine(delay=0.005, parallel=8)
    with serving(shared) as (server, _), ThreadPoolExecutor(32) as pool:
        seen = Counter(pool.map(outcome, [server] * 32, range(32)))
        assert seen == {"hung up": 16, "whole": 16}
        until(lambda: shared.load().running + shared.load().waiting + server.pipeline.in_flight == 0)
        shared.dies_after = 20
        seen = Counter(pool.map(outcome, [server] * 32, range(0, 64, 2)))
        assert seen == {"told in the stream": 21, "told": 11}
        until(lambda: shared.load().running + shared.load().waiting + server.pipeline.in_flight == 0)


# HTTP.


def test_every_form_of_a_request(server: Running, client: httpx.Client) -> None:
    body = json.dumps({"model": "m", "messages": HI}).encode()
    packed = client.post(CHAT, content=gzip.compress(body), headers={"content-encoding": "gzip"})
    assert packed.json()["choices"][0]["message"]["content"] == "hello big world"
    assert client.post(f"{CHAT}?api-version=1", content=body).status_code == 200
    one = raw({"messages": HI})
    stream = raw({"messages": HI, "stream": True})
    closing = one.replace(b"host: x", b"host: x\r\nconnection: close")
    found = everything(server.send(one + stream + one + closing))
    assert found.count(b"HTTP/1.1 200") == 4
    assert found.count(b"data: [DONE]") == 1
    old = one.replace(b"HTTP/1.1", b"HTTP/1.0")
    assert b"hello big world" in everything(server.send(old))
    slowly = raw({"messages": HI, "stream": True})
    with server.send(slowly[:50]) as link:
        for at in range(50, len(slowly), 40):
            link.sendall(slowly[at : at + 40])
            time.sleep(0.001)
        assert b"HTTP/1.1 200" in link.recv(65536)


def test_several_streams_on_one_connection(client: httpx.Client) -> None:
    for _ in range(3):
        for streams in (True, False):
            found = client.post(CHAT, json={"model": "m", "messages": HI, "stream": streams})
            assert found.status_code == 200


def test_a_stage_may_answer_anything_anytime() -> None:
    """Whatever is told after the end is nobody's business; a line that raises is an error of the server."""

    def enter(ask: Ask, tell: Tell) -> Any:
        running_ = last(inner)(ask, tell)
        tell(errors.EngineLost("too late"))
        return running_

    inner = engine()
    made: Enter = enter
    with serving(inner, enter=made) as (server, client):
        assert client.post(CHAT, json={"model": "m", "messages": HI}).status_code == 200
        assert client.post(CHAT, json={"model": "m", "messages": HI, "n": 2}).status_code == 503
        assert server.pipeline.in_flight == 0
