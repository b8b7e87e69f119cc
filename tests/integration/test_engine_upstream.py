"""The engine `openai` against a server that misbehaves in every way that one can."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fairlead.adapters.engines.served.openai import OpenAIEngine
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import (
    ContextTooLong,
    EngineLost,
    FairleadError,
    QueueFull,
    RateLimited,
    SourceNotFound,
    Unavailable,
    UsageError,
)
from fairlead.contracts.generation import Ended, Generation, Message, Sampling, Tool, Usage
from fairlead.contracts.secrets import Secret
from fairlead.testing.hearing import Heard
from openai_server import Server

WORDS = " ".join(f"word{number}" for number in range(20))
QUICK = {"connect_seconds": 0.5, "first_token_seconds": 0.4, "between_seconds": 0.4, "probe_seconds": 0.05}


@asynccontextmanager
async def engine_of(server: Server | str, token: Secret | None = None, **options: Any) -> AsyncIterator[OpenAIEngine]:
    url = server if isinstance(server, str) else server.url
    engine = OpenAIEngine(EngineOptions("m", "m", url, token, options=options))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


def asked(prompt: Any = WORDS, **more: Any) -> Generation:
    if prompt is WORDS or (isinstance(prompt, str) and prompt.startswith("chat ")):
        prompt = (Message("user", prompt),)
    return Generation("g", "m", prompt, **more)


async def answer(engine: OpenAIEngine, generation: Generation | None = None) -> Heard:
    heard = Heard()
    engine.generate(generation or asked(), heard)
    await asyncio.wait_for(heard.over.wait(), 5)
    heard.check()
    return heard


async def until(what: Any) -> None:
    for _ in range(300):
        if what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not become so")


@pytest.mark.parametrize("cut", [0, 1, 7, 100])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
@pytest.mark.parametrize("usage", ["last", "finish", "each"])
async def test_every_form_of_a_stream(cut: int, ends: bytes, usage: str) -> None:
    said: dict[str, Any] = {"cut": cut, "ends": ends, "usage": usage, "space": cut != 7, "comments": cut == 7}
    async with Server(**said) as server, engine_of(server) as engine:
        heard = await answer(engine)
        assert heard.text == WORDS
        assert heard.ended == Ended("stop", Usage(19, 2, 20, 0))
        assert engine.traits.counts
        for _ in range(3):
            await answer(engine)
        assert server.connections <= 2  # the end of one may come when the next has begun


@pytest.mark.parametrize("said", [{"done": False}, {"finish": False}, {"stream": False}, {"keep": False}], ids=str)
async def test_servers_that_leave_things_out(said: dict[str, Any]) -> None:
    async with Server(**said) as server, engine_of(server) as engine:
        for _ in range(2):
            heard = await answer(engine)
            assert (heard.text, heard.ended.reason, heard.ended.usage.completion) == (WORDS, "stop", 20)


async def test_usage_that_never_comes_is_estimated_and_marked() -> None:
    async with Server(usage="never", tokenize="none") as server, engine_of(server) as engine:
        heard = await answer(engine)
        assert not heard.ended.exact
        assert heard.ended.usage.output == 20
        assert 10 <= heard.ended.usage.input <= 60
        assert not engine.traits.counts


async def test_texts_ids_tools_and_logprobs() -> None:
    async with Server() as server, engine_of(server) as engine:
        assert (await answer(engine, asked("go on"))).text == "go on"
        assert (await answer(engine, asked((5, 6)))).text == "5 6"
        tools = (Tool("f"),)
        heard = await answer(engine, asked(tools=tools, choose="required"))
        calls = [call for piece in heard.pieces for call in piece.calls]
        assert [(call.place, call.id, call.name, call.arguments) for call in calls] == [
            (0, "c1", "f", ""),
            (0, "", "", "{}"),
        ]
        assert heard.ended.reason == "tool_calls"
        heard = await answer(engine, asked(sampling=Sampling(logprobs=2)))
        assert all(len(piece.logprobs[0].others) == 2 for piece in heard.pieces)


@pytest.mark.parametrize("kind", ["vllm", "llama", "none"])
async def test_prompts_are_counted_by_the_server_where_it_can(kind: str) -> None:
    async with Server(tokenize=kind) as server, engine_of(server) as engine:
        counted = await engine.count(asked("chat one two"))
        assert {"vllm": counted == 4, "llama": counted == 4, "none": 4 <= counted <= 12}[kind]
        assert await engine.count(asked("one two three")) in (3, 4)
        assert await engine.count(asked((1, 2, 3))) == 3
        assert engine.traits.context == 4096
        with pytest.raises(ContextTooLong):
            await engine.count(asked("word " * 20_000))


@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize("what", ["reset", "close", "stall", "garbage", "binary", "huge", "error"])
async def test_a_server_that_breaks_off(what: str, after: int) -> None:
    async with Server(fault=(what, after)) as server, engine_of(server, **QUICK) as engine:
        heard = await answer(engine)
        last = heard.events[-1]
        # what is said first is a role: pieces come from the second event on
        assert type(last) is (EngineLost if after == 5 else Unavailable), last
        assert len(heard.pieces) == (4 if after == 5 else 0)
        assert engine.troubles()
        server.how.fault = None
        await until(lambda: not engine.troubles())
        assert (await answer(engine)).text == WORDS


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, FairleadError), (401, Unavailable), (429, QueueFull), (500, Unavailable), (503, Unavailable)],
)
async def test_refusals(status: int, kind: type[FairleadError]) -> None:
    async with Server(headers={"retry-after": "3"}) as server, engine_of(server) as engine:
        server.how.status = (status, {"error": {"message": "no " * 50}})
        last = (await answer(engine)).events[-1]
        assert isinstance(last, kind)
        assert last.retry_after == (3.0 if status in (429, 500, 503) else None)
        server.how.status = (429, {"error": {"message": "slow", "code": "rate_limit_exceeded"}})
        assert isinstance((await answer(engine)).events[-1], RateLimited)
        server.how.status = (400, b"x" * (1 << 20))  # longer than anybody reads
        assert isinstance((await answer(engine)).events[-1], FairleadError)
        server.how.status = None
        assert (await answer(engine)).text == WORDS


async def test_a_prompt_that_the_server_finds_too_long() -> None:
    async with Server() as server, engine_of(server) as engine:
        server.how.context = 10
        assert isinstance((await answer(engine)).events[-1], ContextTooLong)


async def test_the_credential_is_read_again_and_never_shown() -> None:
    held = ["sk-wrong"]
    token = Secret("env:KEY", lambda: held[0])
    async with Server(token="sk-right") as server, engine_of(server, token, probe_seconds=0.05) as engine:
        assert "env:KEY" in engine.troubles()[0]
        last = (await answer(engine)).events[-1]
        assert isinstance(last, Unavailable)
        assert "sk-wrong" not in f"{last} {engine.troubles()}"
        held[0] = "sk-right"
        await until(lambda: not engine.troubles())
        assert (await answer(engine)).text == WORDS
        held[0] = "two\r\nlines: x"
        last = (await answer(engine)).events[-1]
        assert isinstance(last, Unavailable)
        assert "two" not in str(last)


async def test_other_headers() -> None:
    said = {"header": "api-key", "headers": {"x-org": "we"}}
    async with Server(token="k", header="api-key") as server:
        async with engine_of(server, Secret("env:KEY", lambda: "k"), **said) as engine:
            assert (await answer(engine)).text == WORDS
        assert server.asked[-1][1]["x-org"] == "we"


async def test_a_server_that_is_away_and_comes() -> None:
    async with Server() as server:
        pass
    async with engine_of(server, **QUICK) as engine:
        assert "does not answer" in engine.troubles()[0]
        assert isinstance((await answer(engine)).events[-1], Unavailable)
        async with server:
            await until(lambda: not engine.troubles())
            assert (await answer(engine)).text == WORDS
            assert engine.traits.context == 4096
        assert isinstance((await answer(engine)).events[-1], Unavailable)


async def test_while_all_is_well_nobody_probes() -> None:
    async with Server() as server, engine_of(server, probe_seconds=0.01) as engine:
        await answer(engine)
        before = len(server.asked)
        await asyncio.sleep(0.1)
        assert len(server.asked) == before


async def test_cancelling_hangs_up_at_once() -> None:
    async with Server(delay=0.02) as server, engine_of(server) as engine:
        heard = Heard()
        running = engine.generate(asked(), heard)
        await until(lambda: len(heard.pieces) >= 2)
        running.cancel()
        heard.cancelled = True
        await until(lambda: server.hung_up == 1)
        heard.check()
        assert len(heard.pieces) < 10


async def test_a_kept_connection_that_is_gone_costs_nobody_an_answer() -> None:
    async with Server() as server, engine_of(server) as engine:
        await answer(engine)
        for writer in [*server._open]:
            writer.transport.abort()
        assert (await answer(engine)).text == WORDS
        assert server.connections == 2


async def test_connections_and_those_who_wait_for_one_are_bounded() -> None:
    async with Server(delay=0.005) as server, engine_of(server, connections=2, waiting=3) as engine:
        many = [Heard() for _ in range(8)]
        for heard in many:
            engine.generate(asked(), heard)
        assert [isinstance(one.events[-1], QueueFull) for one in many if one.over.is_set()] == [True] * 3
        await until(lambda: all(one.over.is_set() for one in many))
        assert sum(isinstance(one.events[-1], Ended) for one in many) == 5
        assert server.connections <= 2
        assert (engine.load().waiting, engine.load().running) == (0, 0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([openssl, *made.split(), "-keyout", "own.key", "-out", "own.pem"], cwd=folder, check=True)
    return folder / "own.pem"


async def test_certificates_are_checked_by_the_authorities_that_are_named(certificate: Path) -> None:
    server = Server(delay=0.01)
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
    async with server:
        async with engine_of(server, ca=str(certificate)) as engine:
            assert (await answer(engine)).text == WORDS
            heard = Heard()
            running = engine.generate(asked(), heard)
            await until(lambda: heard.pieces)
            running.cancel()
            await until(lambda: server.hung_up == 1)
        async with engine_of(server) as engine:
            last = (await answer(engine)).events[-1]
            assert isinstance(last, Unavailable)
            assert "certificate" in str(last)


async def test_32_streams_when_their_server_dies() -> None:
    async with Server(delay=0.02) as server, engine_of(server, **QUICK) as engine:
        many = [Heard() for _ in range(32)]
        for heard in many[:16]:
            engine.generate(asked(), heard)
        await until(lambda: all(len(one.pieces) >= 3 for one in many[:16]))
        server.how.delay = 1.0  # these have not begun to speak
        for heard in many[16:]:
            engine.generate(asked(), heard)
        await until(lambda: len(server.chats) == 32)
        await server.__aexit__()
        await until(lambda: all(one.over.is_set() for one in many))
        for heard in many:
            heard.check()
        assert [type(one.events[-1]) for one in many] == [EngineLost] * 16 + [Unavailable] * 16
        assert all(WORDS.startswith(one.text) for one in many)
        assert (engine.load().waiting, engine.load().running) == (0, 0)


async def test_an_answer_that_is_too_large_is_given_up() -> None:
    async with Server() as server, engine_of(server, answer_mb=1) as engine:
        last = (await answer(engine, asked("chat " + "x" * 200_000 + " y" * 2000))).events[-1]
        assert isinstance(last, Ended)
        last = (await answer(engine, asked("chat " + "x" * (1 << 20)))).events[-1]
        assert isinstance(last, Unavailable)
        assert "more than" in str(last)


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("", {}, "base_url"),
        ("grpc://a:1", {}, "http and https"),
        ("http://a:1/\u00e4/v1", {}, "percent-encode"),
        ("http://a:1/v1", {"contxt": 5}, "context"),
        ("http://a:1/v1", {"connections": 0}, "more than 0"),
        ("http://a:1/v1", {"max_tokens_field": "x"}, "max_tokens"),
        ("http://a:1/v1", {"headers": {"host": "b"}}, "no header"),
        ("http://a:1/v1", {"headers": {"x": "a\r\nb"}}, "one line"),
    ],
)
def test_options_that_make_no_sense(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        OpenAIEngine(EngineOptions("m", "m", url, options=options))


def test_authorities_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound):
        OpenAIEngine(EngineOptions("m", "m", "https://a:1/v1", options={"ca": str(tmp_path / "no.pem")}))
    (tmp_path / "bad.pem").write_text("nothing")
    with pytest.raises(UsageError, match="PEM"):
        OpenAIEngine(EngineOptions("m", "m", "https://a:1/v1", options={"ca": str(tmp_path / "bad.pem")}))
