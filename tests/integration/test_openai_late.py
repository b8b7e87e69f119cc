"""A server without language models reads OpenAI's API at its first request, and answers as if it had read it before."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys

import httpx
import pytest
from running import Running, running
from test_access import Keys

from fairlead.kit.clock import SystemClock
from fairlead.serve.access.callers import Callers
from fairlead.serve.access.gate import Gate
from fairlead.serve.access.rules import Rules
from fairlead.serve.app import Application, build
from fairlead.serve.catalog import Catalog
from fairlead.serve.front import Front
from fairlead.serve.openai.api import PATHS
from fairlead.serve.pipeline import Pipeline
from fairlead.testing.models import EchoModel
from fairlead.testing.sinks import MemorySink

CHAT = b'{"model": "churn", "messages": [{"role": "user", "content": "hi"}]}'
ASKED = [
    *[(method, path.replace("{id}", "x")) for path in PATHS for method in ("GET", "POST", "DELETE", "PUT")],
    ("GET", "/v1/models"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/nothing"),
]


def answers(server: Running, headers: dict[str, str]) -> list[tuple[str, str, int, str, str]]:
    found = []
    with httpx.Client(base_url=server.url, headers={"x-request-id": "r", **headers}) as client:
        for method, path in ASKED:
            for body in (
                (b"", b"{", CHAT, b'{"model": "gone", "input": "a", "prompt": "a"}') if method == "POST" else (b"",)
            ):
                told = client.request(method, path, content=body)
                dates = {"date", "server-timing"}
                known = sorted((name, value) for name, value in told.headers.items() if name not in dates)
                found.append((method, path, told.status_code, str(known), steady(told)))
    return found


def steady(told: httpx.Response) -> str:
    """Without what differs from one server to the next."""
    document = told.json() if "json" in told.headers.get("content-type", "") else told.text
    if isinstance(document, dict):
        document.pop("servers", None)
        for one in document.get("data", []) if isinstance(document.get("data"), list) else []:
            one.pop("created", None)
    return str(document)


def late(application: Application) -> None:
    application.speaks = False


CALLERS = ["nobody is asked", "none", "unknown", "admin", "other endpoint"]


@pytest.mark.parametrize("caller", CALLERS)
def test_every_route_answers_as_if_it_had_been_there_before(caller: str) -> None:
    keys, models = Keys(), {"churn": EchoModel(), "fraud": EchoModel()}
    asked = caller != CALLERS[0]

    def gate() -> Gate | None:
        return Gate(Rules(), Callers(SystemClock(), keys.ring())) if asked else None

    shown = dict(keys.headers(caller, "")) if asked else {}
    with running(models, gate=gate()) as eager, running(models, gate=gate(), also=late) as lazy:
        expected = answers(eager, shown)
        assert answers(lazy, shown) == expected
        assert {one[2] for one in expected} >= ({401} if caller in ("none", "unknown") else {400, 404, 503})
        assert answers(lazy, shown) == expected  # and now the short way


def test_who_asks_first_at_once_is_answered() -> None:
    with running({"churn": EchoModel()}, also=late) as server, httpx.Client(base_url=server.url) as client:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            told = list(pool.map(lambda path: client.post(path, content=CHAT), ["/v1/chat/completions"] * 16))
        assert {one.status_code for one in told} == {404}
        assert len({one.text for one in told}) == 1
        assert "is a model of tensors and writes no text" in told[0].text
        fine = client.post("/v2/models/churn/infer", content=b"{}")
        assert fine.status_code == 400


@pytest.mark.parametrize("speaks", [True, False])
def test_the_paths_are_those_of_the_routes(speaks: bool) -> None:
    application = Application(Front(Pipeline(Catalog(), SystemClock()), MemorySink(), 1), speaks=speaks)
    paths = [route.path for route in build(application).routes]  # type: ignore[attr-defined]
    at = paths.index(PATHS[0])
    assert tuple(paths[at : at + len(PATHS)]) == PATHS
    assert [route.path for route in application.openai()] == list(PATHS)


@pytest.mark.parametrize("command", ["serve", "up"])
def test_a_command_reads_nothing_of_it(command: str) -> None:
    """Nor what language models need beside it: engines, guards, the ledger, batches."""
    source = f"import sys, fairlead.cli.{command}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True).stdout.split()
    rooms = ("fairlead.serve.openai.", "fairlead.serve.llm.", "fairlead.wiring.llm.", "fairlead.wiring.ledgering")
    light = {
        *(
            "fairlead.serve.openai.api",
            "fairlead.serve.openai.late",
            "fairlead.serve.llm.ask",
            "fairlead.serve.llm.chats",
        ),
        *("fairlead.wiring.llm.after", "fairlead.wiring.llm.parts", "fairlead.wiring.llm.paths"),
        "fairlead.wiring.llm.wanted",
        *(
            "fairlead.serve.llm.ledger",
            "fairlead.serve.llm.ledger.books",
            "fairlead.serve.llm.ledger.prices",
            "fairlead.serve.llm.ledger.windows",
        ),
    }
    assert {one for one in loaded if one.startswith(rooms)} <= light
