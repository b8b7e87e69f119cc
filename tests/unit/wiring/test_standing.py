from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from fairlead.contracts.plans import Answer, Happening, Share, TrafficSplit
from fairlead.kit.codec.records import to_body
from fairlead.kit.config import Home
from fairlead.monitor import timeline
from fairlead.orchestrate.controller import LEASE
from fairlead.orchestrate.plan import Plan
from fairlead.orchestrate.rollout import Phase, Rollout
from fairlead.testing.state import MemoryState
from fairlead.wiring import standing
from fairlead.wiring.presence import Presence
from fairlead.wiring.standing import Rolling

SERVER = Presence(1, "f.yaml", "http://s")


def said(reply: httpx.Response | Exception) -> standing.Answering:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(reply, Exception):
            raise reply
        if request.url.path == "/readyz":
            return httpx.Response(503, json={"ready": False, "troubles": ["full"]})
        return reply

    return standing.answering(SERVER, httpx.MockTransport(handle))


def test_what_a_server_answers() -> None:
    one = {"name": "churn", "version": "3", "state": "READY"}
    assert said(httpx.Response(200, json=[one])) == standing.Answering(False, ["full"], [one])


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (httpx.ConnectError("refused"), "it does not answer at http://s: ConnectError: refused"),
        (httpx.Response(500), "it does not answer at http://s: HTTPStatusError"),
        (httpx.Response(200, text="<html>"), "it does not answer at http://s: JSONDecodeError"),
    ],
)
def test_a_server_that_says_nothing_sensible(reply: httpx.Response | Exception, problem: str) -> None:
    assert said(reply).problem.startswith(problem)


def test_a_server_that_is_not_ready_is_not_asked() -> None:
    assert standing.answering(replace(SERVER, url="")).problem == "it is not ready yet"


def test_what_the_state_store_says() -> None:
    store = MemoryState()
    assert standing.told(store, 5) == standing.Stored(alerts=[])
    split = TrafficSplit("churn", "churn", (Share("1", "champion", 95), Share("2", "candidate", 5)))
    store.put("split", "churn", to_body(split), 0)
    rollout = Rollout("r1", Plan("churn", "churn", "1", "2"), Phase.CANARY, "ada", 0, 0, reason="because")
    store.put("rollout", "r1", to_body(rollout), 0)
    store.put("rollout-of", "churn", {"rollout": "r1"}, 0)
    store.put("rollout-of", "digits", {"rollout": ""}, 0)
    store.put("rollout-of", "gone", {"rollout": "r0"}, 0)
    assert standing.CONTROLLER == LEASE
    store.acquire(LEASE, "box:7", 60)
    for number, what in enumerate(("deploy", "alert", "drift", "performance")):
        timeline.write(store, Happening("churn", what, what, number))
    found = standing.told(store, 2)
    assert found.splits == {"churn": split}
    assert found.rollouts == {"churn": Rolling("r1", "canary", "1", "2", Answer.INCONCLUSIVE, "because")}
    assert found.controller == "box:7"
    assert [one.what for one in found.alerts] == ["drift", "performance"]


def test_a_store_that_is_not_there_is_not_made(tmp_path) -> None:
    home = Home(tmp_path, "", f"sqlite:///{tmp_path}/state.db", "ada")
    assert standing.stored(home, 5) == standing.Stored()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_does_not_answer_is_told(tmp_path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is no database" * 100)
    found = standing.stored(Home(tmp_path, "", f"sqlite:///{tmp_path}/state.db", "ada"), 5)
    assert found.problem
