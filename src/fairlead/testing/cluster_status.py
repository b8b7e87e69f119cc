"""What the controllers of a cluster would write into ``status``, by the time since an object changed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def status(body: Mapping[str, Any], seconds: float, ready_after: float, broken: Collection[str]) -> dict[str, Any]:
    """``broken``: images that cannot be pulled; they fail for good after ``spec.progressDeadlineSeconds``."""
    generation = body["metadata"]["generation"]
    if body["kind"] == "Deployment":
        return _deployment(body, seconds, seconds >= ready_after and not bad(body, broken), generation)
    if body["kind"] == "HTTPRoute":
        if seconds < ready_after:
            return {}
        said = [
            {"type": name, "status": "True", "reason": name, "observedGeneration": generation}
            for name in ("Accepted", "ResolvedRefs")
        ]
        return {"parents": [{"parentRef": {"name": "gateway"}, "conditions": said}]}
    if body["kind"] == "CustomResourceDefinition":
        return {"conditions": [{"type": "Established", "status": "True" if seconds >= ready_after else "False"}]}
    return {}


def bad(body: Mapping[str, Any], broken: Collection[str]) -> str:
    """The first image of its pods that cannot be pulled."""
    containers = body["spec"]["template"]["spec"]["containers"]
    return next((one["image"] for one in containers if one["image"] in broken), "")


def pod(body: Mapping[str, Any], image: str) -> dict[str, Any]:
    """A pod of a deployment whose image is not there."""
    template = body["spec"]["template"]
    waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
    return {
        "metadata": {
            "name": f"{body['metadata']['name']}-7d4b9-x2x4z",
            "namespace": body["metadata"]["namespace"],
            "labels": template["metadata"]["labels"],
        },
        "status": {
            "phase": "Pending",
            "containerStatuses": [{"name": template["spec"]["containers"][0]["name"], "state": {"waiting": waiting}}],
        },
    }


def _deployment(body: Mapping[str, Any], seconds: float, done: bool, generation: int) -> dict[str, Any]:
    wanted = body["spec"]["replicas"]
    late = not done and seconds >= body["spec"]["progressDeadlineSeconds"]
    progress = {
        "type": "Progressing",
        "status": "False" if late else "True",
        "reason": "ProgressDeadlineExceeded" if late else "ReplicaSetUpdated",
        "message": f'ReplicaSet "{body["metadata"]["name"]}-7d4b9" has timed out progressing.' if late else "",
    }
    counts = {"replicas": wanted, "updatedReplicas": wanted, "availableReplicas": wanted if done else 0}
    return {"observedGeneration": generation, **counts, "conditions": [progress]}
