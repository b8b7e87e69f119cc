"""Breakers and fallbacks as users have them: a spec, a model that fails on demand, curl, events and the report."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient import grpc as triton

MODELS = """
import os
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


class Big:
    inputs = [("x", "FP64", [-1, 2])]
    outputs = [("p", "FP64", [-1])]

    def predict(self, inputs):
        if (HERE / "broken").exists():
            raise ValueError("told to fail")
        if (HERE / "hang").exists():
            time.sleep(3)
        if (HERE / "crash").exists():
            os._exit(9)
        return {"p": inputs["x"].sum(axis=1)}


class Small(Big):
    def predict(self, inputs):
        if (HERE / "small_broken").exists():
            raise ValueError("told to fail")
        return {"p": inputs["x"][:, 0]}
"""
SPEC = """
server: {{port: 0, grpc_port: 0, grace: 3s, workers: {workers}}}
endpoints:
  big:
    model: "models:Big"
    deadline_ms: 1500
    record: {{window_seconds: 1}}
    resilience:
      breaker: {{fail_max: 4, cooldown: 1s}}
      fallback: [cache, {{endpoint: small}}, {{value: {{p: 0.27}}}}]
  small: {{model: "models:Small"}}
  other: {{model: "models:Small"}}
"""


def body(*row: float) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": list(row)}]}


def ask(client: httpx.Client, *row: float, endpoint: str = "big", **headers: str) -> tuple[float, str, str]:
    """The answer, what is said of it, and its prediction id."""
    reply = client.post(f"/v2/models/{endpoint}/infer", json=body(*row), headers=headers)
    assert reply.status_code == 200, reply.text
    degraded = reply.headers.get("fairlead-degraded", "")
    assert reply.json()["parameters"].get("degraded", "") == degraded
    return reply.json()["outputs"][0]["data"][0], degraded, reply.headers["fairlead-prediction-id"]


def until(what: Any, seconds: float = 20.0) -> Any:
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.1)
    return found


def write(folder: Path, workers: int = 1) -> None:
    (folder / "models.py").write_text(MODELS)
    (folder / "fairlead.yaml").write_text(SPEC.format(workers=workers))


def failures(up: Any) -> int:
    """How often the model was asked and raised, as the log says."""
    return sum(event["event"] == "model failed, a fallback answers" for event in up.events)


@pytest.mark.slow
def test_a_model_that_fails_has_answers_all_the_same_and_comes_back(run: Any, start: Any, tmp_path: Path) -> None:
    write(tmp_path)
    up = start("up", PYTHONPATH=str(tmp_path))
    url = up.url(60)
    kept: list[tuple[str, str]] = []
    """What is said of an answer, and its prediction id."""
    with httpx.Client(base_url=url, timeout=10) as client:
        assert ask(client, 1, 2)[:2] == (3.0, "")
        kept += [ask(client, 0.01 * row, 0.5)[1:] for row in range(40)]
        (tmp_path / "broken").touch()
        value, degraded, _ = ask(client, 1, 2)
        assert (value, degraded) == (3.0, "cache")
        assert ask(client, 5, 6)[:2] == (5.0, "endpoint:small")
        (tmp_path / "small_broken").touch()
        kept += [ask(client, 7, 100 + row)[1:] for row in range(2)]
        assert [one for one, _ in kept[40:]] == ["value", "value"]
        assert client.get("/readyz").json()["troubles"] == ["endpoint 'big': version 1 fails; its breaker is open"]
        until(lambda: failures(up) == 4)
        value, degraded, _ = ask(client, 9, 9)
        assert (value, degraded) == (0.27, "value"), "open: the model is not asked"
        address = next(str(event["address"]) for event in up.events if event["event"] == "grpc")
        with triton.InferenceServerClient(address) as grpc:
            tensor = triton.InferInput("x", [1, 2], "FP64").set_data_from_numpy(np.array([[8.0, 8.0]]))
            answer = grpc.infer("big", [tensor])
            assert answer.as_numpy("p").tolist() == [0.27]
            assert answer.get_response().parameters["degraded"].string_param == "value"
        (tmp_path / "broken").unlink()
        (tmp_path / "small_broken").unlink()
        until(lambda: ask(client, 2, 2)[1] == "")
        assert client.get("/readyz").json() == {"ready": True, "live": True}
        until(lambda: [one["state"] for one in up.events if one["event"] == "breaker"][-2:] == ["half_open", "closed"])
        metrics = client.get("/metrics").text
        assert 'fairlead_fallbacks_total{code="model_failed",endpoint="big",rung="cache",version="1"} 1.0' in metrics
        assert 'fairlead_fallbacks_total{code="circuit_open",endpoint="big",rung="value",version="1"} ' in metrics
        assert 'fairlead_breaker_open{endpoint="big",version="1"} 0.0' in metrics
        labels = [{"prediction_id": name, "label": 0.27 if one == "value" else 3.0} for one, name in kept]
        assert client.post("/v1/feedback", json={"endpoint": "big", "labels": labels}).json()["new"] == 42
        states = until(lambda: [event["state"] for event in up.events if event["event"] == "breaker"])
        assert failures(up) == states.count("open") + 3, "none but those that opened it, and probes"
    up.stop(signal.SIGINT)
    told = run("monitor", "report", "big", "--since", "1h", "--json")
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    rungs = {one["name"]: one for one in report["rungs"]}
    assert set(rungs) == {"cache", "endpoint:small", "value"}
    assert (rungs["value"]["rows"], rungs["value"]["labelled"]) == (4, 2)
    assert rungs["value"]["measure"]["value"] == 0.0, "mean absolute error: the constant is what was true"
    assert report["traffic"]["degraded"] == sum(one["rows"] for one in rungs.values()) >= 6
    assert report["traffic"]["errors"] == 0
    assert report["labels"]["waiting"] == 0
    text = run("monitor", "report", "big", "--since", "1h").stdout
    assert "Fallbacks" in text
    assert "endpoint:small" in text


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_one_that_hangs_is_answered_for_in_time_and_harms_no_other(start: Any, tmp_path: Path, workers: int) -> None:
    write(tmp_path, workers)
    up = start("up", PYTHONPATH=str(tmp_path))
    with httpx.Client(base_url=up.url(60), timeout=10) as client:
        (tmp_path / "hang").touch()
        took = []
        for row in range(6 * workers):
            at = time.monotonic()
            value, degraded, _ = ask(client, row, 1, **{"x-request-timeout-ms": "600"})
            took.append(time.monotonic() - at)
            assert (value, degraded) == (row, "endpoint:small")
            at = time.monotonic()
            assert ask(client, 4, 1, endpoint="other")[0] == 4.0
            assert time.monotonic() - at < 1.0, "another endpoint"
        assert max(took) < 1.0
        (tmp_path / "hang").unlink()
        until(lambda: all(ask(client, 2, 2)[1] == "" for _ in range(4)))


@pytest.mark.slow
def test_a_model_whose_process_dies_is_stood_in_for(start: Any, tmp_path: Path) -> None:
    write(tmp_path)
    text = SPEC.format(workers=1).replace("deadline_ms: 1500", "deadline_ms: 4000\n    executor: process")
    (tmp_path / "fairlead.yaml").write_text(text)
    up = start("up", PYTHONPATH=str(tmp_path))
    with httpx.Client(base_url=up.url(60), timeout=10) as client:
        assert ask(client, 1, 2)[:2] == (3.0, "")
        (tmp_path / "crash").touch()
        assert ask(client, 1, 2)[:2] == (3.0, "cache")
        assert ask(client, 3, 2)[:2] == (3.0, "endpoint:small")
        (tmp_path / "crash").unlink()
        until(lambda: ask(client, 5, 5)[:2] == (10.0, ""))
    assert up.stop(signal.SIGTERM) == 0


@pytest.mark.slow
def test_an_older_version_is_loaded_to_fall_back_to_and_for_nobody_else(
    run: Any, start: Any, tmp_path: Path, doubler: Path
) -> None:
    for _ in range(2):
        assert run("models", "log", str(doubler), "--name", "pair", "--alias", "champion").returncode == 0
    spec = """
server: {port: 0, grace: 3s}
endpoints:
  pair:
    model: models:/pair@champion
    resilience: {fallback: [{version: "%s"}]}
"""
    (tmp_path / "fairlead.yaml").write_text(spec % "1")
    up = start("up")
    with httpx.Client(base_url=up.url(60), timeout=10) as client:
        assert client.get("/v2/models/pair/versions/2").status_code == 200
        assert client.get("/v2/models/pair/versions/1").status_code == 404, "it is there for the fallback alone"
    loaded = [event for event in up.events if event["event"] == "loaded to fall back to"]
    assert [event["version"] for event in loaded] == ["1"]
    up.stop()
    (tmp_path / "fairlead.yaml").write_text(spec % "7")
    told = run("up")
    assert told.returncode != 0
    assert "fairlead.yaml:6: endpoints.pair.resilience.fallback[0]: " in told.stderr
