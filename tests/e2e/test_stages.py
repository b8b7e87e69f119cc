"""Bounds, limits, breaker, fallbacks and chaos of one endpoint together: in which order, and charged how often."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

PARTS = """
import os
import time
from pathlib import Path

HERE = Path(__file__).parent


class Sum:
    inputs = [("x", "FP64", [-1, 2])]
    outputs = [("y", "FP64", [-1])]

    def predict(self, inputs):
        if (HERE / "broken").exists():
            raise ValueError("told to fail")
        if (HERE / "hang").exists():
            time.sleep(1)
        return {"y": inputs["x"].sum(axis=1)}


class Small(Sum):
    def predict(self, inputs):
        return {"y": inputs["x"][:, 0] * 0}
"""
ENDPOINTS = {
    "plain": 'model: "parts:Sum"',
    "tried": 'model: "parts:Sum", resilience: {retries: 2, retry_on: [unavailable, model_failed], breaker: {}}',
    "fallen": 'model: "parts:Sum", resilience: {breaker: {}, fallback: [cache, {endpoint: small}]}',
    "graph": (
        "graph: {inputs: {x: {datatype: FP64, shape: [-1, 2]}}, outputs: {y: s.y}, "
        "steps: {s: {endpoint: inner, take: {x: x}}}}"
    ),
}
LIMITED = "access: {rate: 3/hour burst 3, concurrency: 2}, bounds: {rows: 2}"
INNER = """
  inner: {model: "parts:Sum", access: {rate: 1/hour burst 1}}
  small: {model: "parts:Small", access: {rate: 1/hour burst 1}}
"""


def ask(url: str, endpoint: str, rows: int = 1, timeout_ms: int = 5000) -> httpx.Response:
    data = [1.0, 2.0] * rows
    body = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [rows, 2], "data": data}]}
    headers = {"x-request-timeout-ms": str(timeout_ms)}
    return httpx.post(f"{url}/v2/models/{endpoint}/infer", json=body, headers=headers, timeout=30)


@pytest.fixture
def up(start, tmp_path: Path, environment):
    (tmp_path / "parts.py").write_text(PARTS)

    def begin(endpoints: str, name: str = "fairlead", server: str = "") -> str:
        spec = tmp_path / f"{name}.yaml"
        spec.write_text(f"server: {{port: 0{server}}}\nrecord: false\nendpoints:\n{endpoints}")
        return start("up", str(spec), "--home", str(tmp_path / f"home-{name}")).url()

    return begin


def test_what_is_out_of_bounds_costs_nothing_and_a_call_is_charged_once(up, tmp_path: Path) -> None:
    url = up("".join(f"  {name}: {{{what}, {LIMITED}}}\n" for name, what in ENDPOINTS.items()) + INNER)
    far = up(
        f"  far: {{upstream: {{urls: ['{url}'], model: plain}}, resilience: {{fallback: [{{value: {{y: 0.5}}}}]}}, "
        f"{LIMITED}}}\n",
        "far",
    )
    for name in ENDPOINTS:
        assert [ask(url, name, 3).status_code for _ in range(5)] == [413] * 5, name
    assert [ask(far, "far", 3).status_code for _ in range(5)] == [413] * 5
    for name in ("tried", "fallen", "graph"):
        assert [ask(url, name).status_code for _ in range(4)] == [200, 200, 200, 429], name
    answers = [ask(far, "far") for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert [one.headers.get("fairlead-degraded") for one in answers] == [None] * 4
    assert ask(url, "plain").status_code == 429, "the upstream charged each once, too"


def test_who_stands_in_charges_nobody_and_each_outcome_gives_its_flight_back(up, tmp_path: Path) -> None:
    url = up(
        '  m: {model: "parts:Sum", executor: thread, access: {concurrency: 1}, '
        "resilience: {breaker: {fail_max: 3, cooldown: 60s}, fallback: [{endpoint: small}]}}\n" + INNER
    )
    (tmp_path / "hang").touch()
    assert [ask(url, "m", timeout_ms=300).headers.get("fairlead-degraded") for _ in range(2)] == ["endpoint:small"] * 2
    (tmp_path / "hang").unlink()
    (tmp_path / "broken").touch()
    said = [ask(url, "m") for _ in range(8)]
    assert [(one.status_code, one.headers.get("fairlead-degraded")) for one in said] == [(200, "endpoint:small")] * 8
    assert "its breaker is open" in httpx.get(f"{url}/readyz").text
    assert [ask(url, "small").status_code for _ in range(2)] == [200, 429], "its own callers are charged"
