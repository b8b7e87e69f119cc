"""The suite of targets over the one in memory and over every installed one, against a cluster's API of our own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fairlead.contracts.target import Target, Where
from fairlead.kit import plugins
from fairlead.testing import target_suite, targets
from fairlead.testing.clock import ManualClock
from fairlead.testing.cluster import FakeCluster
from fairlead.testing.cluster_api import kubeconfig, serving

checks = pytest.mark.parametrize("check", target_suite.CHECKS, ids=lambda check: check.__name__)
Check = Callable[[target_suite.Place], None]


def configured(name: str, value: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}}


def routed(name: str, endpoint: str) -> dict[str, Any]:
    backends = [
        {"name": f"{name}-stable", "port": 80, "weight": 100},
        {"name": f"{name}-canary", "port": 80, "weight": 0},
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "labels": {"fairlead.dev/endpoint": endpoint}},
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": copy.deepcopy(backends)}]},
    }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with serving(FakeCluster()) as api:
        config = kubeconfig(tmp_path_factory.mktemp("kube") / "config", api.url)
        target: Target = plugins.load("fairlead.targets", "kubernetes")(Where(config=config))
        yield target
        target.close()


@checks
def test_kubernetes(check: Check, cluster: Target) -> None:
    unknown = {"apiVersion": "apps/v1", "kind": "Deploymnet", "metadata": {"name": "x"}}
    check(target_suite.Place(cluster, configured, routed, unknown))


@checks
def test_the_fake(check: Check) -> None:
    unknown = {"apiVersion": "other/v1", "kind": "Thing", "metadata": {"name": "x"}}
    check(target_suite.Place(targets.MemoryTarget(ManualClock()), targets.thing, targets.route, unknown))


def test_there_are_targets_to_check() -> None:
    assert plugins.names("fairlead.targets") == ["kubernetes"]
