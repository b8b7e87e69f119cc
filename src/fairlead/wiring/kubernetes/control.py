"""The controller of a rendering: one Deployment for all endpoints, told no more of the spec than it reads."""

from __future__ import annotations

from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.kit.beat import TURN
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.deploy import Pods
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint
from fairlead.package.image import lately
from fairlead.wiring.contained import HOME
from fairlead.wiring.kubernetes import carried, network, pods, units
from fairlead.wiring.kubernetes.asked import SPEC, Rendering, image, labels, selected, thing

_WHOLE: Final = ("project", "tracking", "state", "events", "record")
_OF_ENDPOINT: Final = (
    "model", "upstream", "graph", "runtime", "trust_pickle", "deadline_ms", "record", "abuse", "slo", "monitor",
    "rollout", "retrain",
)  # fmt: skip
_SERVING: Final = {"record": ("salt",), "upstream": ("token", "token_header", "ca")}
"""Of parts of an endpoint what is for those that serve it."""
_SERVER: Final = ("host", "port", "grace")
_HANGS: Final = 600
"""Seconds of a turn: the first look at many windows takes minutes."""
_STARTS: Final = 120
"""Seconds until its first turn may be asked for: it loads the libraries that judge, and opens the stores."""
_EVERY: Final = 30
_FAILURES: Final = 3
_USUAL: Final = "1Gi"
"""Memory that it asks for where nothing is said; it may take the default of ``deploy.controller_memory``."""


def objects(file: SpecFile, how: Rendering, moved: list[str]) -> list[Any]:
    """Rollouts, monitors and retraining of every endpoint. None where nothing is recorded. ``moved``: routes whose
    weights it moves."""
    if file.spec.record is False or not _followed(file):
        return []
    name = network.controller(file)
    told = _told(file)
    needs = carried.needs(file, told)
    marks = labels(file, name)
    return [
        network.account(file, name, told=bool(moved)),
        thing(file, "v1", "ConfigMap", name, {"data": {"fairlead.yaml": carried.text(told, file.name)}}, marks),
        _deployment(file, how, name, told, needs, routed=bool(moved)),
        network.closed(file, name, needs, told=bool(moved)),
        *(network.controls(file, name, moved) if moved else []),
    ]


def _told(file: SpecFile) -> dict[str, Any]:
    """Of the spec what the loop reads: no secret, file or address of those that serve."""
    whole = carried.data(file, _followed(file))
    found: dict[str, Any] = {part: whole[part] for part in _WHOLE if part in whole}
    if "required" in whole.get("access", {}):
        found["access"] = {"required": whole["access"]["required"]}
    found["server"] = {part: whole["server"][part] for part in _SERVER}
    found["endpoints"] = {
        name: {part: one[part] for part in _OF_ENDPOINT if part in one} for name, one in whole["endpoints"].items()
    }
    for one in found["endpoints"].values():
        for part, left_out in _SERVING.items():
            if part in one:
                one[part] = {name: value for name, value in one[part].items() if name not in left_out}
    return found


def _followed(file: SpecFile) -> tuple[str, ...]:
    """Endpoints with a model, and others that promise something; a graph with those that it calls, where these are
    known without a file of theirs."""
    every = file.spec.endpoints
    found = {name for name, one in every.items() if one.model}
    for unit in units.units(file):
        plain = all(_plain(every[name]) for name in unit.endpoints)
        for name in unit.endpoints:
            if every[name].slo is not None and every[name].upstream is not None:
                found.add(name)
            if every[name].slo is not None and every[name].graph is not None and plain:
                found.update(unit.endpoints)
    return tuple(name for name in every if name in found)


def _plain(endpoint: Endpoint) -> bool:
    return not endpoint.speaks and not (endpoint.graph is not None and endpoint.graph.python)


def _deployment(
    file: SpecFile, how: Rendering, name: str, told: dict[str, Any], needs: carried.Needs, *, routed: bool
) -> dict[str, Any]:
    """``routed``: it moves the weights of routes."""
    asked = Pods(volumes=_claims(file))
    container = {
        "name": "controller",
        "image": image(file, how),
        "args": ["controller", SPEC, *(["--target", "kubernetes"] if routed else [])],
        "workingDir": HOME,
        "env": [{"name": "FAIRLEAD_HOME", "value": HOME}, *pods.environment(file, needs)],
        "resources": _resources(file),
        "livenessProbe": Noted(
            {
                "exec": {"command": lately(f"{HOME}/{TURN}", _HANGS)},
                "initialDelaySeconds": _STARTS,
                "periodSeconds": _EVERY,
                "timeoutSeconds": 5,
                "failureThreshold": _FAILURES,
            },
            "it goes round, also while a store is away, and without its lease",
        ),
        "securityContext": pods.contained(),
        "volumeMounts": pods.mounts(file, asked, needs, serves=False),
    }
    inside = pods.spec(file, name, asked, needs, [container], name, serves=False)
    inside["automountServiceAccountToken"] = Noted(True, "it moves the weights of routes") if routed else False
    inside["terminationGracePeriodSeconds"] = 30
    marks = labels(file, name)
    body = {
        "replicas": Noted(1, "of several one would lead, by a lease in the state store"),
        "selector": {"matchLabels": selected(name)},
        "template": {
            "metadata": {"labels": marks, "annotations": carried.stamp(told, file.name)},
            "spec": inside,
        },
    }
    return thing(file, "apps/v1", "Deployment", name, {"spec": body}, marks)


def _resources(file: SpecFile) -> dict[str, Any]:
    """Pipelines of ``retrain`` run in its memory."""
    deploy = file.spec.deploy
    if "controller_memory" not in deploy.model_fields_set:
        return {"requests": {"cpu": "250m", "memory": _USUAL}, "limits": {"memory": deploy.controller_memory}}
    memory = Noted(deploy.controller_memory, file.at("deploy", "controller_memory"))
    return {"requests": {"cpu": "250m", "memory": memory}, "limits": {"memory": deploy.controller_memory}}


def _claims(file: SpecFile) -> dict[str, str]:
    """Folder to claim, of the endpoints that are trained again: their pipelines run beside the controller."""
    found: dict[str, str] = {}
    for name, endpoint in file.spec.endpoints.items():
        if endpoint.retrain is None:
            continue
        for folder, claim in endpoint.deploy.volumes.items():
            if found.setdefault(folder, claim) != claim:
                where = file.at("endpoints", name, "deploy", "volumes")
                raise UsageError(
                    f"{where} has {claim} at {folder}, and another endpoint that is trained again has {found[folder]} "
                    "there; give one of them another folder"
                )
    return found
