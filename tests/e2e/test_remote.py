"""``fairlead serve NAME=oip+http://...`` and ``upstream:`` in a spec: a server in front of servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}


def grpc(process: Any) -> str:
    return str(next(event["address"] for event in process.events if event["event"] == "grpc"))


def data(url: str, name: str) -> Any:
    reply = httpx.post(f"{url}/v2/models/{name}/infer", json=BODY, timeout=10)
    assert reply.status_code == 200, reply.text
    return reply.json()["outputs"][0]["data"]


@pytest.mark.slow
def test_over_both_protocols_with_one_address_dying(start: Any, run: Any, doubler: Path, tmp_path: Path) -> None:
    behind = [start("serve", str(doubler), "--port", "0", "--grpc-port", "0") for _ in range(2)]
    urls = [one.url() for one in behind]
    front = start("serve", f"d=oip+{urls[0]},{urls[1].removeprefix('http://')}/doubler", "--port", "0")
    url = front.url()
    told = httpx.get(f"{url}/v2/models/d").json()
    there = httpx.get(f"{urls[0]}/v2/models/doubler").json()
    assert (told["inputs"], told["outputs"], told["versions"]) == (there["inputs"], there["outputs"], ["upstream"])
    assert data(url, "d") == [2.0, 4.0]
    wrong = httpx.post(f"{url}/v2/models/d/infer", json={"inputs": [{**BODY["inputs"][0], "shape": [2, 1]}]})
    assert wrong.status_code == 400
    (tmp_path / "f.yaml").write_text(
        f"""
server: {{port: 0, workers: 2}}
endpoints:
  d:
    upstream:
      urls: ["grpc://{grpc(behind[0])}", "{urls[1]}"]
      model: doubler
      eject: {{failures: 1}}
    record: {{days: 1}}
    monitor: {{season: day}}
"""
    )
    up = start("up", "f.yaml")
    second = up.url()
    assert data(second, "d") == [2.0, 4.0]
    assert behind[1].stop(9) == -9
    for _ in range(20):
        assert data(url, "d") == [2.0, 4.0]
        assert data(second, "d") == [2.0, 4.0]
    text = httpx.get(f"{url}/metrics").text
    label = f'address="{urls[0]}",endpoint="d",outcome="ok",version="upstream"'
    assert f"fairlead_upstream_requests_total{{{label}}}" in text
    assert behind[0].stop() == 0
    gone = httpx.post(f"{url}/v2/models/d/infer", json=BODY, timeout=10)
    assert gone.status_code == 503
    assert int(gone.headers["retry-after"]) >= 1
    assert front.stop() == 0
    assert up.stop() == 0


def test_what_is_wrong_with_it_is_one_sentence(run: Any, tmp_path: Path) -> None:
    told = run("serve", "d=oip+http://127.0.0.1:9/m", "--port", "0", "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["code"] == "unavailable"
    assert "http://127.0.0.1:9" in told.stdout
    told = run("serve", "d=oip+http://127.0.0.1:9", "--port", "0")
    assert told.returncode == 2
    assert "names no model on a server; write it as oip+http://" in told.stderr
    told = run("doctor", "oip+http://127.0.0.1:9/m")
    assert told.returncode == 2
    assert "only `fairlead serve` and `fairlead up` ask it" in told.stderr
    assert "Traceback" not in told.stderr
