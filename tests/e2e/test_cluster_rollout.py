"""A rollout in a cluster: two servers, each of one arm, a route that shares calls out, a controller that shifts it."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from fairlead.testing.cluster import FakeCluster
from fairlead.testing.cluster_api import TOKEN, Api, kubeconfig, serving

PREDICT = "/v2/models/pair/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
SPEC = """server: {port: 0}
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
BACKENDS = [{"name": "pair-stable", "port": 80, "weight": 100}, {"name": "pair-canary", "port": 80, "weight": 0}]
ROUTE = {
    "kind": "HTTPRoute",
    "metadata": {"name": "pair", "labels": {"fairlead.dev/endpoint": "pair"}},
    "spec": {"rules": [{"backendRefs": BACKENDS}]},
}


class Gateway:
    """Sends calls to the two servers as the route says, from a thread until the block ends."""

    def __init__(self, cluster: FakeCluster, urls: dict[str, str]) -> None:
        self.versions: list[str] = []
        self.failed: list[str] = []
        self.seen: list[tuple[int, int]] = []
        self._cluster, self._urls, self._stop = cluster, urls, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def weights(self) -> tuple[int, int]:
        route = self._cluster.get("httproutes", "pair")
        assert route is not None
        stable, canary = route["spec"]["rules"][0]["backendRefs"]
        return stable["weight"], canary["weight"]

    def _run(self) -> None:
        clients = {name: httpx.Client(base_url=url) for name, url in self._urls.items()}
        while not self._stop.is_set():
            weights = self.weights()
            if weights not in self.seen[-1:]:
                self.seen.append(weights)
            name = random.choices(["champion", "candidate"], weights)[0]
            reply = clients[name].post(PREDICT, json=BODY)
            if reply.status_code == 200:
                self.versions.append(reply.headers["fairlead-version"])
            else:
                self.failed.append(reply.text)
        for client in clients.values():
            client.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(FakeCluster()) as api:
        api.cluster.request("POST", "/apis/gateway.networking.k8s.io/v1/namespaces/ml/httproutes", {}, dict(ROUTE))
        kubeconfig(tmp_path / "config", api.url)
        yield api


@pytest.fixture
def cluster(start: Any, run: Any, doubler: Path, tmp_path: Path, api: Api, environment: dict[str, str]) -> Any:
    """Two servers with homes of their own, and a controller, on one store and registry."""
    home = environment["FAIRLEAD_HOME"]
    for alias in (["--alias", "champion"], []):
        told = run("models", "log", str(doubler), "--name", "pair", *alias)
        assert told.returncode == 0, told.stderr
    (tmp_path / "fairlead.yaml").write_text(SPEC)
    shared = {"FAIRLEAD_STATE": f"sqlite:///{home}/state.db", "FAIRLEAD_TRACKING": f"sqlite:///{home}/mlflow.db"}
    urls = {
        arm: start("up", "--arm", arm, FAIRLEAD_HOME=str(tmp_path / arm), **shared) for arm in ("champion", "candidate")
    }
    controller = start("controller", "--target", "kubernetes", "--kubeconfig", "config")
    yield {arm: process.url() for arm, process in urls.items()}, controller
    lines = [line for process in (*urls.values(), controller) for line in process.lines]
    assert not [line for line in lines if TOKEN in line]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_promoted_and_rolled_back_by_the_weights_of_a_route(cluster: Any, api: Api, run: Any) -> None:
    urls, controller = cluster
    with Gateway(api.cluster, urls) as gateway:
        begun = run("rollout", "start", "pair", "--to", "2")
        assert begun.returncode == 0, begun.stderr
        watched = run("rollout", "watch", "pair", "--json", seconds=60.0)
        assert watched.returncode == 0, watched.stdout + watched.stderr + "\n".join(controller.lines)
        settled(gateway, (100, 0))
        assert gateway.seen == [(100, 0), (50, 50), (0, 100), (100, 0)]
        assert gateway.versions[0] == "1"
        assert gateway.versions[-1] == "2"

        begun = run("rollout", "start", "pair", "--to", "1", "--min-seconds", "600")
        assert begun.returncode == 0, begun.stderr
        settled(gateway, (50, 50))
        api.down = True
        assert run("rollout", "abort", "pair", "--why", "by hand").returncode == 0
        time.sleep(4.0)
        assert gateway.weights() == (50, 50)
        assert set(gateway.versions[-50:]) == {"2"}  # the candidate's servers answer with the champion
        api.down = False
        settled(gateway, (100, 0))
    assert gateway.failed == []
    rollouts = json.loads(run("rollout", "list", "--json").stdout)
    assert [(one["to"], one["phase"]) for one in rollouts] == [("1", "aborted"), ("2", "done")]


def settled(gateway: Gateway, weights: tuple[int, int], seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while gateway.weights() != weights:
        assert time.monotonic() < ends, gateway.seen
        time.sleep(0.05)
    time.sleep(1.5)
