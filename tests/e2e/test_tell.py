"""What was recorded of a live endpoint, told again: reports, drift, labels from files, the timeline and verdicts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairlead.contracts.plans import Answer, Check, Happening, Verdict
from fairlead.contracts.state import StateStore
from fairlead.kit import plugins
from fairlead.kit.codec.records import to_body
from fairlead.monitor import timeline
from fairlead.monitor.reference import reference

WEIGHTS = np.array([[1.5], [-1.0]], np.float32)


@pytest.fixture
def state(environment: dict[str, str]) -> Iterator[StateStore]:
    store: StateStore = plugins.load("fairlead.state", "sql")(f"sqlite:///{environment['FAIRLEAD_HOME']}/state.db")
    yield store
    store.close()


@pytest.fixture
def scorer(tmp_path: Path) -> Path:
    """An ONNX file that gives the probability of class 1 of ``x``, shape [-1, 2]."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["p"])]
    graph = helper.make_graph(
        nodes,
        "scorer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    path = tmp_path / "scorer.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def answer(rows: Any) -> Any:
    return 1 / (1 + np.exp(-rows @ WEIGHTS))


@pytest.fixture
def recorded(run: Any, start: Any, scorer: Path, state: StateStore, tmp_path: Path) -> Path:
    """Serve, call with rows that moved, stop. The path of a file with labels, of which some lines are bad."""
    told = run("models", "log", str(scorer), "--name", "score", "--alias", "champion")
    assert told.returncode == 0, told.stderr
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 2)).astype(np.float32)
    kept = reference({"x": rows}, {"p": answer(rows)}, model="score", version="1", importance={"x[0]": 0.7})
    state.put("reference", "score/1", to_body(kept), 0)
    served = start("serve", "models:/score@champion", "--port", "0", "--record")
    lines = ["prediction_id,row,label"]
    with httpx.Client(base_url=served.url()) as client:
        for _ in range(12):
            rows = rng.normal((1.5, 0.0), size=(50, 2)).astype(np.float32)
            body = {"inputs": [{"name": "x", "shape": [50, 2], "datatype": "FP32", "data": rows.ravel().tolist()}]}
            reply = client.post("/v2/models/score/infer", json=body)
            assert reply.status_code == 200, reply.text
            identity = reply.headers["fairlead-prediction-id"]
            truth = rng.random(50) < answer(rows)[:, 0]
            lines += [f"{identity},{row},{int(one)}" for row, one in enumerate(truth)]
    assert served.stop() == 0
    lines[3:3] = [f"{identity},-1,1", f'"{identity},2,1', f"{identity},3"]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def as_json(told: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert told.returncode == code, told.stderr
    return json.loads(told.stdout)


def test_an_endpoint_is_told_again(run: Any, recorded: Path, state: StateStore, tmp_path: Path) -> None:
    labels(run, recorded, tmp_path)
    drifts(run, state)
    timeline.write(state, Happening("score", "deploy", "version 1 serves", round(time.time() * 1000), {"calls": 12}))
    reports(run, tmp_path)
    history(run, state)


def labels(run: Any, recorded: Path, tmp_path: Path) -> None:
    before = run("monitor", "report", "score")
    assert "0 of 600 predicted rows are labelled" in before.stdout
    told = run("feedback", "score", "--csv", str(recorded))
    assert told.returncode == 1
    head, *bad = told.stdout.splitlines()
    assert head == "score: 600 new, 0 the same, 0 corrected; 3 bad lines left out:"
    assert [line.partition(":")[0] for line in bad] == ["line 4", "line 5", "line 6"]
    again = as_json(run("feedback", "score", "--csv", str(recorded), "--json"), 1)
    assert (again["new"], again["same"], again["bad_lines"]) == (0, 600, 3)
    command = [sys.executable, "-m", "fairlead", "feedback", "score", "--csv", "-", "--home", str(tmp_path / "home")]
    piped = subprocess.run(
        command, input="prediction_id,label\nnobody,1\n", capture_output=True, text=True, check=False
    )
    assert (piped.returncode, piped.stdout) == (0, "score: 1 new, 0 the same, 0 corrected\n"), piped.stderr
    wrong = run("feedback", "scores", "--csv", str(recorded))
    assert wrong.returncode == 1
    assert "'scores' is not known; did you mean score?" in wrong.stderr
    assert run("feedback", "score", "--csv", "nothing.csv").returncode == 2
    (tmp_path / "wrong.csv").write_text("prediction,label\n")
    assert (
        "unknown column 'prediction'; did you mean prediction_id?"
        in run("feedback", "score", "--csv", "wrong.csv").stderr
    )


def drifts(run: Any, state: StateStore) -> None:
    told = run("monitor", "drift", "score", "--since", "1h")
    assert told.returncode == 0, told.stderr
    assert "against score/1, by merged windows: 600 rows" in told.stdout
    assert "drifted" in told.stdout
    for exact in ([], ["--exact"]):
        found = as_json(run("monitor", "drift", "score", *exact, "--json"))
        first = found["tests"][0]
        assert (found["rows"], first["column"], first["verdict"]) == (600, "in.x[0]", "alarm"), exact
        calm = [one for one in found["tests"] if one["column"] == "in.x[1]"]
        assert {one["verdict"] for one in calm} == {"ok"}
        assert min(one["p"] for one in calm) > 0.01
    assert "versions that answered: 1" in run("monitor", "drift", "score", "--version", "9").stderr
    wrong = run("monitor", "drift", "score", "--since", "yesterday", "--json")
    assert wrong.returncode == 2
    assert "give a time ago such as" in json.loads(wrong.stdout)["error"]


def reports(run: Any, tmp_path: Path) -> None:
    told = run("monitor", "report", "score", "--since", "1d", "--html", "page.html")
    assert told.returncode == 0, told.stderr
    assert "ALARM: " in told.stdout
    assert "600 of 600 predicted rows are labelled (100 %)." in told.stdout
    assert "accuracy now" in told.stdout
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "version 1 serves" in page
    found = as_json(run("monitor", "report", "score", "--json"))
    assert found["verdict"] == "alarm"
    assert (found["traffic"]["calls"], found["traffic"]["rows"], found["traffic"]["codes"]) == (12, 600, {})
    assert found["traffic"]["p50"] > 0
    assert found["metric"] == "accuracy"
    assert sum(one["labelled_now"] for one in found["periods"]) == 600
    values = [one["now"][0]["value"] for one in found["periods"]]
    assert all(0.6 < one < 1 for one in values)
    assert found["labels"]["waiting"] == 1
    accuracy, auc = found["estimates"]
    assert accuracy["expected"]["low"] < accuracy["realised"]["value"] < accuracy["expected"]["high"]
    assert auc["expected"]["metric"] == "roc_auc"
    assert "'scoer' is not known; did you mean score?" in run("monitor", "report", "scoer").stderr
    assert run("monitor", "report", "score", "--html", str(tmp_path)).returncode == 2


def history(run: Any, state: StateStore) -> None:
    lines = as_json(run("timeline", "score", "--json", "--limit", "1"))
    assert [one["text"] for one in lines] == ["version 1 serves"]
    assert "calls 12" in run("timeline", "score").stdout
    assert run("timeline", "scor").returncode == 1
    assert as_json(run("verdict", "list", "score", "--json")) == []
    assert "did you mean score?" in run("verdict", "list", "scor").stderr
    check = Check("roc_auc", Answer.PASS, "a lift of 0.02", {"lift": 0.02})
    for name in ("verdict-abc", "verdict-xyz"):
        made = Verdict(name, "gate", "score", "2", "1", Answer.PASS, (check,), 1_767_225_600_000)
        state.append("verdict", "score", to_body(made))
    assert [one["id"] for one in as_json(run("verdict", "list", "score", "--json"))] == ["verdict-xyz", "verdict-abc"]
    assert "1 of 1 pass" in run("verdict", "list", "score").stdout
    assert as_json(run("verdict", "show", "verdict-x", "--json"))["id"] == "verdict-xyz"
    assert "lift 0.02" in run("verdict", "show", "verdict-abc").stdout
    wrong = run("verdict", "show", "verdict")
    assert wrong.returncode == 1
    assert "the beginning of 2 ids" in wrong.stderr
    assert "did you mean verdict-abc?" in run("verdict", "show", "vredict-abc").stderr


def test_without_a_reference_or_a_call_it_is_said(run: Any, start: Any, scorer: Path) -> None:
    nobody = run("monitor", "report", "score")
    assert nobody.returncode == 1
    assert "no call of any endpoint was recorded here; serve it with --record" in nobody.stderr
    assert run("models", "log", str(scorer), "--name", "score", "--alias", "champion").returncode == 0
    served = start("serve", "models:/score@champion", "--port", "0", "--record")
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
    assert httpx.post(f"{served.url()}/v2/models/score/infer", json=body).status_code == 200
    assert served.stop() == 0
    for exact in ([], ["--exact"]):
        told = run("monitor", "drift", "score", *exact)
        assert told.returncode == 1
        assert "No reference of score/1 is kept" in told.stderr
    report = run("monitor", "report", "score")
    assert report.returncode == 0, report.stderr
    assert "NO DATA: No reference and no labels" in report.stdout
    assert "No reference of score/1 is kept" in report.stdout
