"""Readiness of objects, from what controllers write."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.adapters.targets.kubernetes.ready import ready, trouble
from fairlead.contracts.target import State

READY, WAITING, FAILED = State


def said(kind: str, name: str, status: str, **more: Any) -> dict[str, Any]:
    return {"conditions": [{"type": name, "status": status, "reason": "Why", **more}], "kind": kind}


def counted(updated: int, total: int, available: int) -> dict[str, Any]:
    return {"observedGeneration": 2, "updatedReplicas": updated, "replicas": total, "availableReplicas": available}


ROUTED = [{"type": name, "status": "True", "observedGeneration": 2} for name in ("Accepted", "ResolvedRefs")]


@pytest.mark.parametrize(
    ("kind", "status", "state", "why"),
    [
        ("Deployment", {}, WAITING, "no controller has seen it"),
        ("Deployment", {"observedGeneration": 1}, WAITING, "no controller has seen the change"),
        ("Deployment", counted(2, 3, 3), WAITING, "2 of 3 replicas are of the new kind"),
        ("Deployment", counted(3, 4, 3), WAITING, "1 old replicas are still there"),
        ("Deployment", counted(3, 3, 1), WAITING, "1 of 3 replicas are available"),
        ("Deployment", counted(3, 3, 3), READY, ""),
        (
            "Deployment",
            {**counted(3, 3, 1), "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]},
            FAILED,
            "progress deadline",
        ),
        (
            "Deployment",
            {**counted(0, 0, 0), **said("", "ReplicaFailure", "True", message="quota")},
            WAITING,
            "quota",
        ),
        ("StatefulSet", {"observedGeneration": 2, "readyReplicas": 1}, WAITING, "1 of 3 replicas are ready"),
        (
            "StatefulSet",
            {"observedGeneration": 2, "readyReplicas": 3, "currentRevision": "a", "updateRevision": "b"},
            WAITING,
            "0 of 3 replicas are of the new kind",
        ),
        ("StatefulSet", {"observedGeneration": 2, "readyReplicas": 3}, READY, ""),
        ("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 2}, WAITING, "0 of 2 nodes"),
        ("DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 0}, READY, ""),
        ("Job", said("", "Failed", "True"), FAILED, "the job failed"),
        ("Job", {}, WAITING, "has not ended"),
        ("Job", said("", "Complete", "True"), READY, ""),
        ("Pod", {"phase": "Failed", "reason": "Evicted"}, FAILED, "Evicted"),
        ("Pod", said("", "Ready", "True"), READY, ""),
        ("Pod", {"phase": "Pending"}, WAITING, "not ready"),
        ("Service", {}, READY, ""),
        ("PersistentVolumeClaim", {"phase": "Lost"}, WAITING, "the claim is lost"),
        ("PersistentVolumeClaim", {"phase": "Pending"}, READY, ""),
        ("CustomResourceDefinition", {}, WAITING, "not established"),
        ("CustomResourceDefinition", said("", "Established", "True"), READY, ""),
        ("CustomResourceDefinition", said("", "NamesAccepted", "False"), FAILED, "names are taken"),
        ("HTTPRoute", {}, WAITING, "no gateway has taken it"),
        ("HTTPRoute", {"parents": [{"conditions": ROUTED[:1]}]}, WAITING, "has not said ResolvedRefs"),
        (
            "HTTPRoute",
            {"parents": [{"conditions": [{**ROUTED[0], "observedGeneration": 1}]}]},
            WAITING,
            "not said Accepted",
        ),
        (
            "HTTPRoute",
            {"parents": [{"conditions": [ROUTED[0], {**ROUTED[1], "status": "False", "reason": "BackendNotFound"}]}]},
            WAITING,
            "ResolvedRefs is False: BackendNotFound",
        ),
        ("HTTPRoute", {"parents": [{"conditions": ROUTED}]}, READY, ""),
        ("ScaledObject", said("", "Ready", "False"), WAITING, "Ready is False: Why"),
        ("InferenceService", said("", "Stalled", "True"), FAILED, "stalled"),
        ("ServiceMonitor", {}, READY, ""),
        ("HorizontalPodAutoscaler", said("", "Ready", "False"), READY, ""),
    ],
)
def test_ready(kind: str, status: dict[str, Any], state: State, why: str) -> None:
    body = {"kind": kind, "metadata": {"name": "x", "generation": 2}, "spec": {"replicas": 3}, "status": status}
    found = ready(body)
    assert found[0] is state
    assert why in found[1]


def test_what_goes_is_not_ready() -> None:
    body = {"kind": "Service", "metadata": {"name": "x", "deletionTimestamp": "now"}}
    assert ready(body) == (WAITING, "it is being removed")


def test_a_balancer_needs_an_address() -> None:
    body: dict[str, Any] = {"kind": "Service", "metadata": {"name": "x"}, "spec": {"type": "LoadBalancer"}}
    assert ready(body)[0] is WAITING
    assert ready({**body, "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}})[0] is READY


def test_what_a_pod_says() -> None:
    pod: dict[str, Any] = {"metadata": {"name": "p"}, "status": {}}
    assert trouble(pod) == ""
    pod["status"] = said("", "PodScheduled", "False", message="0/3 nodes are available")
    assert trouble(pod) == "pod p has no node: 0/3 nodes are available"
    pod["status"]["containerStatuses"] = [{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
    assert trouble(pod) == "pod p, container c: CrashLoopBackOff"
