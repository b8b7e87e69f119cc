"""Limits as callers meet them: a real server, its workers, its restarts, and a Redis that goes away."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tests import services
from tritonclient.grpc import service_pb2, service_pb2_grpc

MODEL = """
class Sum:
    inputs = (("x", "FP64", (-1, 2)),)
    outputs = (("y", "FP64", (-1,)),)

    def load(self, path):
        pass

    def predict(self, inputs):
        return {"y": inputs["x"].sum(axis=1)}
"""
BODY = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]}
INFER = "/v2/models/churn/infer"


@pytest.fixture
def up(start, tmp_path: Path, environment):
    (tmp_path / "mine.py").write_text(MODEL)
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n3,4\n")

    def begin(access: str, *, top: str = "{}", workers: int = 1, more: str = "", name: str = "fairlead"):
        spec = tmp_path / f"{name}.yaml"
        spec.write_text(
            f"server: {{port: 0, workers: {workers}, grpc_port: 0}}\nrecord: false\naccess: {top}\n{more}\n"
            f"endpoints:\n  churn:\n    model: mine:Sum\n    access: {access}\n"
        )
        process = start("up", str(spec), "--home", str(tmp_path / f"home-{name}"))
        return process, process.url()

    return begin


def key(run, tmp_path: Path, *words: str, name: str = "fairlead") -> dict[str, str]:
    made = run("keys", "create", "--scope", "churn:*", *words, "--json", "--home", str(tmp_path / f"home-{name}"))
    assert made.returncode == 0, made.stderr
    return {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}


def ask(url: str, headers: dict[str, str] | None = None, times: int = 1) -> Counter[int]:
    """Each on a connection of its own, so that every worker is asked."""
    return Counter(httpx.post(url + INFER, json=BODY, headers=headers, timeout=30).status_code for _ in range(times))


class Load:
    """Callers on kept connections, until ``stop``: what they heard, and when the first and the last was let in."""

    def __init__(self, urls: list[str], every: float, connections: int = 4) -> None:
        self.statuses: Counter[Any] = Counter()
        self.times: list[float] = []
        self._ends, self._every = threading.Event(), every
        self._threads = [
            threading.Thread(target=self._ask, args=(url,), daemon=True) for url in urls for _ in range(connections)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not self._ends.wait(self._every):
                began = time.monotonic()
                try:
                    status: Any = client.post(INFER, json=BODY).status_code
                except httpx.HTTPError as error:
                    status = repr(error)
                self.statuses[status] += 1
                if status == 200:
                    self.times += began, time.monotonic()

    def stop(self) -> tuple[int, float]:
        """How many were let in, and in how many seconds."""
        self._ends.set()
        for thread in self._threads:
            thread.join(30)
        assert set(self.statuses) <= {200, 429}, self.statuses
        return self.statuses[200], max(self.times) - min(self.times)


def alone(urls: list[str]) -> float:
    """Calls that servers decided without Redis."""
    texts = [httpx.get(url + "/metrics", timeout=30).text for url in urls]
    found = [re.search(r'fairlead_limits_shared_calls_total\{counted="alone"\} ([\d.e+]+)', text) for text in texts]
    return sum(float(one[1]) for one in found if one)


def metrics(url: str, known: dict[str, str]) -> str:
    """What was measured, told to a key that was made just now: every worker knows it within a second."""
    until = time.monotonic() + 10
    while (answer := httpx.get(url + "/metrics", headers=known, timeout=30)).status_code == 401:
        assert time.monotonic() < until
        time.sleep(0.1)
    return answer.text


@pytest.mark.parametrize("workers", [1, 2])
def test_a_keys_limits_hold_over_all_workers_and_a_restart(up, run, tmp_path: Path, workers: int) -> None:
    shop = key(run, tmp_path, "--name", "shop", "--quota", "6/month", "--rate", "100/s")
    other = key(run, tmp_path, "--name", "other", "--rate", "1/hour")
    process, url = up("{}", top="{required: true}", workers=workers)
    assert ask(url, other, 4) == {200: 1, 429: 3}
    assert ask(url, shop, 4) == {200: 4}
    wide = httpx.post(url + "/v1/models/churn:predict", json={"instances": [[1, 2]]}, headers=shop)
    assert wide.status_code == 200
    process.stop()
    process, url = up("{}", top="{required: true}", workers=workers)
    assert ask(url, shop, 3) == {200: 1, 429: 2}
    text = metrics(url, key(run, tmp_path, "--name", "ops", "--scope", "*:*"))
    assert re.search(r'fairlead_limited_total\{endpoint="churn",limit="quota",scope="key"\} 2\.0', text)
    process.stop(signal.SIGKILL)


def test_every_protocol_is_told_in_its_own_shape(up, run, tmp_path: Path) -> None:
    shop = key(run, tmp_path, "--name", "shop", "--rate", "1/min")
    process, url = up("{}", top="{required: true}")
    first = httpx.post(url + INFER, json=BODY, headers=shop)
    assert first.headers["ratelimit-policy"] == '"key-requests-min";q=1;w=60'
    assert first.headers["ratelimit"] == '"key-requests-min";r=0;t=60'
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    for path, body, where in (
        (INFER, BODY, ("error",)),
        ("/v1/models/churn:predict", {"instances": [[1, 2]]}, ("error",)),
        ("/v1/models/churn:explain", {"instances": [[1, 2]]}, ("error",)),
        ("/invocations", {"inputs": [[1, 2]]}, ("message",)),
    ):
        answer = httpx.post(url + path, json=body, headers=shop)
        assert answer.status_code == 429, answer.text
        assert 50 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        told = answer.json()
        for name in where:
            told = told[name]
        assert re.match(r"over the limit of this key: 1 requests/min, 1 in a burst; try again in \d+\.\d{3} s", told)
    grpc_port = next(one["address"] for one in process.events if one["event"] == "grpc")
    with grpc.insecure_channel(str(grpc_port)) as channel:
        request = service_pb2.ModelInferRequest(model_name="churn")
        request.inputs.add(name="x", datatype="FP64", shape=[1, 2]).contents.fp64_contents.extend([1, 2])
        with pytest.raises(grpc.RpcError) as refused:
            service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, metadata=list(shop.items()))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailers = {pair.key: pair.value for pair in refused.value.trailing_metadata()}
    assert 50 <= int(trailers["retry-after"]) <= 60
    assert trailers["ratelimit-policy"] == '"key-requests-min";q=1;w=60'


def test_a_larger_call_than_a_burst_is_never_told_to_come_again(up) -> None:
    _, url = up("{rows: 2/s}")
    body = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [3, 2], "data": [1] * 6}]}
    answer = httpx.post(url + INFER, json=body)
    assert answer.status_code == 429
    assert "retry-after" not in answer.headers
    assert "this call has 3 rows" in answer.json()["error"]


def test_workers_share_one_limit_exactly(up) -> None:
    process, url = up("{rate: 40/s, burst: 10}", workers=2)
    load = Load([url], 0.02)
    time.sleep(3)
    let_in, seconds = load.stop()
    assert 0.9 * 40 * seconds < let_in <= 40 * seconds + 10
    assert load.statuses[429] > 0
    process.stop()


@pytest.fixture
def redis() -> Iterator[services.Service]:
    with services.redis() as found:
        yield found


def test_two_servers_share_a_limit_through_redis_and_go_on_without_it(up, redis) -> None:
    more = f"redis: redis://127.0.0.1:{redis.port}/0"
    servers = [up("{rate: 40/s, burst: 10}", workers=2, more=more, name=name) for name in ("a", "b")]
    urls = [url for _, url in servers]
    rate, burst, allow = 40, 10, 1.01
    load = Load(urls, 0.05)
    time.sleep(3)
    let_in, seconds = load.stop()
    # where this machine is so busy that Redis is late, a server says so, and its bound is that of a Redis that is away
    servers_now = 1 if alone(urls) == 0 else 2
    assert 0.9 * rate * seconds < let_in <= allow * servers_now * (rate * seconds + burst)

    load = Load(urls, 0.05)
    time.sleep(0.5)
    redis.kill()
    time.sleep(2)
    troubles = [httpx.get(url + "/readyz").text for url in urls]
    let_in, seconds = load.stop()  # no call fails
    assert let_in <= allow * (2 * (rate * seconds + burst) + burst), "each server has the whole limit"
    assert all("limits are not shared with other servers now" in text for text in troubles), troubles

    redis.start()
    ends = time.monotonic() + 10
    while any("not shared" in httpx.get(url + "/readyz").text for url in urls * 4) and time.monotonic() < ends:
        time.sleep(0.1)
    before = alone(urls)
    load = Load(urls, 0.05)
    time.sleep(2)
    let_in, seconds = load.stop()
    servers_now = 1 if alone(urls) == before else 2
    assert let_in <= allow * servers_now * (rate * seconds + burst)


def test_without_redis_a_closed_server_refuses_and_one_that_starts_so_still_starts(up) -> None:
    _, url = up("{rate: 40/s}", top="{when_down: closed}", more="redis: redis://:hunter2@127.0.0.1:1/0")
    answer = httpx.post(url + INFER, json=BODY)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "the store that counts them does not answer" in answer.json()["error"]
    assert "hunter2" not in httpx.get(url + "/readyz").text
