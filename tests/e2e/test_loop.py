"""Rollouts as a user runs them: by hand, under traffic, with a controller that is killed. The loop: test_story.py."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

PREDICT = "/v2/models/pair/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}

SPEC = """\
project: test
state: sqlite:///elsewhere.db
server: {port: 0}
endpoints:
  pair:
    model: models:/pair@champion
    record: {window_seconds: 1}
    rollout:
      steps: [50, 100]
      gates: [{name: error_rate, margin: 0.05}]
      min_calls: 50
      min_seconds: 1
      settle_seconds: 0.5
"""


class Traffic:
    """Calls from a thread until the block ends. ``failed``: what was not answered."""

    def __init__(self, url: str) -> None:
        self.versions: list[str] = []
        self.failed: list[str] = []
        self._url, self._stop = url, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._url) as client:
            while not self._stop.is_set():
                reply = client.post(PREDICT, json=BODY)
                if reply.status_code == 200:
                    self.versions.append(reply.headers["fairlead-version"])
                else:
                    self.failed.append(reply.text)


@pytest.fixture
def up(start: Any, run: Any, doubler: Path, tmp_path: Path) -> Any:
    for alias in (["--alias", "champion"], []):
        told = run("models", "log", str(doubler), "--name", "pair", *alias)
        assert told.returncode == 0, told.stderr
    (tmp_path / "fairlead.yaml").write_text(SPEC)
    return start("up")


def controller(process: Any, seconds: float = 30.0) -> int:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        started = [one for one in process.events if one["event"] == "companion started"]
        if started:
            return int(started[-1]["pid"])
        time.sleep(0.05)
    raise AssertionError("no controller:\n" + "\n".join(process.lines))


@pytest.mark.slow
def test_a_rollout_under_traffic_with_a_controller_that_is_killed(up: Any, run: Any) -> None:
    with Traffic(up.url()) as traffic:
        pid = controller(up)
        for words, code, said in (
            (["--to", "9"], 1, "9"),
            (["--to", "1"], 2, "champion already"),
            (["--to", "2", "--steps", "50,20"], 2, "must grow"),
            (["--to", "2", "--gate", "errors"], 2, "not known"),
        ):
            refused = run("rollout", "start", "pair", *words)
            assert (refused.returncode, said in refused.stderr) == (code, True), refused.stderr
        begun = run("rollout", "start", "pair", "--to", "2", "--min-seconds", "4", "--json")
        assert begun.returncode == 0, begun.stderr
        os.kill(pid, signal.SIGKILL)
        watched = run("rollout", "watch", "pair", "--json", seconds=90.0)
        assert watched.returncode == 0, watched.stdout + watched.stderr
        assert json.loads(watched.stdout)["phase"] == "done"
        late = run("rollout", "abort", "pair")
        assert late.returncode == 1
        assert "no rollout runs" in late.stderr
        time.sleep(1.0)
    assert traffic.failed == []
    assert traffic.versions[0] == "1"
    assert traffic.versions[-1] == "2"
    moves = json.loads(run("models", "history", "pair", "--json").stdout)
    moves = moves if isinstance(moves, list) else moves["moves"]
    assert (moves[-1]["before"], moves[-1]["after"]) == ("1", "2")
    assert up.stop() == 0


@pytest.mark.slow
def test_a_rollout_is_paused_resumed_and_aborted(up: Any, run: Any) -> None:
    with Traffic(up.url()) as traffic:
        begun = run("rollout", "start", "pair", "--to", "2", "--min-seconds", "600")
        assert begun.returncode == 0, begun.stderr
        again = run("rollout", "start", "pair", "--to", "2")
        assert again.returncode == 1
        assert "a rollout runs" in again.stderr
        assert run("rollout", "pause", "pair", "--why", "lunch").returncode == 0
        wait_for(run, "paused")
        assert run("rollout", "resume", "pair").returncode == 0
        wait_for(run, "canary")
        assert run("rollout", "abort", "pair", "--why", "no").returncode == 0
        wait_for(run, "aborted")
        time.sleep(1.5)
        assert traffic.versions[-1] == "1"
    assert traffic.failed == []
    told = run("timeline", "pair")
    assert "lunch" in told.stdout


def wait_for(run: Any, phase: str, seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    found: list[dict[str, Any]] = []
    while time.monotonic() < ends:
        found = json.loads(run("rollout", "list", "--json").stdout)
        if found[0]["phase"] == phase:
            return
    raise AssertionError(f"not {phase}: {found}")
