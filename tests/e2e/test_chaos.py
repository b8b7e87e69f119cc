"""``fairlead chaos`` on a real server: what clients see, and that nothing is left behind."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from crowd import until

MODEL = """
class Sum:
    inputs = (("x", "FP64", (-1, 2)),)
    outputs = (("y", "FP64", (-1,)),)
    def predict(self, inputs):
        return {"y": inputs["x"].sum(axis=1)}
"""
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}
PATH = "/v2/models/sum/infer"


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MODEL)
    return "sum=mine:Sum"


def answers(url: str, count: int, **headers: str) -> list[int | str]:
    """Statuses, each on a connection of its own; ``dropped`` for none."""
    found: list[int | str] = []
    for _ in range(count):
        try:
            found.append(httpx.post(f"{url}{PATH}", json=BODY, headers=headers, timeout=20).status_code)
        except httpx.RemoteProtocolError:
            found.append("dropped")
        except httpx.ReadError:
            found.append("dropped")
    return found


def injected(process: object) -> list[dict[str, object]]:
    return [event for event in process.events if event["event"] == "chaos begins"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_faults_reach_every_worker_and_end_with_the_command(start, run, mine: str, workers: str) -> None:
    server = start("serve", mine, "--port", "0", "--chaos", "--workers", workers)
    url = server.url()
    words = ("chaos", "sum", "--url", url, "--inject", "error:50%", "--inject", "drop:50%")
    began = time.monotonic()
    command = start(*words)
    until(lambda: len(injected(server)) == int(workers), "faults in every worker")
    assert set(answers(url, 30)) == {500, "dropped"}
    assert answers(url, 2, connection="close") != [200, 200], "the long way has them too"
    assert any("faults are injected" in one for one in httpx.get(f"{url}/readyz").json()["troubles"])
    second = run("chaos", "sum", "--url", url, "--inject", "error:1%", "--json")
    assert second.returncode == 1
    assert "--stop" in json.loads(second.stdout)["error"]
    assert command.stop(signal.SIGINT) == 0
    assert set(answers(url, 10)) == {200}
    assert time.monotonic() - began < 60
    assert 'fairlead_injected_faults_total{endpoint="sum",kind="error"}' in httpx.get(f"{url}/metrics").text


def test_a_command_that_is_killed_leaves_nothing_behind(start, mine: str) -> None:
    server = start("serve", mine, "--port", "0", "--chaos")
    url = server.url()
    command = start("chaos", "sum", "--url", url, "--inject", "error:100%")
    until(lambda: injected(server), "faults")
    assert answers(url, 2) == [500, 500]
    command.popen.kill()
    until(lambda: answers(url, 1) == [200], "no faults any more", 10)


def test_for_a_time_and_stopped_by_another(start, run, mine: str) -> None:
    url = start("serve", mine, "--port", "0", "--chaos").url()
    timed = run("chaos", "sum", "--url", url, "--inject", "slow:10ms:100%", "--for", "1s", "--json")
    assert json.loads(timed.stdout)["ended"] == "over"
    assert json.loads(timed.stdout)["calls"] == {}
    long = start("chaos", "sum", "--url", url, "--inject", "error:100%")
    until(lambda: answers(url, 1) == [500], "faults")
    assert run("chaos", "sum", "--url", url, "--stop").returncode == 0
    assert long.popen.wait(10) == 0
    assert answers(url, 1) == [200]


def test_the_process_of_a_model_is_killed_and_nobody_sees_it(start, run, mine: str) -> None:
    server = start("serve", mine, "--port", "0", "--chaos", "--executor", "process")
    url = server.url()
    command = start("chaos", "sum", "--url", url, "--inject", "oom:20%")
    until(lambda: injected(server), "faults")
    assert set(answers(url, 20)) == {200}
    command.stop(signal.SIGINT)
    text = httpx.get(f"{url}/metrics").text
    assert 'fairlead_model_process_restarts_total{endpoint="sum",reason="crashed",version="1"}' in text


def test_where_it_is_not_allowed(start, run, mine: str) -> None:
    url = start("serve", mine, "--port", "0").url()
    refused = run("chaos", "sum", "--url", url, "--inject", "error:1%")
    assert refused.returncode == 1
    assert "started without --chaos" in refused.stderr
    assert "chaos" not in httpx.get(f"{url}/readyz").text
    outside = run("serve", mine, "--port", "0", "--chaos", "--host", "0.0.0.0")
    assert outside.returncode == 2
    assert "--insecure" in outside.stderr


def test_wrong_use(run, mine: str) -> None:
    for words in (
        (),
        ("--inject", "boom:1%"),
        ("--inject", "error:1%", "--stop"),
        ("--inject", "error:1%", "--for", "soon"),
    ):
        assert run("chaos", "sum", *words).returncode in (1, 2)
    assert "cannot be reached" in run("chaos", "sum", "--url", "http://127.0.0.1:1", "--stop").stderr
