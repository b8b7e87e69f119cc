"""Whether an object is ready, from what its controllers write into ``status``. Pure.

The rules of kstatus (sigs.k8s.io/cli-utils, pkg/kstatus/status): what was observed must be of this generation; kinds of
Kubernetes have rules of their own; every other kind is ready unless a condition ``Ready`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fairlead.contracts.target import Body, State

Said = tuple[State, str]
READY: Said = (State.READY, "")


def ready(body: Body) -> Said:
    """State, and why it is not ready."""
    status = body.get("status") or {}
    generation, observed = body["metadata"].get("generation"), status.get("observedGeneration")
    if body["metadata"].get("deletionTimestamp"):
        return State.WAITING, "it is being removed"
    if observed is not None and generation is not None and observed < generation:
        return State.WAITING, "no controller has seen the change yet"
    return _RULES.get(body["kind"], _other)(body, status)


def _deployment(body: Body, status: Mapping[str, Any]) -> Said:
    if "observedGeneration" not in status:
        return State.WAITING, "no controller has seen it yet"
    conditions = _conditions(status)
    progress, failure = conditions.get("Progressing", {}), conditions.get("ReplicaFailure", {})
    if progress.get("reason") == "ProgressDeadlineExceeded":
        return State.FAILED, str(progress.get("message") or "its progress deadline is over")
    if failure.get("status") == "True":
        return State.WAITING, str(failure.get("message") or "replicas cannot be made")
    wanted = int((body.get("spec") or {}).get("replicas", 1))
    updated, total = int(status.get("updatedReplicas", 0)), int(status.get("replicas", 0))
    available = int(status.get("availableReplicas", 0))
    if updated < wanted:
        return State.WAITING, f"{updated} of {wanted} replicas are of the new kind"
    if total > updated:
        return State.WAITING, f"{total - updated} old replicas are still there"
    return READY if available >= wanted else (State.WAITING, f"{available} of {wanted} replicas are available")


def _stateful(body: Body, status: Mapping[str, Any]) -> Said:
    spec = body.get("spec") or {}
    wanted, there = int(spec.get("replicas", 1)), int(status.get("readyReplicas", 0))
    if "observedGeneration" not in status:
        return State.WAITING, "no controller has seen it yet"
    if (spec.get("updateStrategy") or {}).get("type") != "OnDelete" and status.get("updateRevision"):
        updated = int(status.get("updatedReplicas", 0))
        if status.get("currentRevision") != status["updateRevision"] and updated < wanted:
            return State.WAITING, f"{updated} of {wanted} replicas are of the new kind"
    return READY if there >= wanted else (State.WAITING, f"{there} of {wanted} replicas are ready")


def _daemons(body: Body, status: Mapping[str, Any]) -> Said:  # noqa: ARG001 - one shape for all rules
    if "observedGeneration" not in status:
        return State.WAITING, "no controller has seen it yet"
    wanted = int(status.get("desiredNumberScheduled", 0))
    there = min(int(status.get(name, 0)) for name in ("updatedNumberScheduled", "numberAvailable"))
    return READY if there >= wanted else (State.WAITING, f"{there} of {wanted} nodes run it")


def _job(body: Body, status: Mapping[str, Any]) -> Said:  # noqa: ARG001
    conditions = _conditions(status)
    if conditions.get("Failed", {}).get("status") == "True":
        return State.FAILED, str(conditions["Failed"].get("message") or "the job failed")
    done = conditions.get("Complete", {}).get("status") == "True"
    return READY if done else (State.WAITING, "the job has not ended")


def _pod(body: Body, status: Mapping[str, Any]) -> Said:
    if status.get("phase") == "Failed":
        return State.FAILED, str(status.get("message") or status.get("reason") or "the pod failed")
    if status.get("phase") == "Succeeded" or _conditions(status).get("Ready", {}).get("status") == "True":
        return READY
    return State.WAITING, trouble(body) or "the pod is not ready"


def _claim(body: Body, status: Mapping[str, Any]) -> Said:  # noqa: ARG001
    if status.get("phase") in ("Bound", "Pending"):  # Pending may last until a pod wants it
        return READY
    return State.WAITING, f"the claim is {str(status.get('phase') or 'not seen yet').lower()}"


def _service(body: Body, status: Mapping[str, Any]) -> Said:
    if (body.get("spec") or {}).get("type") != "LoadBalancer":
        return READY
    there = (status.get("loadBalancer") or {}).get("ingress")
    return READY if there else (State.WAITING, "the load balancer has no address yet")


def _definition(body: Body, status: Mapping[str, Any]) -> Said:  # noqa: ARG001
    conditions = _conditions(status)
    if conditions.get("NamesAccepted", {}).get("status") == "False":
        return State.FAILED, str(conditions["NamesAccepted"].get("message") or "its names are taken")
    there = conditions.get("Established", {}).get("status") == "True"
    return READY if there else (State.WAITING, "the definition is not established yet")


def _route(body: Body, status: Mapping[str, Any]) -> Said:
    """Every parent must have taken it, and found what it leads to."""
    parents = status.get("parents") or []
    if not parents:
        return State.WAITING, "no gateway has taken it; is there one of the name in parentRefs?"
    generation = body["metadata"].get("generation", 0)
    for parent in parents:
        conditions = _conditions(parent)
        for name in ("Accepted", "ResolvedRefs"):
            one = conditions.get(name)
            if one is None or int(one.get("observedGeneration", generation)) < generation:
                return State.WAITING, f"the gateway has not said {name} of this change"
            if one.get("status") != "True":
                return State.WAITING, f"{name} is {one.get('status')}: {one.get('message') or one.get('reason')}"
    return READY


def _other(body: Body, status: Mapping[str, Any]) -> Said:  # noqa: ARG001
    conditions = _conditions(status)
    if conditions.get("Stalled", {}).get("status") == "True":
        return State.FAILED, str(conditions["Stalled"].get("message") or "it is stalled")
    for name in ("Ready", "Available"):
        if name in conditions and conditions[name].get("status") != "True":
            one = conditions[name]
            return (
                State.WAITING,
                f"{name} is {one.get('status')}: {one.get('message') or one.get('reason') or 'no reason'}",
            )
    return READY


def trouble(pod: Body) -> str:
    """Why the containers of a pod do not run, in a phrase; empty when nothing is said."""
    status = pod.get("status") or {}
    for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            message = f": {waiting['message']}" if waiting.get("message") else ""
            return f"pod {pod['metadata']['name']}, container {one['name']}: {waiting['reason']}{message}"
    scheduled = _conditions(status).get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"pod {pod['metadata']['name']} has no node: {scheduled.get('message') or scheduled.get('reason')}"
    return ""


def _conditions(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(one.get("type")): one for one in status.get("conditions") or []}


def _always(body: Body, status: Mapping[str, Any]) -> Said:  # noqa: ARG001 - what it says comes with the first calls
    return READY


_RULES: Final[Mapping[str, Callable[[Body, Mapping[str, Any]], Said]]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful,
    "DaemonSet": _daemons,
    "Job": _job,
    "Pod": _pod,
    "PersistentVolumeClaim": _claim,
    "Service": _service,
    "CustomResourceDefinition": _definition,
    "HTTPRoute": _route,
    "HorizontalPodAutoscaler": _always,
    "PodDisruptionBudget": _always,
}
