"""``fairlead serve --executor process``: how its processes end, and who gets one unasked."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pickle
import signal
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

MINE = """
import os, time
class Slow:
    inputs = (("x", "FP64", (-1, 1)),)
    outputs = (("y", "FP64", (-1, 1)),)
    def predict(self, inputs):
        if (inputs["x"] < 0).any():
            time.sleep(30)
        time.sleep(0.3)
        return {"y": inputs["x"] * 2}
"""


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(one) for task in tasks.iterdir() for one in (task / "children").read_text().split()]


def gone(pid: int, seconds: float = 10.0) -> bool:
    ends = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > ends:
            return False
        time.sleep(0.02)
    return True


def ask(url: str, value: float) -> list[float]:
    """The answer to one row, without a client that takes its time to begin."""
    body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [value]}]}
    with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as link:
        link.request("POST", "/v2/models/slow/infer", json.dumps(body), {"content-type": "application/json"})
        answer: list[float] = json.loads(link.getresponse().read())["outputs"][0]["data"]
        return answer


def ask_in_vain(url: str, value: float) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(url, value)


@pytest.fixture
def serve(start, tmp_path: Path):
    (tmp_path / "mine.py").write_text(MINE)

    def begin(*words: str):
        process = start("serve", "slow=mine:Slow", "--port", "0", "--executor", "process", *words)
        return process, process.url()

    return begin


def test_what_runs_is_answered_before_the_processes_end(serve) -> None:
    process, url = serve("--processes", "2")
    own = children(process.popen.pid)
    assert len(own) == 2
    found: list[list[float]] = []
    asking = [threading.Thread(target=lambda value=value: found.append(ask(url, value))) for value in (1.0, 2.0, 3.0)]
    for one in asking:
        one.start()
    time.sleep(0.15)
    for pid in own:  # as a service's stop does: to every process of it
        os.kill(pid, signal.SIGTERM)
    assert process.stop() == 0
    for one in asking:
        one.join()
    assert sorted(found) == [[2], [4], [6]]
    assert all(gone(pid) for pid in own)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a batch"])
def test_a_server_that_is_killed_takes_its_processes_along(serve, busy: bool) -> None:
    process, url = serve()
    (pid,) = children(process.popen.pid)
    if busy:
        threading.Thread(target=ask_in_vain, args=(url, -1.0)).start()
        time.sleep(0.2)
    process.popen.kill()
    assert gone(pid, 3)


def test_metrics_health_and_restart(serve) -> None:
    process, url = serve()
    (pid,) = children(process.popen.pid)
    os.kill(pid, signal.SIGKILL)
    assert ask(url, 4.0) == [8.0]
    text = httpx.get(f"{url}/metrics").text
    assert 'fairlead_model_process_restarts_total{endpoint="slow",reason="crashed",version="1"} 1.0' in text
    assert 'fairlead_model_processes{endpoint="slow",version="1"} 1.0' in text
    (line,) = [one for one in text.splitlines() if one.startswith("fairlead_model_processes_resident_bytes{")]
    assert float(line.split()[1]) > 10e6
    assert "fairlead_event_loop_stall_seconds_count" in text
    (lost,) = [event for event in process.events if event["event"] == "model process lost"]
    assert (lost["pid"], lost["how"], lost["endpoint"]) == (pid, "SIGKILL", "slow")
    assert process.stop() == 0


def test_a_pickle_is_never_loaded_in_the_server(start, tmp_path: Path) -> None:
    model = LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([0.0, 2.0]))
    (tmp_path / "line.pkl").write_bytes(pickle.dumps(model))
    process = start("serve", "line=./line.pkl", "--port", "0", "--trust-pickle")
    url = process.url()
    (loaded,) = [event for event in process.events if event["event"] == "loaded"]
    assert loaded["executor"] == "process"
    assert "sklearn" not in Path(f"/proc/{process.popen.pid}/maps").read_text()
    (pid,) = children(process.popen.pid)
    assert "sklearn" in Path(f"/proc/{pid}/maps").read_text()
    name = httpx.get(f"{url}/v2/models/line").json()["inputs"][0]["name"]
    body = {"inputs": [{"name": name, "shape": [1, 1], "datatype": "FP64", "data": [3.0]}]}
    assert httpx.post(f"{url}/v2/models/line/infer", json=body).json()["outputs"][0]["data"] == pytest.approx([6.0])
    assert process.stop() == 0
    assert gone(pid)


def test_a_model_that_does_not_load_ends_the_server_with_its_sentence(start, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Bad:\n    def load(self, path):\n        raise OSError('no weights')\n"
                                      "    def predict(self, inputs):\n        return inputs\n")  # fmt: skip
    process = start("serve", "bad=mine:Bad", "--port", "0", "--executor", "process")
    assert process.popen.wait(20) == 1
    assert "fairlead: mine:Bad failed to load: OSError: no weights" in process.lines


def test_every_worker_has_its_own(start, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    process = start("serve", "slow=mine:Slow", "--port", "0", "--executor", "process", "--workers", "2")
    url = process.url()
    own = [pid for worker in children(process.popen.pid) for pid in children(worker)]
    assert len(own) == 2
    assert ask(url, 1.0) == [2.0]
    assert 'fairlead_model_processes{endpoint="slow",version="1"} 2.0' in httpx.get(f"{url}/metrics").text
    assert process.stop() == 0
    assert all(gone(pid) for pid in own)
