"""Traffic that moves between two versions of a live server, and what was recorded of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.contracts.state import StateStore
from fairlead.kit import plugins
from fairlead.kit.codec.records import to_body
from fairlead.monitor import labels

PREDICT = "/v2/models/pair/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}


@pytest.fixture
def state(environment: dict[str, str]) -> Iterator[StateStore]:
    store: StateStore = plugins.load("fairlead.state", "sql")(f"sqlite:///{environment['FAIRLEAD_HOME']}/state.db")
    yield store
    store.close()


@pytest.fixture
def served(run: Any, start: Any, doubler: Path) -> Any:
    for alias in (["--alias", "champion"], []):
        told = run("models", "log", str(doubler), "--name", "pair", *alias)
        assert told.returncode == 0, told.stderr
    return start("serve", "models:/pair@champion", "--port", "0", "--record")


def ask(state: StateStore, *shares: Share) -> None:
    before = state.get("split", "pair")
    plan = TrafficSplit("pair", "pair", shares, salt="s")
    revision = state.put("split", "pair", to_body(plan), before.revision if before else 0).revision
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        found = next((one for one in state.all("applied") if one.key.startswith("pair/")), None)
        if found and found.body["revision"] == revision:
            assert found.body["error"] == ""
            return
        time.sleep(0.02)
    raise AssertionError("the split was not applied")


def send(client: httpx.Client, count: int) -> Counter[str]:
    got: Counter[str] = Counter()
    for _ in range(count):
        reply = client.post(PREDICT, json=BODY)
        assert reply.status_code == 200, reply.text
        assert reply.json()["outputs"][0]["data"] == [2.0, 4.0]
        assert reply.json()["parameters"]["prediction_id"] == reply.headers["fairlead-prediction-id"]
        got[reply.headers["fairlead-version"]] += 1
    return got


def test_traffic_moves_there_and_back_and_everything_is_recorded(
    served: Any, state: StateStore, environment: dict[str, str]
) -> None:
    with httpx.Client(base_url=served.url()) as client:
        assert send(client, 50) == {"1": 50}
        ask(state, Share("1", "champion", 100), Share("2", "candidate", 0, shadow=100))
        assert send(client, 100) == {"1": 100}
        ask(state, Share("1", "champion", 70), Share("2", "candidate", 30))
        assert 170 <= send(client, 800)["2"] <= 310  # 240 expected; more than five standard deviations
        ask(state, Share("2", "champion", 100))
        assert send(client, 50) == {"2": 50}
        ask(state, Share("1", "champion", 100))
        assert send(client, 50) == {"1": 50}
        identity = client.post(PREDICT, json=BODY).headers["fairlead-prediction-id"]
        label = {"endpoint": "pair", "labels": [{"prediction_id": identity, "label": 1}]}
        assert client.post("/v1/feedback", json=label).json() == {"new": 1, "same": 0, "corrected": 0}
        assert client.post("/v1/feedback", json=label).json() == {"new": 0, "same": 1, "corrected": 0}
        keyed = client.post(PREDICT, json=BODY, headers={"Fairlead-Key": "order-7"}).headers["fairlead-prediction-id"]
        label = {"endpoint": "pair", "labels": [{"key": "order-7", "label": 0}]}
        assert client.post("/v1/feedback", json=label).json() == {"new": 1, "same": 0, "corrected": 0}
    assert served.stop() == 0

    windows = state.windows("pair")
    calls = Counter[tuple[str, str]]()
    for window in windows:
        calls[window.arm, window.version] += window.calls
    store = plugins.load("fairlead.events", "parquet")(f"{environment['FAIRLEAD_HOME']}/events")
    events = store.frame("pair")
    recorded = Counter(zip(events["arm"].tolist(), events["version"].tolist(), strict=True))
    assert recorded == calls
    assert sum(count for (arm, _), count in recorded.items() if arm != "shadow") == 1052
    assert recorded["shadow", "2"] == 100
    assert sum(window.pairs.get("calls", 0) for window in windows) == 100
    told = labels.read(store, state, "pair", since_ms=0)
    assert dict(zip(told.column("prediction_id"), told.label, strict=True)) == {identity: 1.0, keyed: 0.0}


def test_a_caller_whose_body_comes_late_is_answered_by_the_version_in_place(served: Any, state: StateStore) -> None:
    with httpx.Client(base_url=served.url()) as client:
        ask(state, Share("1", "champion", 100), Share("2", "candidate", 0))

        def body() -> Iterator[bytes]:
            yield b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32",'
            ask(state, Share("2", "champion", 100))
            time.sleep(0.3)  # the old version is idle, and gone
            yield b'"data":[1.0,2.0]}]}'

        length = str(len(b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1.0,2.0]}]}'))
        reply = client.post(PREDICT, content=body(), headers={"content-length": length})
        assert (reply.status_code, reply.headers["fairlead-version"]) == (200, "2"), reply.text


def test_a_version_that_is_not_there_changes_nothing_and_is_told(served: Any, state: StateStore) -> None:
    with httpx.Client(base_url=served.url()) as client:
        with pytest.raises(AssertionError, match="9"):
            ask(state, Share("1", "champion", 50), Share("9", "candidate", 50))
        assert send(client, 20) == {"1": 20}
        ask(state, Share("1", "champion", 50), Share("2", "candidate", 50))
        assert set(send(client, 100)) == {"1", "2"}
