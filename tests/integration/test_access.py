"""Every route and every state of a credential: over real servers, HTTP both ways and gRPC; nothing may be wrong."""

from __future__ import annotations

import asyncio
import copy
import itertools
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import numpy as np
import pytest
from running import Running, running

from fairlead.contracts.audit import Audited
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import NotFound
from fairlead.contracts.generation import Message, Tool
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.protos import HEALTH, OIP, REFLECTION, REFLECTION_ALPHA, SERVICES, message
from fairlead.kit.scopes import scope
from fairlead.serve.access import needs
from fairlead.serve.access.callers import Callers
from fairlead.serve.access.gate import Gate
from fairlead.serve.access.keys import Key, KeyRing, made, revoked
from fairlead.serve.access.rules import Rules
from fairlead.serve.app import Application, build
from fairlead.serve.catalog import Catalog
from fairlead.serve.chaos.faults import Injection
from fairlead.serve.console import ROUTES as CONSOLE
from fairlead.serve.endpoint import Live
from fairlead.serve.front import Front
from fairlead.serve.grpc.service import Service
from fairlead.serve.llm.batches.runner import Runner
from fairlead.serve.llm.batches.shelf import Shelf
from fairlead.serve.openai.embeddings import Embedded, Embedding
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.repository import Locked
from fairlead.testing.engines import EchoEngine
from fairlead.testing.models import EchoModel
from fairlead.testing.sinks import MemorySink

OK: Final = 200
V2_BODY: Final = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}]}
V1_BODY: Final = {"instances": [[1.0, 2.0]]}
FAULT: Final = {"id": "me", "inject": ["error:5%"], "seconds": 2}
LABEL: Final = {"endpoint": "churn", "key": "a", "label": 1}
CHAT_BODY: Final = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}

PREDICT, GENERATE, EXPLAIN, FEEDBACK, ADMIN, DESCRIBE, METRICS, KNOWN, OPEN = (
    "predict", "generate", "explain", "feedback", "admin", "describe", "metrics", "", "open",
)  # fmt: skip

ROUTES: Final[dict[str, tuple[str, str, Any, str]]] = {
    "/v2/models/{endpoint}/infer": ("POST", "/v2/models/churn/infer", V2_BODY, PREDICT),
    "/v2/models/{endpoint}/versions/{version}/infer": ("POST", "/v2/models/churn/versions/1/infer", V2_BODY, PREDICT),
    "/v1/models/{endpoint}:predict": ("POST", "/v1/models/churn:predict", V1_BODY, PREDICT),
    "/v1/models/{endpoint}:explain": ("POST", "/v1/models/churn:explain", V1_BODY, EXPLAIN),
    "/invocations": ("POST", "/invocations", V1_BODY, "sole"),
    "/serving-endpoints/{endpoint}/invocations": ("POST", "/serving-endpoints/churn/invocations", V1_BODY, PREDICT),
    "/v1/chat/completions": ("POST", "/v1/chat/completions", CHAT_BODY, GENERATE),
    "/v1/completions": ("POST", "/v1/completions", {"model": "chat", "prompt": "hi"}, GENERATE),
    "/v1/responses": ("POST", "/v1/responses", {"model": "chat", "input": "hi"}, GENERATE),
    "/v1/responses/{id}": ("GET", "/v1/responses/resp_1", None, KNOWN),
    "/v1/files": ("GET", "/v1/files", None, KNOWN),
    "/v1/files/{id}": ("GET", "/v1/files/file-1", None, KNOWN),
    "/v1/files/{id}/content": ("GET", "/v1/files/file-1/content", None, KNOWN),
    "/v1/batches": ("GET", "/v1/batches", None, KNOWN),
    "/v1/batches/{id}": ("GET", "/v1/batches/batch_1", None, KNOWN),
    "/v1/batches/{id}/cancel": ("POST", "/v1/batches/batch_1/cancel", None, KNOWN),
    "/v1/embeddings": ("POST", "/v1/embeddings", {"model": "chat", "input": "hi"}, GENERATE),
    "/tokenize": ("POST", "/tokenize", {"model": "chat", "prompt": "hi"}, GENERATE),
    "/detokenize": ("POST", "/detokenize", {"model": "chat", "tokens": [104]}, GENERATE),
    "/v1/feedback": ("POST", "/v1/feedback", LABEL, FEEDBACK),
    "/v2/repository/models/{endpoint}/load": ("POST", "/v2/repository/models/churn/load", {}, ADMIN),
    "/v2/repository/models/{endpoint}/unload": ("POST", "/v2/repository/models/churn/unload", {}, ADMIN),
    "/chaos/{endpoint}": ("POST", "/chaos/churn", FAULT, ADMIN),
    "/v2/models/{endpoint}": ("GET", "/v2/models/churn", None, DESCRIBE),
    "/v2/models/{endpoint}/ready": ("GET", "/v2/models/churn/ready", None, DESCRIBE),
    "/v2/models/{endpoint}/versions/{version}": ("GET", "/v2/models/churn/versions/1", None, DESCRIBE),
    "/v2/models/{endpoint}/versions/{version}/ready": ("GET", "/v2/models/churn/versions/1/ready", None, DESCRIBE),
    "/v1/models/{endpoint}": ("GET", "/v1/models/churn", None, DESCRIBE),
    "/metrics": ("GET", "/metrics", None, METRICS),
    "/": ("GET", "/", None, KNOWN),
    "/docs": ("GET", "/docs", None, KNOWN),
    "/openapi.json": ("GET", "/openapi.json", None, KNOWN),
    "/v2": ("GET", "/v2", None, KNOWN),
    "/v2/repository/index": ("POST", "/v2/repository/index", None, KNOWN),
    "/v1/models": ("GET", "/v1/models", None, KNOWN),
    "/version": ("GET", "/version", None, KNOWN),
    "/healthz": ("GET", "/healthz", None, OPEN),
    "/readyz": ("GET", "/readyz", None, OPEN),
    "/v2/health/live": ("GET", "/v2/health/live", None, OPEN),
    "/v2/health/ready": ("GET", "/v2/health/ready", None, OPEN),
    "/ping": ("GET", "/ping", None, OPEN),
    "/health": ("GET", "/health", None, OPEN),
}
"""Route to a request for the endpoint churn, and what it needs."""

KEPT: Final = ("/v1/responses/{id}", *(route for route in ROUTES if route.startswith(("/v1/files/", "/v1/batches/"))))
"""Routes of what is one caller's own."""

STRANGERS: Final = ("none", "malformed", "unknown", "revoked", "expired", "wrong scheme", "two credentials")
FRIENDS: Final = ("no scope", "other endpoint", "wrong version", "right", "admin")
STATES: Final = (*STRANGERS, *FRIENDS)

_service: Final = SERVICES[OIP]
METHODS: Final[dict[str, tuple[str, str, dict[str, Any], str]]] = {
    f"/{_service}/ModelInfer": (f"{OIP}.ModelInferRequest", f"{OIP}.ModelInferResponse", {}, PREDICT),
    f"/{_service}/ModelStreamInfer": (f"{OIP}.ModelInferRequest", f"{OIP}.ModelStreamInferResponse", {}, PREDICT),
    f"/{_service}/ModelReady": (f"{OIP}.ModelReadyRequest", f"{OIP}.ModelReadyResponse", {"name": "churn"}, DESCRIBE),
    f"/{_service}/ModelMetadata": (
        f"{OIP}.ModelMetadataRequest", f"{OIP}.ModelMetadataResponse", {"name": "churn"}, DESCRIBE,
    ),
    f"/{_service}/RepositoryModelLoad": (
        f"{OIP}.RepositoryModelLoadRequest", f"{OIP}.RepositoryModelLoadResponse", {"model_name": "churn"}, ADMIN,
    ),
    f"/{_service}/RepositoryModelUnload": (
        f"{OIP}.RepositoryModelUnloadRequest", f"{OIP}.RepositoryModelUnloadResponse", {"model_name": "churn"}, ADMIN,
    ),
    f"/{_service}/RepositoryIndex": (f"{OIP}.RepositoryIndexRequest", f"{OIP}.RepositoryIndexResponse", {}, KNOWN),
    f"/{_service}/ServerMetadata": (f"{OIP}.ServerMetadataRequest", f"{OIP}.ServerMetadataResponse", {}, KNOWN),
    f"/{_service}/ServerLive": (f"{OIP}.ServerLiveRequest", f"{OIP}.ServerLiveResponse", {}, OPEN),
    f"/{_service}/ServerReady": (f"{OIP}.ServerReadyRequest", f"{OIP}.ServerReadyResponse", {}, OPEN),
    f"/{SERVICES[HEALTH]}/Check": (f"{HEALTH}.HealthCheckRequest", f"{HEALTH}.HealthCheckResponse", {}, OPEN),
    f"/{SERVICES[HEALTH]}/Watch": (f"{HEALTH}.HealthCheckRequest", f"{HEALTH}.HealthCheckResponse", {}, OPEN),
    **{
        f"/{SERVICES[one]}/ServerReflectionInfo": (
            f"{one}.ServerReflectionRequest", f"{one}.ServerReflectionResponse", {"list_services": "*"}, KNOWN,
        )
        for one in (REFLECTION, REFLECTION_ALPHA)
    },
}  # fmt: skip
"""Method to request and response message, the request's fields, and what it needs."""


TEXTS: Final = tuple(route for route, (*_, need) in ROUTES.items() if need == GENERATE)


class Lengths:
    """Embeds and tokenizes, somehow."""

    deadline, ends, begin, chats, size = 5.0, (0,), (), True, 1000

    async def embed(self, asked: Embedding) -> Embedded:
        return Embedded(np.zeros((len(asked.inputs), 1)), 1)

    def encode(self, text: str) -> list[int]:
        return [ord(one) for one in text]

    def piece(self, token: int) -> bytes:
        return chr(token).encode()

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def converse(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        return [len(messages), len(tools)]


def furnish(application: Application) -> None:
    application.batches = Runner(Shelf(Path(tempfile.mkdtemp(prefix="fairlead-")), SystemClock()), SystemClock())
    application.embedders["chat"] = application.tokenizers["chat"] = Lengths()  # type: ignore[assignment]


class Obeying:
    """A control that loads and unloads nothing, and says that it did; of what is not there it names what is."""

    async def load(self, endpoint: str) -> None:
        if endpoint == "ghost":
            raise NotFound("there is no endpoint 'ghost' (this server was started with: churn, fraud)")

    async def unload(self, endpoint: str) -> None:
        await self.load(endpoint)


class Calm:
    """A ``Chaos`` that remembers what is asked, and injects nothing."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}

    def active(self, endpoint: str) -> str:
        return self.now.get(endpoint, "")

    async def inject(self, endpoint: str, injection: Injection) -> None:
        await Obeying().load(endpoint)
        self.now[endpoint] = injection.id

    async def calm(self, endpoint: str) -> None:
        await Obeying().load(endpoint)
        self.now.pop(endpoint, None)


class Notes:
    """An auditor that remembers."""

    def __init__(self) -> None:
        self.noted: list[Audited] = []
        self.let_in: list[tuple[str, str, str]] = []

    def note(self, entry: Audited) -> None:
        self.noted.append(entry)

    def allowed(self, actor: str, action: str, endpoint: str) -> None:
        self.let_in.append((actor, action, endpoint))


class Keys:
    """Keys by what they are for."""

    def __init__(self) -> None:
        self.made: dict[str, Key] = {}
        self.text: dict[str, str] = {}
        now = SystemClock.wall_ms()
        self._add(f"right {GENERATE}", f"chat:{GENERATE}")
        self._add(f"wrong version {GENERATE}", f"chat:{GENERATE}:9")
        for action in (PREDICT, EXPLAIN, FEEDBACK, ADMIN, DESCRIBE):
            self._add(f"right {action}", f"churn:{action}")
            self._add(f"wrong version {action}", f"churn:{action}:9")
        self._add(f"right {METRICS}", "*:metrics")
        self._add("no scope", "churn:generate")
        self._add("other endpoint", "fraud:*")
        self._add("admin", "*:*")
        self._add("ghost", "ghost:*")
        self._add("revoked", "*:*")
        self._add("expired", "*:*", expires_ms=now - 1)
        self.made["revoked"] = revoked(self.made["revoked"], "revoked", now)

    def _add(self, name: str, *scopes: str, **more: Any) -> None:
        key = Key(name.replace(" ", "-"), tuple(map(scope, scopes)), (), 0, **more)
        self.made[name], self.text[name] = made(key, 0)

    def ring(self) -> KeyRing:
        return KeyRing(self.made.values())

    def headers(self, state: str, need: str) -> list[tuple[str, str]]:
        """What a caller in this state shows to something that needs this."""
        match state:
            case "none":
                return []
            case "malformed":
                return [("authorization", "Bearer fl_not-a-key")]
            case "unknown":
                return [("x-api-key", made(self.made["admin"], 0)[1])]
            case "wrong scheme":
                return [("authorization", f"Basic {self.text['admin']}")]
            case "two credentials":
                return [("authorization", f"Bearer {self.text['admin']}"), ("api-key", self.text["other endpoint"])]
            case "right" | "wrong version":
                known = {"sole": PREDICT, KNOWN: DESCRIBE, OPEN: DESCRIBE}.get(need, need)
                if known == METRICS and state == "wrong version":
                    known = PREDICT
                return [("x-api-key", self.text[f"{state} {known}"])]
            case _:
                return [("authorization", f"bearer {self.text[state]}")]


def expected(state: str, need: str) -> int:
    """The status, from the rules as people read them."""
    if need == OPEN:
        return 200
    if state in STRANGERS:
        return 401
    if need == KNOWN:
        return 200
    if state == "admin":
        return 404 if need == "sole" else 200  # two endpoints may be called: neither is the only one
    if state == "right":
        return 200
    if state == "wrong version":
        return 403
    if need == METRICS:
        return 403
    if state == "other endpoint":
        return 200 if need == "sole" else 404
    return {DESCRIBE: 200, "sole": 404, GENERATE: 404}.get(need, 403)


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


@pytest.fixture(scope="module")
def notes() -> Notes:
    return Notes()


def serving(keys: Keys, notes: Notes | None = None, rules: Rules | None = None, **more: Any) -> Any:
    gate = Gate(rules or Rules(), Callers(SystemClock(), keys.ring()), notes)
    models = {"churn": EchoModel(), "fraud": EchoModel()}
    chats = {"chat": EchoEngine(EngineOptions("echo", ""))}
    return running(models, gate=gate, control=Obeying(), chaos=Calm(), grpc_port=0, chats=chats, also=furnish, **more)


@pytest.fixture(scope="module", params=["short", "long"])
def server(request: pytest.FixtureRequest, keys: Keys, notes: Notes) -> Iterator[Running]:
    with serving(keys, notes, short_way=request.param == "short") as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as made_:
        yield made_


@pytest.fixture(scope="module")
def channel(server: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.channel) as made_:
        yield made_


@pytest.mark.parametrize(("route", "state"), [*itertools.product(ROUTES, STATES)])
def test_http(client: httpx.Client, keys: Keys, notes: Notes, route: str, state: str) -> None:
    method, path, body, need = ROUTES[route]
    notes.noted.clear()
    notes.let_in.clear()
    shown = keys.headers(state, need)
    for again in range(2):  # the second time the answer may come from memory
        response = client.request(method, path, json=body, headers=shown)
        status, wanted = response.status_code, expected(state, need)
        if route == "/v1/models/{endpoint}:explain" and wanted == OK:
            assert status == 503, again  # there is nothing to explain it with
        elif route in KEPT and wanted == OK:
            assert status == 404, again  # which is theirs to see, and not there
        elif route == "/" and wanted == OK:
            assert status == 307
        else:
            assert status == wanted, (again, response.text)
        if wanted == 401:
            assert response.headers["www-authenticate"] == "Bearer"
            assert "known callers only" in response.text
            told = response.json()
            if need == GENERATE or route in (*KEPT, "/v1/files", "/v1/batches"):
                assert (told["error"]["type"], told["error"]["code"]) == ("authentication_error", "invalid_api_key")
            else:
                assert told.get("code") == "unauthenticated"
                assert "error_code" in told or "error" in told
    if wanted in (401, 403):
        assert [one.outcome for one in notes.noted] == [{401: "unauthenticated", 403: "forbidden"}[wanted]] * 2
        assert {one.actor for one in notes.noted} == {"anonymous" if wanted == 401 else notes.noted[0].actor}
    if route == "/chaos/{endpoint}" and wanted == OK:
        (begun,) = notes.noted  # the second time it goes on
        assert (begun.actor, begun.action, begun.endpoint) == (begun.actor, "chaos.begin", "churn")
        assert (begun.detail["inject"], begun.detail["route"]) == ("error:5%", route)
        assert client.delete(path, headers=shown).status_code == OK
        assert [one.action for one in notes.noted] == ["chaos.begin", "chaos.stop"]
        assert {one.actor for one in notes.noted} == {f"{state}-admin" if state == "right" else state}
    elif need == ADMIN and wanted == OK:
        assert [(one.action, one.endpoint, one.outcome) for one in notes.noted] == [("admin", "churn", "allowed")] * 2
    elif need == GENERATE:
        actor = f"{state}-generate" if state == "right" else state
        assert notes.let_in[-2:] == [(actor, "generate", "chat")] * 2 if wanted == OK else not notes.let_in


@pytest.mark.parametrize("hides", [True, False], ids=["hidden", "told"])
def test_an_unseen_model_is_byte_for_byte_one_that_is_not_there(keys: Keys, hides: bool) -> None:
    shown = {"x-api-key": keys.text["other endpoint"], "x-request-id": "same"}
    with serving(keys, rules=Rules(hides=hides)) as found, httpx.Client(base_url=found.url, headers=shown) as client:
        for route in TEXTS:
            answers = []
            for name in ("chat", "churn", "ghost"):
                response = client.post(route, json={**ROUTES[route][2], "model": name})
                headers = [pair for pair in response.headers.raw if pair[0].lower() not in (b"date", b"content-length")]
                answers.append((response.status_code, headers, response.content.replace(name.encode(), b"NAMED")))
            assert answers[0] == answers[1] == answers[2], route
            assert answers[0][0] == (404 if hides else 403)


def test_who_may_ask_every_model_learns_no_names(client: httpx.Client, keys: Keys) -> None:
    for route in TEXTS:
        response = client.post(
            route, json={**ROUTES[route][2], "model": "ghost"}, headers={"x-api-key": keys.text["admin"]}
        )
        assert response.status_code == 404
        assert "churn" not in response.text
        assert "chat" not in response.text


def test_a_language_model_is_seen_by_those_who_may_ask_it(client: httpx.Client, keys: Keys) -> None:
    for state, status in (("right generate", OK), ("admin", OK), ("other endpoint", 404), ("no scope", 404)):
        shown = {"x-api-key": keys.text[state]}
        found = client.get("/v1/models/chat", headers=shown)
        assert (found.status_code, "chat" in client.get("/v1/models", headers=shown).json()["models"]) == (
            status,
            status == OK,
        )
        if status == OK:
            told = {key: found.json()[key] for key in ("id", "object", "owned_by", "name", "ready")}
            assert told == {"id": "chat", "object": "model", "owned_by": "fairlead", "name": "chat", "ready": True}
        else:
            ghost = client.get("/v1/models/ghost", headers=shown)
            assert found.text == ghost.text.replace("ghost", "chat")
    assert client.get("/v1/models/chat").status_code == 401


def test_kept_responses_are_their_callers_own(client: httpx.Client, keys: Keys) -> None:
    mine, theirs = ({"x-api-key": keys.text[one]} for one in ("right generate", "admin"))
    made = client.post("/v1/responses", json=ROUTES["/v1/responses"][2], headers=mine).json()["id"]
    again = {**ROUTES["/v1/responses"][2], "previous_response_id": made}
    assert client.get(f"/v1/responses/{made}", headers=mine).status_code == OK
    assert client.post("/v1/responses", json=again, headers=mine).status_code == OK
    assert client.get(f"/v1/responses/{made}", headers=theirs).status_code == 404
    assert client.delete(f"/v1/responses/{made}", headers=theirs).status_code == 404
    assert client.post("/v1/responses", json=again, headers=theirs).status_code == 404


@pytest.mark.parametrize("state", STATES)
def test_faults_are_stopped_by_those_who_may_inject_them(client: httpx.Client, keys: Keys, state: str) -> None:
    found = client.delete("/chaos/churn", headers=keys.headers(state, ADMIN))
    assert found.status_code == expected(state, ADMIN)


def test_an_administrator_of_what_is_not_there_learns_no_other_names(
    client: httpx.Client, channel: grpc.Channel, keys: Keys
) -> None:
    shown = {"x-api-key": keys.text["ghost"]}
    for route, (method, path, body, _) in ROUTES.items():
        if "{endpoint}" in route:
            found = client.request(method, path.replace("churn", "ghost"), json=body, headers=shown)
            assert found.status_code == 404, route
            assert "there is no endpoint 'ghost'" in found.json().values(), found.text
    assert client.delete("/chaos/ghost", headers=shown).json()["error"] == "there is no endpoint 'ghost'"
    for name in ("RepositoryModelLoad", "RepositoryModelUnload"):
        raw = message(f"{OIP}.{name}Request")(model_name="ghost").SerializeToString()
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(f"/{_service}/{name}")(raw, metadata=list(shown.items()), timeout=5)
        assert caught.value.details() == "there is no endpoint 'ghost'"


def test_what_administrators_do_is_told_where_nobody_is_asked_who_they_are() -> None:
    notes, model = Notes(), {"churn": EchoModel()}
    path = f"/{_service}/RepositoryModelLoad"
    with (
        running(model, audit=notes, control=Obeying(), chaos=Calm(), grpc_port=0) as found,
        httpx.Client(base_url=found.url) as client,
        grpc.insecure_channel(found.channel) as channel,
    ):
        assert client.post("/v2/repository/models/churn/unload", json={}).status_code == OK
        assert asked(channel, path, *METHODS[path][:3], []) == OK
        assert client.post("/chaos/churn", json=FAULT).status_code == OK
        assert client.delete("/chaos/churn").status_code == OK
        assert client.get("/v2/models/churn").status_code == OK
    told = [(one.actor, one.action, one.endpoint, one.outcome) for one in notes.noted]
    assert told == [("anonymous", one, "churn", "allowed") for one in ("admin", "admin", "chaos.begin", "chaos.stop")]


@pytest.mark.parametrize(("path", "state"), [*itertools.product(METHODS, STATES)])
def test_grpc(channel: grpc.Channel, keys: Keys, path: str, state: str) -> None:
    takes, gives, fields, need = METHODS[path]
    shown = keys.headers(state, need)
    for _ in range(2):
        assert asked(channel, path, takes, gives, fields, shown) == expected(state, need)


def asked(
    channel: grpc.Channel, path: str, takes: str, gives: str, fields: dict[str, Any], shown: list[tuple[str, str]]
) -> int:
    """What a method answers, as the status of HTTP that means the same."""
    request = message(takes)(**fields)
    if takes.endswith("ModelInferRequest"):
        request.model_name = fields.get("model_name", "churn")
        tensor = request.inputs.add(name="x", datatype="FP64", shape=[1, 2])
        tensor.contents.fp64_contents.extend([1.0, 2.0])
    raw = request.SerializeToString()
    metadata = [(name, value) for name, value in shown]
    try:
        if path.endswith(("StreamInfer", "ServerReflectionInfo")):
            streaming = channel.stream_stream(path)(iter([raw]), metadata=metadata, timeout=5)
            (first, *_) = list(streaming)
            if path.endswith("StreamInfer"):
                said = message(gives).FromString(first).error_message
                return 403 if "may not" in said else 404 if "no endpoint" in said else 200 if not said else 500
        elif path.endswith("Watch"):
            watching = channel.unary_stream(path)(raw, metadata=metadata, timeout=5)
            next(iter(watching))
            watching.cancel()
        else:
            channel.unary_unary(path)(raw, metadata=metadata, timeout=5)
    except grpc.RpcError as error:
        return {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404}.get(error.code().name, 500)
    return 200


def test_every_route_stands_in_the_table_and_in_this_matrix() -> None:
    front = Front(Pipeline(Catalog(), SystemClock()), MemorySink(), 1)
    paths = {route.path for route in build(Application(front)).routes}  # type: ignore[attr-defined]
    consoles = set(CONSOLE)  # of a process of its own, which asks by itself: test_console.py
    assert paths == set(ROUTES) == set(needs.HTTP) - {needs.UNKNOWN_ROUTE} - consoles
    assert {needs.HTTP[path] for path in consoles} == {needs.OPEN}
    methods = {path.decode() for path in Service(front, lambda: False, Locked())._routes}
    assert methods == set(METHODS) == set(needs.GRPC)


def test_a_route_that_nobody_told_of_is_closed(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {name: need for name, need in needs.NEEDS.items() if name not in ("/version", "/v2/models/{endpoint}/infer")}
    monkeypatch.setattr("fairlead.serve.access.gate.NEEDS", told)
    shown = {"x-api-key": keys.text["admin"]}
    with serving(keys) as found, httpx.Client(base_url=found.url, headers=shown) as client:
        assert client.get("/version").status_code == 403
        assert client.post("/v2/models/churn/infer", json=V2_BODY).status_code == 403
        assert client.get("/v2").status_code == 200


@pytest.mark.parametrize("state", ["none", "admin"])
def test_unknown_paths_and_methods(client: httpx.Client, keys: Keys, state: str) -> None:
    shown = keys.headers(state, KNOWN)
    strange = state == "none"
    assert client.get("/nothing", headers=shown).status_code == (401 if strange else 404)
    assert client.get("/docs/", headers=shown).status_code == (401 if strange else 404)
    assert client.delete("/v2/models/churn", headers=shown).status_code == (401 if strange else 405)
    assert client.get("/v2/models/churn/infer", headers=shown).status_code == (401 if strange else 405)


@pytest.mark.parametrize("state", ["none", "admin"])
def test_unknown_methods_of_grpc(channel: grpc.Channel, keys: Keys, state: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/strange.Service/Method")(b"", metadata=keys.headers(state, KNOWN), timeout=5)
    assert caught.value.code().name == ("UNAUTHENTICATED" if state == "none" else "UNIMPLEMENTED")  # type: ignore[attr-defined]
    assert ("inference" in caught.value.details()) is (state == "admin")  # type: ignore[attr-defined]


@pytest.mark.parametrize("hides", [True, False], ids=["hidden", "told"])
@pytest.mark.parametrize("route", [route for route, (_, path, *_) in ROUTES.items() if "churn" in path])
def test_an_unseen_endpoint_is_byte_for_byte_one_that_is_not_there(keys: Keys, route: str, hides: bool) -> None:
    method, path, body, _ = ROUTES[route]
    shown = {"x-api-key": keys.text["no scope"], "x-request-id": "same"}
    answers = []
    with serving(keys, rules=Rules(hides=hides)) as found, httpx.Client(base_url=found.url, headers=shown) as client:
        for name in ("fraud", "ghost"):
            response = client.request(method, path.replace("churn", name), json=body)
            headers = [pair for pair in response.headers.raw if pair[0].lower() != b"date"]
            answers.append((response.status_code, headers, response.content.replace(name.encode(), b"NAMED")))
    assert answers[0] == answers[1]
    assert answers[0][0] == (404 if hides else 403)
    assert b"churn" not in answers[0][2]


@pytest.mark.parametrize("path", [path for path, (*_, need) in METHODS.items() if need in (PREDICT, DESCRIBE, ADMIN)])
def test_the_same_over_grpc(channel: grpc.Channel, keys: Keys, path: str) -> None:
    takes, gives, fields, _ = METHODS[path]
    field = "model_name" if "model_name" in fields or path.endswith("Infer") else "name"
    shown = keys.headers("no scope", "")
    assert {asked(channel, path, takes, gives, {field: name}, shown) for name in ("fraud", "ghost")} == {404}


def test_health_of_an_endpoint_over_grpc(channel: grpc.Channel, keys: Keys) -> None:
    takes, gives, _, _ = METHODS[f"/{SERVICES[HEALTH]}/Check"]
    path = f"/{SERVICES[HEALTH]}/Check"
    for service, state, status in (
        ("churn", "none", 401), ("ghost", "none", 401), ("churn", "right", 200), ("fraud", "right", 404),
        ("ghost", "right", 404), (_service, "none", 200),
    ):  # fmt: skip
        assert asked(channel, path, takes, gives, {"service": service}, keys.headers(state, DESCRIBE)) == status


def test_lists_show_what_the_caller_may_see(client: httpx.Client, keys: Keys) -> None:
    for state, names in (("no scope", {"churn"}), ("other endpoint", {"fraud"}), ("admin", {"churn", "fraud"})):
        shown = {"x-api-key": keys.text[state]}
        told = {*names, "chat"} if state == "admin" else names
        assert set(client.get("/v1/models", headers=shown).json()["models"]) == told
        assert names <= {one["name"] for one in client.post("/v2/repository/index", headers=shown).json()} <= told
        openapi, docs = client.get("/openapi.json", headers=shown).text, client.get("/docs", headers=shown).text
        for name in ("churn", "fraud"):
            assert (f"models/{name}" in openapi) is (name in names)
            assert (name in docs) is (name in names)
        assert "authorization: Bearer KEY" in docs
        assert '"securitySchemes"' in openapi


def test_a_key_of_one_version_sees_no_other(client: httpx.Client, keys: Keys) -> None:
    shown = {"x-api-key": keys.text["wrong version predict"]}
    assert client.get("/openapi.json", headers=shown).json()["paths"].keys().isdisjoint({"/v2/models/churn/infer"})
    assert client.post("/v2/repository/index", headers=shown).json() == []
    known, unknown = (client.get(f"/v2/models/churn/versions/{one}", headers=shown) for one in ("1", "2"))
    assert (known.status_code, known.text) == (403, unknown.text.replace("version 2", "version 1"))


def test_health_tells_strangers_no_names(keys: Keys) -> None:
    with serving(keys) as found, httpx.Client(base_url=found.url) as client:
        found.pipeline.catalog.expect("secret-project")
        for path in ("/readyz", "/v2/health/ready", "/ping", "/health"):
            response = client.get(path)
            assert response.status_code == 503
            assert "secret-project" not in response.text
            assert "secret-project" in client.get(path, headers={"x-api-key": keys.text["admin"]}).text
        found.pipeline.catalog._expected.clear()


def test_a_header_that_came_twice_is_no_credential(server: Running, keys: Keys) -> None:
    body = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1.0,2.0]}]}'
    good, bad = keys.text["admin"].encode(), keys.text["other endpoint"].encode()
    for first, second in ((good, bad), (bad, good), (good, good)):
        head = b"POST /v2/models/churn/infer HTTP/1.1\r\nhost: x\r\nx-api-key: %b\r\nx-api-key: %b\r\n" % (
            first,
            second,
        )
        with server.send(head + b"content-length: %d\r\n\r\n" % len(body) + body) as link:
            assert link.recv(65536).startswith(b"HTTP/1.1 401")


def test_it_is_refused_before_the_body_is_read(server: Running) -> None:
    head = b"POST /v2/models/churn/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
    with server.send(head) as link:  # not a byte of the body
        link.settimeout(5)
        assert link.recv(65536).startswith(b"HTTP/1.1 401")


def test_a_key_that_is_taken_back_is_refused_on_a_connection_that_is_kept(keys: Keys) -> None:
    gate = Gate(Rules(), Callers(SystemClock(), keys.ring()))
    body = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1.0,2.0]}]}'
    head = b"POST /v2/models/churn/infer HTTP/1.1\r\nhost: x\r\nx-api-key: %b\r\ncontent-length: %d\r\n\r\n"
    whole = head % (keys.text["admin"].encode(), len(body)) + body
    with running({"churn": EchoModel()}, gate=gate) as found, found.send(whole) as link:
        for _ in range(3):
            assert link.recv(65536).startswith(b"HTTP/1.1 200")
            link.sendall(whole)
        assert link.recv(65536).startswith(b"HTTP/1.1 200")
        on_the_loop(found, gate.know, KeyRing())
        link.sendall(whole)
        assert link.recv(65536).startswith(b"HTTP/1.1 401")
        on_the_loop(found, gate.know, keys.ring())
        link.sendall(whole)
        assert link.recv(65536).startswith(b"HTTP/1.1 200")


def on_the_loop(found: Running, do: Callable[..., object], *given: object) -> None:
    """Do it on the server's loop, and wait until it is done."""

    async def work() -> None:
        do(*given)

    assert found.loop is not None
    asyncio.run_coroutine_threadsafe(work(), found.loop).result(5)


def test_labels_of_other_endpoints_are_refused_as_a_whole(client: httpx.Client, keys: Keys) -> None:
    labels = [{"key": "a", "label": 1, "endpoint": "churn"}, {"key": "b", "label": 1, "endpoint": "fraud"}]
    shown = {"x-api-key": keys.text["right feedback"]}
    refused = client.post("/v1/feedback", json={"labels": labels}, headers=shown)
    assert (refused.status_code, refused.json()["error"]) == (404, "there is no endpoint 'fraud'")
    assert client.post("/v1/feedback", json={"labels": labels[:1]}, headers=shown).status_code == 200


def test_no_key_was_read_yet(keys: Keys) -> None:
    gate = Gate(Rules(), Callers(SystemClock()))
    with running({"churn": EchoModel()}, gate=gate) as found, httpx.Client(base_url=found.url) as client:
        early = client.post("/v2/models/churn/infer", json=V2_BODY, headers={"x-api-key": keys.text["admin"]})
        assert (early.status_code, early.headers["retry-after"]) == (503, "1")
        assert client.post("/v2/models/churn/infer", json=V2_BODY).status_code == 401
        assert client.get("/readyz").status_code == 200


def test_the_socket_of_a_stranger_stays_in_order(server: Running, keys: Keys) -> None:
    """A refused body is passed over, and the next request on the connection is read from its beginning."""
    body = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1.0,2.0]}]}'
    lines = b"POST /v2/models/churn/infer HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n"
    stranger = lines % (b"", len(body)) + body
    known = lines % (b"x-api-key: %b\r\n" % keys.text["admin"].encode(), len(body)) + body
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
        for whole, status in ((stranger, b"401"), (known, b"200"), (stranger, b"401"), (known, b"200")):
            link.sendall(whole)
            assert link.recv(65536)[9:12] == status


class Chooses:
    """As much of a split as a call asks of it: everybody gets this version."""

    def __init__(self, live: Live) -> None:
        self.live = live

    def choose(self, *_: object) -> tuple[Live, str]:
        return self.live, ""

    def after(self, *_: object) -> None:
        """Nobody is shadowed."""


@pytest.mark.parametrize("short_way", [True, False])
def test_a_version_that_a_split_chooses_is_asked_about_too(short_way: bool) -> None:
    texts = {}
    ring = []
    for grant in ("churn:predict:1", "churn:predict:2", "churn:predict"):
        key, texts[grant] = made(Key(grant.replace(":", "-"), (scope(grant),), (), 0), 0)
        ring.append(key)
    gate = Gate(Rules(), Callers(SystemClock(), KeyRing(ring)))
    with running({"churn": EchoModel()}, gate=gate, short_way=short_way) as found:
        catalog = found.pipeline.catalog
        other = copy.copy(catalog.resolve("churn"))
        other.version = "2"
        on_the_loop(found, catalog.splits.__setitem__, "churn", Chooses(other))
        with httpx.Client(base_url=found.url) as client:
            for grant, status in (("churn:predict:1", 403), ("churn:predict:2", 200), ("churn:predict", 200)):
                response = client.post("/v2/models/churn/infer", json=V2_BODY, headers={"x-api-key": texts[grant]})
                assert response.status_code == status, response.text
                if status == 403:
                    assert "may not call version 2 of 'churn'" in response.json()["error"]
            named = client.post(
                "/v2/models/churn/versions/1/infer", json=V2_BODY, headers={"x-api-key": texts["churn:predict:1"]}
            )
            assert named.status_code == 200
        on_the_loop(found, catalog.splits.pop, "churn")
