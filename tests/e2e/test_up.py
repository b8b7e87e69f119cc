"""``fairlead init``, ``up`` and ``status``: one file, a server, and what is told of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead.contracts.plans import Happening, Share, TrafficSplit
from fairlead.kit import plugins
from fairlead.kit.codec.records import to_body
from fairlead.monitor import timeline

OPENSSL = shutil.which("openssl")
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
SPEC = """
project: shop
server: {{port: 0, workers: {workers}, grace: 5s}}
endpoints:
  pair:
    model: models:/pair@champion
    batching: {{max_rows: 8}}
    record: {{exclude: [x, zzz], days: 1}}
    rollout: {{steps: [10, 100], gates: [error_rate]}}
  plain: {{model: ./doubler.onnx, deadline_ms: 50}}
"""


@pytest.fixture
def registered(run: Any, doubler: Path) -> None:
    told = run("models", "log", str(doubler), "--name", "pair", "--alias", "champion")
    assert told.returncode == 0, told.stderr


def status(run: Any, *words: str) -> tuple[int, dict[str, Any]]:
    told = run("status", *words, "--json")
    return told.returncode, json.loads(told.stdout)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT)])
def test_one_file_is_served_told_of_and_ended(
    run: Any, start: Any, registered: None, tmp_path: Path, environment: dict[str, str], workers: int, number: int
) -> None:
    (tmp_path / "fairlead.yaml").write_text(SPEC.format(workers=workers))
    up = start("up")
    url = up.url(60)
    assert all(event["project"] == "shop" for event in up.events if event["event"] == "loaded")
    with httpx.Client(base_url=url) as client:
        for name in ("pair", "plain"):
            reply = client.post(f"/v2/models/{name}/infer", json=BODY)
            assert reply.json()["outputs"][0]["data"] == [2.0, 4.0], reply.text
            assert "fairlead-prediction-id" in reply.headers, "recording is on"
        (trouble,) = client.get("/readyz").json()["troubles"]
        assert "pair version 1: record.exclude names 'zzz'" in trouble
    loaded = {event["endpoint"]: event["batch_rows"] for event in up.events if event["event"] == "loaded"}
    assert loaded["pair"] <= 8
    state = plugins.load("fairlead.state", "sql")(f"sqlite:///{environment['FAIRLEAD_HOME']}/state.db")
    split = TrafficSplit("pair", "pair", (Share("1", "champion", 100),), salt="s")
    state.put("split", "pair", to_body(split), 0)
    timeline.write(state, Happening("pair", "drift", "x drifts", int(time.time() * 1000)))
    ends = time.monotonic() + 30
    while state.holder("controller") is None and time.monotonic() < ends:
        time.sleep(0.1)
    leader = state.holder("controller")
    assert leader is not None, up.lines
    state.close()
    code, told = status(run)
    assert code == 0
    assert (told["running"], told["server"]["url"], told["server"]["ready"]) == (True, url, True)
    rows = {row["name"]: row for row in told["endpoints"]}
    assert (rows["pair"]["versions"], rows["pair"]["state"], rows["pair"]["split"][0]["weight"]) == (
        ["1"],
        "ready",
        100,
    )
    assert rows["plain"]["split"] == []
    assert told["controller"] == leader.owner
    assert [one["text"] for one in told["alerts"]] == ["x drifts"]
    text = run("status", "fairlead.yaml").stdout
    for word in (url, "ready", "pair", "plain", "1 100%", f"controller: {leader.owner}", "x drifts"):
        assert word in text

    second = run("up")
    assert second.returncode == 1
    assert f"process {up.popen.pid}, {url}" in second.stderr
    below = children(up.popen.pid)
    assert len(below) == (0 if workers == 1 else workers) + 1  # the controller
    assert up.stop(number) == 0, up.lines
    assert not [pid for pid in below if alive(pid)]
    code, told = status(run)
    assert (code, told["running"], told["problem"]) == (1, False, "nothing runs")
    events = plugins.load("fairlead.events", "parquet")(f"{environment['FAIRLEAD_HOME']}/events").frame("pair")
    assert len(events["version"]) == 1
    assert not [name for name in events if name.endswith("x")], "x is never kept"


@pytest.mark.slow
def test_a_server_that_was_killed_makes_room(run: Any, start: Any, doubler: Path, tmp_path: Path) -> None:
    (tmp_path / "fairlead.yaml").write_text("server: {port: 0}\nendpoints: {plain: {model: ./doubler.onnx}}")
    first = start("up")
    first.url()
    first.popen.kill()
    first.popen.wait()
    assert status(run)[1]["problem"] == "nothing runs"
    second = start("up", "fairlead.yaml")
    second.url()
    assert second.stop() == 0


def test_init_prints_a_spec_that_can_be_served(run: Any, registered: None, tmp_path: Path) -> None:
    told = run("init")
    assert "model: models:/pair@champion" in told.stdout
    (tmp_path / "fairlead.yaml").write_text(told.stdout)
    checked = run("up", "--check")
    assert (checked.returncode, checked.stdout) == (0, "fairlead.yaml can be served: pair\n"), checked.stderr
    assert json.loads(run("init", "--json").stdout) == {"endpoints": {"pair": {"model": "models:/pair@champion"}}}
    assert json.loads(run("init", "--schema").stdout)["title"] == "Fairlead spec"


def test_init_in_an_empty_home_makes_nothing(run: Any, tmp_path: Path) -> None:
    assert "model: models:/churn@champion" in run("init").stdout
    told = run("status")
    assert told.returncode == 1
    assert "that `fairlead up` started" in told.stdout
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("endpoints: {a: {model: ./doubler.onnx, max_row: 1}}", 2, "fairlead.yaml:1: endpoints.a.max_row is not known"),
        ("endpoints: {a: {model: 'models:/m@a', rollout: {steps: [9, 5]}}}", 2, "steps [9.0, 5.0] must grow"),
        ("endpoints: {a: {model: ./none.onnx}}", 1, "none.onnx: no such file"),
        ("server: {tls: {cert: none.pem}}\nendpoints: {a: {model: ./doubler.onnx}}", 2, "none.pem"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    run: Any, doubler: Path, tmp_path: Path, text: str, code: int, said: str
) -> None:
    (tmp_path / "fairlead.yaml").write_text(text)
    told = run("up", "--json")
    assert told.returncode == code, told.stderr
    assert said in json.loads(told.stdout)["error"]
    assert "Traceback" not in told.stderr


@pytest.mark.slow
@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_status_over_https_and_a_worker_that_crashed(run: Any, start: Any, doubler: Path, tmp_path: Path) -> None:
    make = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=model.example -keyout mine.key -out mine.pem"
    subprocess.run([str(OPENSSL), *make.split()], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "fairlead.yaml").write_text(
        "record: false\nserver: {port: 0, workers: 2, tls: {cert: mine.pem, key: mine.key}}\n"
        "endpoints: {plain: {model: ./doubler.onnx}}"
    )
    up = start("up")
    assert up.url(60).startswith("https://")
    assert status(run)[0] == 0, "the certificate is for another name, and its own authority"
    os.kill(children(up.popen.pid)[0], signal.SIGKILL)
    ends = time.monotonic() + 30
    while sum(event["event"] == "worker started" for event in up.events) < 3:
        assert time.monotonic() < ends, up.lines
        time.sleep(0.05)
    assert status(run)[1]["endpoints"][0]["versions"] == ["1"]
    assert [event["why"] for event in up.events if event["event"] == "not recording"] == ["the spec says so"]
    assert up.stop() == 0
