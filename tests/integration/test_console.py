"""The console as a process beside a real server: started at the first visit, streamed, started again, ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

FAIRLEAD = [sys.executable, "-P", "-m", "fairlead"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """y = 2 x."""
    shown = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in ("x", "y")]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1], np.array([2.0], np.float32))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", shown[:1], shown[1:], [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, tmp_path / "double.onnx")
    return tmp_path / "double.onnx"


@contextmanager
def running(*words: str, home: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLEAD_")}
    command = [*FAIRLEAD, *words, "--home", str(home), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ)
    try:
        text = ""
        assert process.stdout is not None
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, f"it ended: {text}"
            text += line
        yield json.loads(text)["url"], process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def call(url: str) -> httpx.Response:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [2.0]}
    return httpx.post(f"{url}/v2/models/double/infer", json={"inputs": [tensor]})


def console_pids(home: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"console" in words and str(home / "console.sock").encode() in words:
                found.append(int(entry.name))
    return found


def until(what: object, seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.05)


@pytest.mark.slow
def test_it_lives_beside_the_server_and_ends_with_it(tmp_path: Path, model: Path) -> None:
    home = tmp_path / "home"
    with running("serve", f"double={model}", "--record", home=home) as (url, server):
        assert not console_pids(home), "nobody visited"
        assert call(url).json()["outputs"][0]["data"] == [4.0]
        page = httpx.get(f"{url}/console", timeout=30)
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        until(lambda: [row["calls"] for row in _operations(url)] == [1])
        (pid,) = console_pids(home)
        assert (home / "console.sock").stat().st_mode & 0o777 == 0o600
        with httpx.stream("GET", f"{url}/console/events", timeout=30) as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            assert next(events.iter_lines()) == "retry: 3000"
        _tried(url, page)
        asset = re.search(r'href="(/console/assets/console.css\?\w+)"', page.text)
        assert asset is not None
        styles = httpx.get(url + asset[1])
        assert "immutable" in styles.headers["cache-control"]
        assert styles.text.startswith(":root")
        large = httpx.post(f"{url}/console/endpoints/double/try", content=b"a=" + b"x" * (3 * 2**20))
        assert large.status_code == 413
        os.kill(pid, signal.SIGKILL)
        until(lambda: httpx.get(f"{url}/console", timeout=30).status_code == 200)
        assert console_pids(home) != [pid]
        assert call(url).status_code == 200
        with httpx.stream("GET", f"{url}/console/events", timeout=30) as events:  # it does not keep the server
            next(events.iter_lines())
            began = time.monotonic()
            server.send_signal(signal.SIGTERM)
            server.wait(20)
        assert time.monotonic() - began < 10
    until(lambda: not console_pids(home))


def _operations(url: str) -> list[dict[str, object]]:
    return [row["operations"] for row in httpx.get(f"{url}/console.json", timeout=30).json()["rows"]]


def _tried(url: str, _page: httpx.Response) -> None:
    """The model is called by the form, and answers what it answers."""
    with httpx.Client(base_url=url, timeout=30) as browser:
        form = browser.get("/console/endpoints/double/try")
        token = re.search(r'name="token" value="([^"]+)"', form.text)
        assert token is not None
        assert 'name="v.0.0"' in form.text
        told = browser.post("/console/endpoints/double/try", data={"token": token[1], "v.0.0": "21", "do": "call"})
        assert told.status_code == 200
        assert "42.0" in told.text
        twin = browser.post("/console/endpoints/double/try.json", data={"token": token[1], "v.0.0": "21"})
        assert json.loads(twin.json()["reply"])["outputs"][0]["data"] == [42.0]
        assert {one["name"] for one in twin.json()["timing"]} >= {"queue", "compute"}
        wrong = browser.post("/console/endpoints/double/try", data={"token": token[1], "v.0.0": "many"})
        assert wrong.status_code == 400
        assert "expected a number" in wrong.text
        for text in ("nan", "1e999"):
            wrong = browser.post("/console/endpoints/double/try", data={"token": token[1], "v.0.0": text})
            assert wrong.status_code == 400
            assert "JSON has no number for" in wrong.text
        assert browser.post("/console/endpoints/double/try", data={"v.0.0": "21"}).status_code == 403


@pytest.mark.slow
def test_with_access_it_shows_itself_to_keys_alone(tmp_path: Path, model: Path) -> None:
    home = tmp_path / "home"
    keys = {}
    for name, scope in (("looks", "console:read"), ("acts", "console:write"), ("calls", "double:predict")):
        words = [*FAIRLEAD, "keys", "create", "--name", name, "--scope", scope, "--home", str(home), "--json"]
        keys[name] = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)["key"]
    with running("serve", f"double={model}", "--record", "--access", home=home) as (url, _):
        assert httpx.get(f"{url}/console.json", timeout=30).status_code == 401
        sent = httpx.get(f"{url}/console?x=1", timeout=30)
        assert (sent.status_code, sent.headers["location"]) == (303, "/console/login?to=%2Fconsole%3Fx%3D1")
        for name, status in (("looks", 200), ("acts", 200), ("calls", 403)):
            shown = {"authorization": f"Bearer {keys[name]}"}
            assert httpx.get(f"{url}/console.json", headers=shown, timeout=30).status_code == status
        with httpx.Client(base_url=url, timeout=30) as browser:
            token = re.search(r'name="token" value="([^"]+)"', browser.get("/console/login").text)
            assert token is not None
            form = {"token": token[1], "key": keys["looks"], "to": "/console"}
            assert browser.post("/console/login", data=form).status_code == 303
            assert browser.get("/console").status_code == 200
            words = [*FAIRLEAD, "keys", "revoke", "looks", "--home", str(home)]
            subprocess.run(words, capture_output=True, check=True)
            until(lambda: browser.get("/console").status_code == 303, 5)


@pytest.mark.slow
def test_it_runs_alone_and_several_workers_share_one(tmp_path: Path, model: Path) -> None:
    home = tmp_path / "home"
    with running("serve", f"double={model}", "--record", "--workers", "2", home=home) as (url, _):
        until(lambda: httpx.get(f"{url}/console", timeout=30).status_code == 200)
        for _ in range(8):
            assert httpx.get(f"{url}/console.json", timeout=30).status_code == 200
        assert len(console_pids(home)) == 1
        call(url)
        with running("console", "--server", url, home=home) as (own, _):
            until(lambda: len(httpx.get(f"{own}.json", timeout=30).json()["rows"]) == 1)
            page = f"{own}/endpoints/double.json"
            until(lambda: httpx.get(page, timeout=30).status_code == 200)  # 503 while a busy machine opens its stores
            inside = httpx.get(page, timeout=30).json()["inside"]
            assert inside["url"] == url
            assert inside["batch_rows"][0] == 1
