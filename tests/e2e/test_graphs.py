"""Graphs and explanations as users have them: a spec, a file of Python, REST, gRPC and ``:explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient import grpc as triton

PARTS = """
import numpy as np


class Scaler:
    inputs = [("X", "FP32", [-1, 2])]
    outputs = [("Y", "FP32", [-1, 2])]

    def predict(self, inputs):
        return {"Y": inputs["X"] * np.float32(2)}


class Risk:
    inputs = [("X", "FP32", [-1, 2])]
    outputs = [("score", "FP32", [-1])]
    weights = np.array([1, 10], np.float32)

    def predict(self, inputs):
        return {"score": inputs["X"] @ self.weights}


class Fragile(Risk):
    def predict(self, inputs):
        if (inputs["X"] < 0).any():
            raise ValueError("below zero")
        return super().predict(inputs)


class Table:
    inputs = [("age", "FP64", [-1]), ("income", "FP64", [-1])]
    outputs = [("p", "FP64", [-1])]

    def predict(self, inputs):
        return {"p": inputs["age"] * 0.01 + inputs["income"] * 0.5}


def clean(raw):
    return np.nan_to_num(raw)
"""
SPEC = """
server: {port: 0, grpc_port: 0, grace: 5s}
record: false
endpoints:
  risk:
    graph:
      inputs: {features: {datatype: FP32, shape: [-1, 2]}}
      steps:
        clean: {python: "parts:clean", take: {raw: features}, gives: {x: {datatype: FP32, shape: [-1, 2]}}}
        scaled: {endpoint: scaler, take: {X: clean}}
        a: {endpoint: fragile, take: {X: scaled}, fallback: {value: {score: 100}}}
        b: {endpoint: plain, take: {X: scaled.Y}}
        both: {combine: mean, of: [a.score, b.score], weights: [1, 3]}
      outputs: {score: both}
    explain: {background: ./rows.csv}
  again: {graph: ./risk_graph.py:graph}
  scaler: {model: "parts:Scaler"}
  fragile: {model: "parts:Fragile"}
  plain: {model: "parts:Risk"}
  table: {model: "parts:Table", explain: {background: ./table.csv}}
"""
GRAPH = """
from fairlead.graph import Graph
from parts import clean

graph = Graph()
raw = graph.input("features", "FP32", [-1, 2])
cleaned = graph.function("clean", clean, take={"raw": raw}, gives={"x": ("FP32", [-1, 2])})
scaled = graph.endpoint("scaled", "scaler", take={"X": cleaned})
a = graph.endpoint("a", "fragile", take={"X": scaled}, fallback={"score": 100})
b = graph.endpoint("b", "plain", take={"X": scaled["Y"]})
graph.output(score=graph.mean("both", [a["score"], b["score"]], weights=[1, 3]))
"""
FILES = {
    "parts.py": PARTS,
    "fairlead.yaml": SPEC,
    "risk_graph.py": GRAPH,
    "rows.csv": "x,y\n0,0\n1,1\n",
    "table.csv": "age,income\n10,1\n30,3\n",
}


def asked(*rows: tuple[float, float]) -> dict[str, Any]:
    data = [value for row in rows for value in row]
    return {"inputs": [{"name": "features", "shape": [len(rows), 2], "datatype": "FP32", "data": data}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.slow
def test_a_graph_is_an_endpoint_like_any_other(start: Any, folder: Path) -> None:
    up = start("up", PYTHONPATH=str(folder))
    url = up.url(60)
    with httpx.Client(base_url=url, timeout=30) as client:
        for name in ("risk", "again"):
            reply = client.post(f"/v2/models/{name}/infer", json=asked((1, 2), (3, 4)))
            assert reply.json()["outputs"][0]["data"] == [42.0, 86.0], reply.text
            assert "fairlead-degraded" not in reply.headers
            for step in ("clean", "scaled", "a", "b"):
                assert f"step-{step};dur=" in reply.headers["server-timing"]
        reply = client.post("/v2/models/risk/infer", json=asked((-1, 0)))
        assert reply.json()["outputs"][0]["data"] == [(100 - 2 * 3) / 4]
        assert reply.headers["fairlead-degraded"] == "a=model_failed"
        assert reply.json()["parameters"] == {"degraded": "a=model_failed"}
        assert client.post("/v1/models/risk:predict", json={"instances": [[1, 2]]}).json() == {"predictions": [42.0]}
        metrics = client.get("/metrics").text
        assert 'fairlead_steps_total{code="model_failed",endpoint="risk",step="a",version="1"} 1.0' in metrics
        assert client.get("/v2/models/risk").json()["inputs"] == [
            {"name": "features", "datatype": "FP32", "shape": [-1, 2]}
        ]
        _check_explanations(client)
        paths = client.get("/openapi.json").json()["paths"]
        assert "/v1/models/table:explain" in paths
        assert "/v1/models/plain:explain" not in paths
        assert "/v1/models/risk:explain" in client.get("/docs").text
    (event,) = [event for event in up.events if event["event"] == "step failed"]
    assert (event["graph"], event["step"]) == ("risk", "a")
    assert "below zero" in str(event["exception"])
    address = next(str(event["address"]) for event in up.events if event["event"] == "grpc")
    with triton.InferenceServerClient(address) as grpc:
        given = triton.InferInput("features", [1, 2], "FP32")
        given.set_data_from_numpy(np.array([[-1, 0]], np.float32))
        answer = grpc.infer("risk", [given])
        assert answer.as_numpy("score").tolist() == [23.5]
        assert answer.get_response().parameters["degraded"].string_param == "a=model_failed"
    assert up.stop() == 0, up.lines


def _check_explanations(client: httpx.Client) -> None:
    rows = [{"age": 50, "income": 2}, {"age": 20, "income": 4}]
    reply = client.post("/v1/models/table:explain", json={"instances": rows})
    assert reply.status_code == 200, reply.text
    assert reply.json()["predictions"] == [1.5, 2.2]
    first, second = reply.json()["explanations"]
    assert first["attributions"] == {"age": pytest.approx(0.3), "income": pytest.approx(0)}
    assert second["attributions"] == {"age": pytest.approx(0), "income": pytest.approx(1.0)}
    assert (first["base"], first["value"], first["exact"]) == (pytest.approx(1.2), 1.5, True)
    graph = client.post("/v1/models/risk:explain", json={"instances": [[1, 2]]}).json()["explanations"][0]
    assert graph["attributions"] == {"features[0]": pytest.approx(1.0), "features[1]": pytest.approx(30.0)}
    for name, body, status, said in (
        ("plain", {"instances": [[1, 2]]}, 503, "no background rows"),
        ("table", {"inputs": {"age": [1], "income": ["x"]}}, 400, "expected FP64"),
        ("table", {"instances": rows, "parameters": {"output": "q"}}, 400, "there is no output 'q'"),
        ("none", {"instances": []}, 404, "there is no endpoint 'none'"),
    ):
        refused = client.post(f"/v1/models/{name}:explain", json=body)
        assert refused.status_code == status, refused.text
        assert said in refused.json()["error"]
        assert set(refused.json()) == {"error", "code", "request_id"}
    late = client.post("/v1/models/table:explain", json={"instances": rows}, headers={"x-request-timeout-ms": "0.001"})
    assert late.status_code == 504
    assert client.post("/v1/models/table:explain", json={"instances": []}).json() == {
        "predictions": [],
        "explanations": [],
    }


@pytest.mark.slow
def test_a_type_mismatch_ends_the_start_naming_the_edge(run: Any, folder: Path) -> None:
    (folder / "fairlead.yaml").write_text(SPEC.replace("FP32", "FP64"))
    told = run("up", PYTHONPATH=str(folder))
    assert told.returncode == 1
    assert (
        "endpoint 'risk': step 'scaled': clean.x -> X: clean.x is FP64 [-1, 2], and 'scaler' takes FP32" in told.stderr
    )
    (folder / "fairlead.yaml").write_text(SPEC.replace("{raw: features}", "{raw: a.score}"))
    told = run("up", "--check", PYTHONPATH=str(folder))
    assert told.returncode == 2
    assert "fairlead.yaml:6: endpoints.risk.graph: the graph has a cycle: " in told.stderr
    assert "clean takes a.score" in told.stderr


@pytest.mark.slow
def test_serve_takes_a_graph_in_a_file(start: Any, folder: Path) -> None:
    names = ("risk=./risk_graph.py:graph", "scaler=parts:Scaler", "fragile=parts:Fragile", "plain=parts:Risk")
    served = start("serve", *names, "--port", "0", "--workers", "2", PYTHONPATH=str(folder))
    reply = httpx.post(f"{served.url(60)}/v2/models/risk/infer", json=asked((1, 2)))
    assert reply.json()["outputs"][0]["data"] == [42.0], reply.text
    assert served.stop() == 0, served.lines
