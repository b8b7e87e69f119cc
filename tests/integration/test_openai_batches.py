"""Batches by the official SDK, unchanged, against a real server."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from running import Running, running

from fairlead.contracts.engine import EngineOptions, Tell
from fairlead.contracts.errors import QueueFull
from fairlead.contracts.generation import Generation
from fairlead.kit.clock import SystemClock
from fairlead.kit.scopes import scope
from fairlead.serve.access.callers import Callers
from fairlead.serve.access.gate import Gate
from fairlead.serve.access.keys import Key, KeyRing, made, revoked
from fairlead.serve.access.rules import Rules
from fairlead.serve.app import Application
from fairlead.serve.call import BATCH
from fairlead.serve.llm.batches.files import Files
from fairlead.serve.llm.batches.runner import Runner
from fairlead.serve.llm.batches.shelf import Shelf
from fairlead.serve.openai.embeddings import Embedded, Embedding
from fairlead.testing.engines import EchoEngine

CHAT = "/v1/chat/completions"


class Jumping:
    """A clock whose wall can be moved."""

    def __init__(self) -> None:
        self.ahead = 0
        self.now = SystemClock().now

    def wall_ms(self) -> int:
        return SystemClock.wall_ms() + self.ahead * 1000


class Counting(EchoEngine):
    """Remembers how many it answered at once, and refuses the first ``refuses`` requests."""

    def __init__(self, refuses: int = 0, **options: Any) -> None:
        super().__init__(EngineOptions("echo", "", options=options))
        self.most = 0
        self.refuses = refuses

    def generate(self, asked: Generation, tell: Tell) -> Any:
        if self.refuses:
            self.refuses -= 1
            tell(QueueFull("the queue is full", retry_after=0.01))
            return type("Nothing", (), {"cancel": lambda _: None})()
        found = super().generate(asked, tell)
        self.most = max(self.most, self.load().running)
        return found


class Lengths:
    deadline = 5.0

    async def embed(self, asked: Embedding) -> Embedded:
        return Embedded(np.array([[len(one)] for one in asked.inputs], np.float32), 1)


@contextlib.contextmanager
def serving(
    home: Path, engine: EchoEngine | None = None, clock: Any = None, files: Files | None = None, **more: Any
) -> Iterator[tuple[Running, openai.OpenAI]]:
    clock = clock or SystemClock()
    runner = Runner(Shelf(home / "batches", clock, files), clock, look=0.05)

    def also(application: Application) -> None:
        application.batches = runner
        application.embedders["e"] = Lengths()

    with running({}, chats={"m": engine or Counting()}, also=also, beside=[runner], **more) as server:
        yield server, client(server)


def client(server: Running, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def line(name: str, text: str = "hello big world", url: str = CHAT, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": name, "method": "POST", "url": url, "body": body}


def lines(*found: Any) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in found)


def begin(ask: openai.OpenAI, data: bytes, endpoint: str = CHAT, **more: Any) -> Any:
    file = ask.files.create(file=("in.jsonl", data), purpose="batch")
    return ask.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,  # type: ignore[arg-type]
        completion_window="24h",
        **more,
    )


def until(ask: openai.OpenAI, identity: str, *statuses: str, seconds: float = 20.0) -> Any:
    wanted = statuses or ("completed", "failed", "expired", "cancelled")
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = ask.batches.retrieve(identity)
        if found.status in wanted:
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def told(ask: openai.OpenAI, file: str | None) -> dict[str, Any]:
    """Lines of a file by their custom ids, each of which it has once."""
    if file is None:
        return {}
    found = [json.loads(one) for one in ask.files.content(file).text.splitlines()]
    assert len({one["custom_id"] for one in found}) == len(found)
    return {one["custom_id"]: one for one in found}


def test_files_come_and_go(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, ask):
        data = lines(line("a"))
        made_ = [ask.files.create(file=(f'"{at}".jsonl', data), purpose="batch") for at in range(3)]
        assert made_[0].bytes == len(data)
        assert (made_[0].object, made_[0].purpose, made_[0].status) == ("file", "batch", "processed")
        assert ask.files.content(made_[1].id).read() == data
        assert ask.files.retrieve(made_[1].id) == made_[1]
        assert [one.id for one in ask.files.list(limit=2)] == [one.id for one in reversed(made_)]
        assert [one.id for one in ask.files.list(order="asc", purpose="batch")] == [one.id for one in made_]
        assert not list(ask.files.list(purpose="batch_output"))
        assert ask.files.delete(made_[1].id).deleted
        for call in (ask.files.retrieve, ask.files.content, ask.files.delete):
            with pytest.raises(openai.NotFoundError):
                call(made_[1].id)
        short = ask.files.create(file=data, purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600})
        assert short.expires_at == short.created_at + 3600


def test_a_batch_of_chat(tmp_path: Path) -> None:
    engine = Counting(refuses=3, delay=0.002, parallel=8)
    with serving(tmp_path, engine) as (_, ask):
        requests = [line(f"r{at}", f"word {at}") for at in range(30)]
        requests += [line("odd", n=99), line("other", temperature=0.5)]
        batch = begin(ask, lines(*requests), metadata={"who": "me"})
        assert (batch.status, batch.object, batch.completion_window) == ("validating", "batch", "24h")
        assert batch.expires_at == batch.created_at + 86400
        done = until(ask, batch.id)
        assert done.status == "completed"
        assert done.request_counts.model_dump() == {"total": 32, "completed": 31, "failed": 1}
        assert done.metadata == {"who": "me"}
        assert done.created_at <= done.in_progress_at <= done.finalizing_at <= done.completed_at
        good, bad = told(ask, done.output_file_id), told(ask, done.error_file_id)
        for at in range(30):
            one = good[f"r{at}"]
            assert one["error"] is None
            assert one["response"]["status_code"] == 200
            assert one["response"]["body"]["choices"][0]["message"]["content"] == f"word {at}"
            assert one["response"]["request_id"]
            assert one["id"].startswith("batch_req_")
        assert list(bad) == ["odd"]
        assert bad["odd"]["response"]["status_code"] == 400
        assert bad["odd"]["response"]["body"]["error"]["param"] == "n"
        assert engine.most <= 4, "half of the engine is for those who wait"
        assert {one.lane for one in engine.asked} == {BATCH}
        assert [one.id for one in ask.batches.list(limit=1)] == [batch.id]
        assert {one.purpose for one in ask.files.list()} == {"batch", "batch_output"}
        with pytest.raises(openai.BadRequestError, match="completed"):
            ask.batches.cancel(batch.id)
        assert not list((tmp_path / "batches" / "open").iterdir())


@pytest.mark.parametrize(
    ("endpoint", "body", "look"),
    [
        ("/v1/completions", {"model": "m", "prompt": "a b"}, lambda found: found["choices"][0]["text"] == "a b"),
        ("/v1/responses", {"model": "m", "input": "a b"}, lambda found: found["object"] == "response"),
        ("/v1/embeddings", {"model": "e", "input": "abc"}, lambda found: found["data"][0]["embedding"] == [3.0]),
    ],
)
def test_other_routes(tmp_path: Path, endpoint: str, body: Any, look: Callable[[Any], bool]) -> None:
    with serving(tmp_path) as (_, ask):
        both = [{"custom_id": one, "method": "POST", "url": endpoint, "body": body} for one in "ab"]
        both[1] = {**both[1], "body": {**body, "never": 1}}
        done = until(ask, begin(ask, lines(*both), endpoint).id)
        assert look(told(ask, done.output_file_id)["a"]["response"]["body"])
        assert told(ask, done.error_file_id)["b"]["response"]["status_code"] == 400


@pytest.mark.parametrize(
    ("data", "code", "number", "param"),
    [
        (lines(line("a"), b"{"), "invalid_json_line", 2, None),
        (lines(line("a"), b"[]"), "invalid_json_line", 2, None),
        (lines(line("a"), b'"\xff"'), "invalid_json_line", 2, None),
        (lines(line("a"), b"", line("a")), "duplicate_custom_id", 3, "custom_id"),
        (lines({**line("a"), "custom_id": 5}), "invalid_custom_id", 1, "custom_id"),
        (lines(line("")), "invalid_custom_id", 1, "custom_id"),
        (lines({**line("a"), "method": "GET"}), "invalid_method", 1, "method"),
        (lines(line("a", url="/v1/completions")), "invalid_url", 1, "url"),
        (lines({**line("a"), "url": None}), "missing_url", 1, "url"),
        (lines({**line("a"), "body": []}), "invalid_body", 1, "body"),
        (lines({"custom_id": "a", "method": "POST", "url": CHAT}), "invalid_body", 1, "body"),
        (lines(line("a", stream=True)), "invalid_stream", 1, "body.stream"),
        (lines(line("a", model=None)), "missing_model", 1, "body.model"),
        (lines(line("a"), line("b", model="ghost")), "model_not_found", 2, "body.model"),
        (b"\n\n", "empty_file", None, None),
        (lines(*[b"{}"] * 500), "invalid_custom_id", 1, "custom_id"),
    ],
)
def test_bad_lines(tmp_path: Path, data: bytes, code: str, number: int | None, param: str | None) -> None:
    engine = Counting()
    with serving(tmp_path, engine) as (_, ask):
        done = until(ask, begin(ask, data).id)
        assert done.status == "failed"
        assert done.failed_at
        first = done.errors.data[0]
        assert (first.code, first.line, first.param) == (code, number, param)
        assert len(done.errors.data) <= 100
        assert (done.output_file_id, done.error_file_id) == (None, None)
        assert not engine.asked, "nothing is asked before all of it fits"


def test_bad_requests(tmp_path: Path) -> None:
    clock = SystemClock()
    few = Files(tmp_path / "batches", clock, size=600, most=3)
    with serving(tmp_path, files=few, max_body=4096) as (server, ask), httpx.Client(base_url=server.url) as raw:
        good = ask.files.create(file=lines(line("a")), purpose="batch")
        asked: Any = {"input_file_id": good.id, "endpoint": CHAT, "completion_window": "24h"}
        for change, param in (
            ({"endpoint": "/v1/images"}, "endpoint"),
            ({"completion_window": "1h"}, "completion_window"),
            ({"what": 1}, "what"),
            ({"metadata": {"a": 1}}, "metadata"),
            ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
        ):
            answer = raw.post("/v1/batches", json={**asked, **change})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
        assert raw.post("/v1/batches", json={**asked, "input_file_id": "../../etc"}).status_code == 404
        for files, data, status in (
            ({"file": b"x"}, {}, 400),
            ({"file": b"x"}, {"purpose": "vision"}, 400),
            ({"file": b"x"}, {"purpose": "batch", "more": "1"}, 400),
            ({"file": b""}, {"purpose": "batch"}, 400),
            ({"other": b"x"}, {"purpose": "batch"}, 400),
            ({"file": b"x" * 8000}, {"purpose": "batch"}, 413),
            ({"file": b"x" * 600}, {"purpose": "batch"}, 429),
        ):
            answer = raw.post("/v1/files", files=files, data=data)
            assert answer.status_code == status, answer.text
        assert answer.json()["error"]["code"] == "insufficient_quota"
        assert raw.post("/v1/files", json={}).status_code == 400
        assert raw.put("/v1/files").status_code == 405
        for query in ("limit=0", "limit=x", "order=up", "after=file-1", "what=1"):
            assert raw.get(f"/v1/files?{query}").status_code == 400, query
        assert raw.get("/v1/batches?limit=101").status_code == 400
        for _ in range(2):
            ask.files.create(file=b"x", purpose="batch")
        with pytest.raises(openai.RateLimitError, match="3 are kept"):
            ask.files.create(file=b"x", purpose="batch")


def test_cancelled(tmp_path: Path) -> None:
    engine = Counting(delay=0.05, parallel=2)
    with serving(tmp_path, engine) as (_, ask):
        batch = begin(ask, lines(*(line(f"r{at}") for at in range(20))))
        while until(ask, batch.id, "in_progress", "validating").request_counts.completed < 2:
            time.sleep(0.02)
        assert ask.batches.cancel(batch.id).status in ("cancelling", "cancelled")
        done = until(ask, batch.id)
        assert done.status == "cancelled"
        assert done.cancelling_at <= done.cancelled_at
        good, bad = told(ask, done.output_file_id), told(ask, done.error_file_id)
        assert len(good) >= 2
        assert sorted([*good, *bad]) == sorted(f"r{at}" for at in range(20))
        assert {one["error"]["code"] for one in bad.values()} == {"batch_cancelled"}
        assert {one["response"] for one in bad.values()} == {None}
        assert done.request_counts.model_dump() == {"total": 20, "completed": len(good), "failed": len(bad)}
        assert engine.load().running == 0
        assert ask.batches.cancel(batch.id).status == "cancelled"


def test_who_waits_is_not_kept_waiting_by_a_batch(tmp_path: Path) -> None:
    engine = Counting(delay=0.01, parallel=1)
    with serving(tmp_path, engine) as (_, ask):
        batch = begin(ask, lines(*(line(f"r{at}") for at in range(200))))
        while ask.batches.retrieve(batch.id).request_counts.completed < 1:
            time.sleep(0.02)
        for _ in range(10):
            before = len(engine.asked)
            ask.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello big world"}])
            place = next(at for at, one in enumerate(engine.asked[before:]) if one.lane != BATCH)
            assert place <= 1, "nothing of the batch goes before it, but what was on its way"
            assert len(engine.asked) - before - place - 1 <= 2, "and nothing begins until it has its place"
        assert ask.batches.cancel(batch.id).id == batch.id
        assert until(ask, batch.id).status == "cancelled"


def test_expired(tmp_path: Path) -> None:
    clock = Jumping()
    with serving(tmp_path, Counting(delay=0.1, parallel=1), clock) as (_, ask):
        batch = begin(ask, lines(*(line(f"r{at}") for at in range(20))))
        while until(ask, batch.id, "in_progress", "validating").request_counts.completed < 1:
            time.sleep(0.02)
        clock.ahead = 24 * 3600 + 1
        done = until(ask, batch.id)
        assert done.status == "expired"
        assert done.expired_at
        good, bad = told(ask, done.output_file_id), told(ask, done.error_file_id)
        assert sorted([*good, *bad]) == sorted(f"r{at}" for at in range(20))
        assert {one["error"]["code"] for one in bad.values()} == {"batch_expired"}
        clock.ahead = 40 * 24 * 3600
        assert not list(ask.files.list())
        with pytest.raises(openai.NotFoundError):
            ask.files.content(done.output_file_id)


def test_a_server_that_ends_leaves_it_to_the_next(tmp_path: Path) -> None:
    names = sorted(f"r{at}" for at in range(40))
    with serving(tmp_path, Counting(delay=0.02, parallel=8), grace=0.2) as (_, ask):
        batch = begin(ask, lines(*map(line, names)))
        while ask.batches.retrieve(batch.id).request_counts.completed < 3:
            time.sleep(0.02)
    with serving(tmp_path) as (_, ask):
        done = until(ask, batch.id)
        assert done.status == "completed"
        assert not told(ask, done.error_file_id)
        assert sorted(told(ask, done.output_file_id)) == names


def test_each_caller_has_their_own(tmp_path: Path) -> None:
    now = SystemClock.wall_ms()
    keys, texts = [], []
    for name, scopes in (("ann", ["m:generate"]), ("bob", ["m:generate"]), ("eve", ["other:predict"])):
        key, text = made(Key(name, tuple(map(scope, scopes)), (), now), now)
        keys.append(key)
        texts.append(text)
    gate = Gate(Rules(), Callers(SystemClock(), KeyRing(keys)))
    with serving(tmp_path, Counting(delay=0.05, parallel=2), gate=gate) as (server, _):
        ann, bob, eve = (client(server, text) for text in texts)
        with pytest.raises(openai.AuthenticationError):
            client(server).files.list()
        with pytest.raises(openai.PermissionDeniedError):
            eve.files.create(file=b"x", purpose="batch")
        batch = begin(ann, lines(*(line(f"r{at}") for at in range(20))))
        assert not list(bob.files.list())
        assert not list(bob.batches.list())
        for one in (bob, eve):
            words = []
            for identity in (batch.input_file_id, batch.input_file_id[:-1] + "_"):
                with pytest.raises(openai.NotFoundError) as caught:
                    one.files.content(identity)
                words.append(str(caught.value).replace(identity, ""))
            assert words[0] == words[1], "what is another's is, word by word, what is not there"
            for call in (one.files.retrieve, one.files.delete, one.batches.retrieve, one.batches.cancel):
                with pytest.raises(openai.NotFoundError):
                    call(batch.input_file_id if "files" in type(call.__self__).__name__.lower() else batch.id)
        with pytest.raises(openai.NotFoundError):
            bob.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h")  # type: ignore[arg-type]
        stranger = until(bob, begin(bob, lines(line("a", model="hidden"))).id)
        assert stranger.errors.data[0].code == "model_not_found"
        while ann.batches.retrieve(batch.id).request_counts.completed < 2:
            time.sleep(0.02)
        assert server.loop is not None
        over = threading.Event()

        def revoke() -> None:
            gate.know(KeyRing([*(revoked(one, one.name, now) for one in keys[:1]), *keys[1:]]))
            over.set()

        server.loop.call_soon_threadsafe(revoke)
        assert over.wait(5)
        with pytest.raises(openai.AuthenticationError):
            ann.batches.retrieve(batch.id)
        folder = next((tmp_path / "batches").glob(f"*/batches/{batch.id}"))
        ends = time.monotonic() + 20
        while json.loads((folder / "state.json").read_bytes())["status"] != "completed":
            assert time.monotonic() < ends
            time.sleep(0.05)
        state = json.loads((folder / "state.json").read_bytes())
        bad = [
            json.loads(one)
            for one in (folder.parents[1] / "files" / f"{state['mistakes']}.jsonl").read_text().splitlines()
        ]
        assert {one["response"]["status_code"] for one in bad} == {401}, "a key that is revoked asks no more"
        secrets = "".join(path.read_text() for path in (tmp_path / "batches").rglob("*.json*"))
        assert not any(text in secrets for text in texts)


def test_a_server_without_batches(tmp_path: Path) -> None:
    with running({}, chats={"m": Counting()}) as server, httpx.Client(base_url=server.url) as raw:
        for path in ("/v1/files", "/v1/batches", "/v1/files/x/content"):
            assert raw.get(path).status_code == 503
