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

ARMS = {"pair-stable": "champion", "pair-canary": "candidate"}
PREDICT = "/v2/models/pair/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
SPEC = """project: shop
tracking: http://mlflow:5000
state: postgresql://fairlead:${env:DB_PASSWORD}@db/fairlead
events: s3://shop-events/predictions
deploy: {image: "registry.example.com/pair:1", namespace: ml, gateway: {name: public}}
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
            time.sleep(0.005)  # the servers and the controller share this machine with it
        for client in clients.values():
            client.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(FakeCluster()) as api:
        kubeconfig(tmp_path / "config", api.url, namespace="elsewhere")
        yield api


@pytest.fixture
def cluster(start: Any, run: Any, doubler: Path, tmp_path: Path, api: Api, environment: dict[str, str]) -> Any:
    """A spec that is deployed; what its Deployments say is then run here, as a kubelet would, on one store."""
    home = environment["FAIRLEAD_HOME"]
    environment |= {"FAIRLEAD_STATE": f"sqlite:///{home}/state.db", "FAIRLEAD_TRACKING": f"sqlite:///{home}/mlflow.db"}
    environment |= {"FAIRLEAD_EVENTS": f"{home}/events", "KUBECONFIG": str(tmp_path / "config")}
    for alias in (["--alias", "champion"], []):
        told = run("models", "log", str(doubler), "--name", "pair", *alias)
        assert told.returncode == 0, told.stderr
    (tmp_path / "fairlead.yaml").write_text(SPEC)
    told = run("deploy", "--mesh", "gateway-api", "--insecure")
    assert told.returncode == 0, told.stderr
    pods = {name: pod(api, tmp_path, name) for name in api.cluster.names("deployments")}
    assert set(pods) == {"pair-stable", "pair-canary", "shop-controller"}
    servers = {ARMS[name]: start(*words, FAIRLEAD_HOME=str(tmp_path / name)) for name, words in pods.items()
               if name in ARMS}  # fmt: skip
    urls = {arm: process.url(240.0).replace("0.0.0.0", "127.0.0.1") for arm, process in servers.items()}
    api.cluster.asked.clear()
    inside = kubeconfig(tmp_path / "inside", api.url, namespace="ml")  # a pod is told its own namespace
    controller = start(*pods["shop-controller"], KUBECONFIG=str(inside))
    yield urls, controller
    lines = [line for process in (*servers.values(), controller) for line in process.lines]
    assert not [line for line in lines if TOKEN in line]


def pod(api: Api, folder: Path, name: str) -> list[str]:
    """The command of its container, with its spec in a file of this machine, on a port that is free."""
    found, told = api.cluster.get("deployments", name), api.cluster.get("configmaps", name)
    assert found is not None
    assert told is not None
    path = folder / f"{name}.yaml"
    path.write_text(told["data"]["fairlead.yaml"].replace("port: 8080", "port: 0"))
    words = found["spec"]["template"]["spec"]["containers"][0]["args"]
    return [str(path) if word == "/etc/fairlead/fairlead.yaml" else word for word in words]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_promoted_and_rolled_back_by_the_weights_of_a_route(cluster: Any, api: Api, run: Any) -> None:
    urls, controller = cluster
    with Gateway(api.cluster, urls) as gateway:
        begun = run("rollout", "start", "pair", "--to", "2", seconds=240.0)
        assert begun.returncode == 0, begun.stderr
        ended(run, controller)
        settled(gateway, (100, 0))
        assert gateway.seen == [(100, 0), (50, 50), (0, 100), (100, 0)]
        assert gateway.versions[0] == "1"
        assert gateway.versions[-1] == "2"

        begun = run("rollout", "start", "pair", "--to", "1", "--min-seconds", "600", seconds=240.0)
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
    # no more than its Role lets it: to list routes, and to patch this one
    assert set(api.cluster.asked) == {("GET", "httproutes", ""), ("PATCH", "httproutes", "pair")}
    lines = json.loads(run("timeline", "pair", "--json").stdout)
    assert next(one["text"] for one in lines if one["what"] == "deploy").startswith("shop deployed on kubernetes: ")
    rollouts = json.loads(run("rollout", "list", "--json").stdout)
    assert [(one["to"], one["phase"]) for one in rollouts] == [("1", "aborted"), ("2", "done")]


def ended(run: Any, controller: Any, seconds: float = 120.0) -> None:
    """Until no rollout runs: it may be over before a command that watches it has begun."""
    ends = time.monotonic() + seconds
    while json.loads(run("rollout", "list", "--json").stdout)[0]["phase"] not in ("done", "aborted"):
        assert time.monotonic() < ends, "\n".join(controller.lines)


def settled(gateway: Gateway, weights: tuple[int, int], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while gateway.weights() != weights:
        assert time.monotonic() < ends, gateway.seen
        time.sleep(0.05)
    time.sleep(1.5)
