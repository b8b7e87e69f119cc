"""Deployments over a cluster's API: versions of an API, field managers, what others do meanwhile, and lost answers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.contracts.target import Target, Where
from fairlead.kit import plugins
from fairlead.orchestrate.deploy.run import Asked, Deployment, Outcome
from fairlead.orchestrate.deploy.waiting import Surroundings
from fairlead.testing.clock import ManualClock
from fairlead.testing.cluster import FakeCluster
from fairlead.testing.cluster_api import Api, kubeconfig, serving

GATEWAY = "gateway.networking.k8s.io"


class World:
    def __init__(self, api: Api, target: Target, clock: ManualClock) -> None:
        self.cluster, self.target, self.clock = api.cluster, target, clock
        self.lines: list[str] = []

    def deployment(self, holder: str = "one", **asked: Any) -> Deployment:
        around = Surroundings(self.clock, self.clock.advance, self.lines.append, lambda: False, holder)
        return Deployment(self.target, Asked("churn", **{"timeout": 30.0, **asked}), around)

    def deploy(self, *bodies: dict[str, Any], **asked: Any) -> Outcome:
        work = self.deployment(**asked)
        return work.run(work.plan(bodies))

    def back(self) -> Outcome:
        work = self.deployment(prune=True)
        revision, plan = work.earlier()
        return work.run(plan, revision.number)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    clock = ManualClock()
    with serving(FakeCluster(clock)) as api:
        target: Target = plugins.load("fairlead.targets", "kubernetes")(
            Where(config=kubeconfig(tmp_path / "config", api.url))
        )
        yield World(api, target, clock)
        target.close()


def configured(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def routed(version: str = "v1", weights: tuple[int, int] = (100, 0), **annotations: str) -> dict[str, Any]:
    backends = [
        {"name": f"churn-{name}", "port": 80, "weight": weight}
        for name, weight in zip(("stable", "canary"), weights, strict=True)
    ]
    metadata = {
        "name": "churn",
        "labels": {"fairlead.dev/endpoint": "churn"},
        "annotations": {"note": "x", **annotations},
    }
    spec = {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": copy.deepcopy(backends)}]}
    return {"apiVersion": f"{GATEWAY}/{version}", "kind": "HTTPRoute", "metadata": metadata, "spec": spec}


def test_an_object_under_another_version_of_its_api_is_the_same_one(world: World) -> None:
    world.deploy(routed("v1beta1"))
    assert world.deploy(routed("v1"), configured("a"), prune=True).pruned == ()
    assert world.cluster.get("httproutes", "churn") is not None
    world.back()
    assert world.cluster.get("httproutes", "churn") is not None
    assert world.cluster.names("configmaps") == []
