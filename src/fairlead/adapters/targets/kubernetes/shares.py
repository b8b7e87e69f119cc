"""What an HTTPRoute of the Gateway API says of arms: which backend is which, and their weights. Pure.

A route is of an endpoint by its label. The backend of an arm is the one that an annotation names, else the one whose
name ends as that arm's does. Weights are compared with their sum, so any whole numbers do (Gateway API,
``HTTPBackendRef.weight``).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fairlead.contracts.errors import TargetError
from fairlead.contracts.target import ARMS, Body, Ref, Route

API: Final = "gateway.networking.k8s.io/v1"
ENDPOINT: Final = "fairlead.dev/endpoint"
"""Label: whose calls a route shares out."""
FENCE: Final = "fairlead.dev/fence"
"""Annotation: the lease under which the weights were written last. A controller with an older one leaves them."""
ENDINGS: Final = {"champion": "-stable", "candidate": "-canary"}


def annotation(arm: str) -> str:
    """Names an arm's backend, where its name does not end as usual."""
    return f"fairlead.dev/{arm}"


def route(ref: Ref, body: Body) -> Route | None:
    """None for a route that does not share calls out between two arms. Raises TargetError for a fence that is none."""
    weights: dict[str, int] = {}
    for arm, backend in _backends(body):
        weight = int(backend.get("weight", 1))
        if weights.setdefault(arm, weight) != weight:
            raise TargetError(f"{ref}: its rules give {backend['name']} different weights; make them equal")
    if set(weights) != set(ARMS):
        return None
    metadata = body["metadata"]
    fence = str((metadata.get("annotations") or {}).get(FENCE, "0"))
    if not fence.isdecimal():
        raise TargetError(f"{ref}: annotation {FENCE} is {fence!r}; remove it")
    return Route(ref, weights, str(metadata.get("resourceVersion", "")), int(fence), body)


def shifted(found: Route, weights: Mapping[str, int], fence: int) -> dict[str, Any]:
    """The merge patch that shares out otherwise, of the very revision that was read."""
    body = _with_weights(found.body, weights)
    metadata = {"resourceVersion": found.revision, "annotations": {FENCE: str(fence)}}
    return {"metadata": metadata, "spec": {"rules": body["spec"]["rules"]}}


def keeping(body: Body, live: Body | None, ref: Ref) -> dict[str, Any]:
    """``body`` with the weights of the route that is there, where a rollout has written them."""
    kept: dict[str, Any] = copy.deepcopy(dict(body))
    driven = live is not None and FENCE in (live["metadata"].get("annotations") or {})
    if live is None or not driven or (there := route(ref, live)) is None:
        return kept
    kept = _with_weights(kept, there.weights)
    kept["metadata"].setdefault("resourceVersion", there.revision)  # the weights must not move meanwhile
    return kept


def put_back(body: Body, live: Body, ref: Ref) -> dict[str, Any]:
    """``keeping``, with the fence that goes with the weights: an older lease must not write them again."""
    made = keeping(body, live, ref)
    if fence := (live["metadata"].get("annotations") or {}).get(FENCE):
        made["metadata"]["annotations"] = {**(made["metadata"].get("annotations") or {}), FENCE: fence}
    return made


def _with_weights(body: Body, weights: Mapping[str, int]) -> dict[str, Any]:
    made: dict[str, Any] = copy.deepcopy(dict(body))
    for arm, backend in _backends(made):
        backend["weight"] = weights[arm]
    return made


def _backends(body: Body) -> Iterator[tuple[str, dict[str, Any]]]:
    annotations = body["metadata"].get("annotations") or {}
    for rule in (body.get("spec") or {}).get("rules") or []:
        for backend in rule.get("backendRefs") or []:
            for arm in ARMS:
                named = annotations.get(annotation(arm))
                name = str(backend.get("name", ""))
                if name == named or (named is None and name.endswith(ENDINGS[arm])):
                    yield arm, backend
