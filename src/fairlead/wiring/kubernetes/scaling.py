"""Who says how many pods there are: by calls in flight, never by the CPU, which a model on a GPU leaves idle."""

from __future__ import annotations

import math
from typing import Any, Final

from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring.kubernetes import routes
from fairlead.wiring.kubernetes.asked import IN_FLIGHT, Rendering, labels, thing, whole
from fairlead.wiring.kubernetes.units import Scale, Unit

_CALM: Final = 300
"""Seconds of fewer calls before pods end."""


def scaler(
    file: SpecFile, how: Rendering, unit: Unit, scale: Scale, name: str, found: list[Unit], engine: str = ""
) -> list[Any]:
    """The object that moves the Deployment ``name``. ``found``: all units.

    ``engine``: whose own figures tell, where it is not our server.
    """
    if scale.target is None:
        return []
    if not scale.least:
        return [_from_none(file, unit, scale, name, found)]
    if how.scaler == "keda":
        return [_keda(file, unit, scale, name, engine)]
    return [_hpa(file, unit, scale, name)]


def query(file: SpecFile, job: str, engine: str = "") -> str:
    """Calls in flight of all pods behind a Service: seconds spent in calls, each second (Little's law)."""
    of = within(file, f'job="{job}"')
    return f"sum({in_flight(of, engine)})"


def within(file: SpecFile, of: str) -> str:
    """``of``, labels, in the namespace of the spec: the same names may be in another one."""
    return f'{of},namespace="{file.spec.deploy.namespace}"' if file.spec.deploy.namespace else of


def in_flight(of: str, engine: str = "") -> str:
    """The same of each pod, endpoint and version. ``of``: labels."""
    if engine == "vllm":
        return f"vllm:num_requests_running{{{of}}} + vllm:num_requests_waiting{{{of}}}"
    return f"rate(fairlead_request_seconds_sum{{{of}}}[1m]) or fairlead_llm_answers_running{{{of}}}"


def _hpa(file: SpecFile, unit: Unit, scale: Scale, name: str) -> dict[str, Any]:
    assert scale.target is not None  # noqa: S101 - asked by the caller
    metric = {
        "type": "Pods",
        "pods": {
            "metric": {"name": Noted(IN_FLIGHT, "recorded by the PrometheusRule, told by prometheus-adapter")},
            "target": {"type": "AverageValue", "averageValue": Noted(_quantity(scale.target), scale.why)},
        },
    }
    body = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": scale.least,
        "maxReplicas": Noted(scale.most, scale.limit),
        "metrics": [metric],
        "behavior": _behavior(),
    }
    return thing(file, "autoscaling/v2", "HorizontalPodAutoscaler", name, {"spec": body}, labels(file, unit.name))


def _keda(file: SpecFile, unit: Unit, scale: Scale, name: str, engine: str) -> dict[str, Any]:
    assert scale.target is not None  # noqa: S101 - asked by the caller
    trigger = {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": Noted(file.spec.deploy.prometheus, file.at("deploy", "prometheus")),
            "query": query(file, name, engine),
            "threshold": Noted(f"{scale.target:.3f}".rstrip("0").rstrip("."), scale.why),
            "ignoreNullValues": Noted("false", "no figure is no load of none: fallback holds then"),
        },
    }
    body = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicaCount": scale.least,
        "maxReplicaCount": Noted(scale.most, scale.limit),
        "pollingInterval": 15,
        "fallback": Noted(
            {"failureThreshold": 4, "replicas": scale.least, "behavior": "currentReplicasIfHigher"},
            "while Prometheus is down, or has no figure: as many as there are",
        ),
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior()}},
        "triggers": [trigger],
    }
    return thing(file, "keda.sh/v1alpha1", "ScaledObject", name, {"spec": body}, labels(file, unit.name))


def _from_none(file: SpecFile, unit: Unit, scale: Scale, name: str, found: list[Unit]) -> dict[str, Any]:
    """Pods from 0 on; KEDA's add-on for HTTP makes the ScaledObject of it itself, and holds the call that wakes one."""
    assert scale.target is not None  # noqa: S101 - asked by the caller
    body = {
        "hosts": [Noted(one, file.at("deploy", "host")) for one in routes.hosts(file, unit, found)],
        **({} if routes.alone(file, unit, found) else {"pathPrefixes": routes.paths_of(file, unit, found)}),
        "scaleTargetRef": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": name,
            "service": name,
            "port": file.spec.server.port,
        },
        "replicas": {"min": 0, "max": Noted(scale.most, scale.limit)},
        "scaledownPeriod": Noted(math.ceil(scale.idle), f"{scale.where}.idle_ttl"),
        "scalingMetric": {"concurrency": {"targetValue": Noted(max(1, math.floor(scale.target)), scale.why)}},
        "timeouts": {
            "conditionWait": Noted(f"{whole(scale.wake)}s", f"{scale.where}.wake_deadline"),
            "responseHeader": _patience(file, unit, found),
        },
    }
    return thing(file, "http.keda.sh/v1alpha1", "HTTPScaledObject", name, {"spec": body}, labels(file, unit.name))


def _patience(file: SpecFile, unit: Unit, found: list[Unit]) -> Noted:
    longest = routes.longest(file, unit)
    if routes.keeps_labels(file, unit, found) and longest < routes.LABELS_SECONDS:
        return Noted(routes.duration(routes.LABELS_SECONDS), "labels are answered when they are durable")
    return Noted(routes.duration(longest), "the longest deadline_ms, and a quarter of a second")


def _behavior() -> dict[str, Any]:
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": _CALM,
            "policies": [{"type": "Percent", "value": 25, "periodSeconds": 60}],
        },
    }


def _quantity(value: float) -> str:
    """As Kubernetes writes it: whole, or in thousandths."""
    return str(int(value)) if float(value).is_integer() else f"{math.floor(value * 1000)}m"
