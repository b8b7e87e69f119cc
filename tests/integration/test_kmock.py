"""The Kubernetes target against another's idea of the API (kmock): it proves the calls, not a cluster's rules."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.contracts.target import Where
from fairlead.kit import plugins
from fairlead.testing.cluster_api import kubeconfig

kmock = pytest.importorskip("kmock", reason="kmock is not installed")

API = "gateway.networking.k8s.io/v1"


@pytest.fixture
def url() -> Iterator[str]:
    """kmock lives on an event loop of its own."""
    found: list[str] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        emulator = kmock.KubernetesEmulator()
        for api, kind, plural in ((API, "HTTPRoute", "httproutes"), ("v1", "Secret", "secrets")):
            emulator.resources[f"{api}/{plural}"] = kmock.ResourceInfo(
                kind=kind, singular=kind.lower(), namespaced=True, verbs={"get", "list", "create", "patch", "delete"}
            )
        async with kmock.Server(emulator) as server:
            found.append(str(server.url))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield found[0].rstrip("/")
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_shares_are_read_and_written(url: str, tmp_path: Path) -> None:
    backends = [{"name": "churn-stable", "port": 80, "weight": 100}, {"name": "churn-canary", "port": 80, "weight": 0}]
    body: dict[str, Any] = {
        "apiVersion": API,
        "kind": "HTTPRoute",
        "metadata": {"name": "churn", "namespace": "ml", "labels": {"fairlead.dev/endpoint": "churn"}},
        "spec": {"rules": [{"backendRefs": backends}]},
    }
    target = plugins.load("fairlead.targets", "kubernetes")(Where(config=kubeconfig(tmp_path / "config", url)))
    ref = target.find(body)
    assert ref.namespace == "ml"
    target._client.create(target._kinds.collection(ref), body)
    route = target.route("churn")
    assert dict(route.weights) == {"champion": 100, "candidate": 0}
    for candidate in (5, 50, 100, 0):
        route = target.shift(route, {"champion": 100 - candidate, "candidate": candidate}, 3)
        assert dict(target.route("churn").weights) == {"champion": 100 - candidate, "candidate": candidate}
        assert target.route("churn").fence == 3
    target.remove(target.observe(ref))
    assert target.route("churn") is None
    target.close()
