"""Deployments over a cluster's API: versions of an API, field managers, what others do meanwhile, and lost answers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.contracts.errors import NotReady
from fairlead.contracts.target import Target, Where
from fairlead.kit import plugins
from fairlead.orchestrate.deploy.run import Asked, Deployment, Outcome
from fairlead.orchestrate.deploy.waiting import Surroundings
from fairlead.testing.clock import ManualClock
from fairlead.testing.cluster import FakeCluster, Refusal
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


def pods(image: str) -> dict[str, Any]:
    labels = {"app": "churn"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "server", "image": image}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "churn"}, "spec": spec}


def managers(world: World, plural: str, name: str) -> set[tuple[str, str]]:
    found = world.cluster.get(plural, name)
    assert found is not None
    return {(one["manager"], one["operation"]) for one in found["metadata"]["managedFields"]}


def test_an_object_under_another_version_of_its_api_is_the_same_one(world: World) -> None:
    world.deploy(routed("v1beta1"))
    assert world.deploy(routed("v1"), configured("a"), prune=True).pruned == ()
    assert world.cluster.get("httproutes", "churn") is not None
    world.back()
    assert world.cluster.get("httproutes", "churn") is not None
    assert world.cluster.names("configmaps") == []


def test_what_was_put_back_can_be_left_out_of_the_files_later(world: World) -> None:
    world.cluster.broken = {"churn:2"}
    world.deploy(configured("a", x="1", y="1"), pods("churn:1"))
    with pytest.raises(NotReady, match="rolled back to what was there"):
        world.deploy(configured("a", x="2", y="1"), pods("churn:2"))
    assert managers(world, "configmaps", "a") == {("fairlead-deploy", "Apply")}
    world.deploy(configured("a", y="1"), pods("churn:1"))
    assert world.cluster.get("configmaps", "a")["data"] == {"y": "1"}


def test_what_was_adopted_and_put_back_is_theirs_again(world: World) -> None:
    body = {**configured("a", x="1"), "metadata": {"name": "a"}}
    world.cluster.request("POST", "/api/v1/namespaces/ml/configmaps", {"fieldManager": "kubectl"}, body)
    world.cluster.broken = {"churn:2"}
    with pytest.raises(NotReady, match="rolled back to what was there"):
        world.deploy(configured("a", x="2"), pods("churn:2"), adopt=True)
    assert managers(world, "configmaps", "a") == {("kubectl", "Update")}


def test_what_somebody_removed_is_put_back_as_ours(world: World) -> None:
    world.cluster.broken = {"churn:2"}
    world.deploy(configured("a", x="1"), pods("churn:1"))

    def removes(method: str, plural: str, name: str) -> None:
        if (method, plural, name) == ("PUT", "deployments", "churn"):
            world.cluster.before = None
            world.cluster.request("DELETE", "/api/v1/namespaces/ml/configmaps/a", {})

    world.cluster.before = removes
    with pytest.raises(NotReady, match="rolled back to what was there"):
        world.deploy(configured("a", x="2"), pods("churn:2"))
    assert managers(world, "configmaps", "a") == {("fairlead-deploy", "Apply")}
    world.deploy(configured("a", y="1"), pods("churn:1"))
    assert world.cluster.get("configmaps", "a")["data"] == {"y": "1"}


def test_a_route_that_is_put_back_keeps_the_newest_fence_and_its_weights(world: World) -> None:
    world.cluster.broken = {"churn:2"}
    world.deploy(routed(), pods("churn:1"))

    def shifts(method: str, plural: str, name: str) -> None:
        if (method, plural) == ("PUT", "deployments"):
            world.cluster.before = None
            route = world.target.route("churn")
            assert route is not None
            world.target.shift(route, {"champion": 40, "candidate": 60}, 7)

    world.cluster.before = shifts
    with pytest.raises(NotReady, match="rolled back to what was there"):
        world.deploy(routed(note="y"), pods("churn:2"))
    found = world.cluster.get("httproutes", "churn")
    assert found["metadata"]["annotations"] == {"note": "x", "fairlead.dev/fence": "7"}
    assert [one["weight"] for one in found["spec"]["rules"][0]["backendRefs"]] == [40, 60]


def test_a_conflict_that_passes_rolls_nothing_back(world: World) -> None:
    refused: list[str] = []

    def refuses(method: str, plural: str, name: str) -> None:
        if (method, plural) == ("PATCH", "configmaps") and len(refused) < 2:
            refused.append(name)
            raise Refusal(409, "Conflict", "the object has been modified")

    work = world.deployment()
    plan = work.plan([configured("a", x="1")])
    world.cluster.before = refuses
    work.run(plan)
    assert refused == ["a", "a"]
    assert world.cluster.get("configmaps", "a")["data"] == {"x": "1"}
