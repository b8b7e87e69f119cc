"""A spec as objects of KServe: our server is a ServingRuntime, since it speaks KServe's protocols (V1 and V2).

KServe has a route, a scaler and pods of its own (Knative), so whatever else ``render kubernetes`` says of these is
KServe's, and refused here where the spec asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.kit import noted_yaml
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring.contained import HOME, USER
from fairlead.wiring.kubernetes import carried, network, pods, refused, units
from fairlead.wiring.kubernetes.asked import SPEC, Rendering, image, labels, thing
from fairlead.wiring.kubernetes.units import Scale, Unit

HEAD: Final = "# KServe, rendered from {} by `fairlead render kserve`: change that file, not this one.\n"
FORMAT: Final = "fairlead"
_RESERVED: Final = (8008, 8012, 8013, 8022, 9090, 9091)
"""Ports of the proxy that Knative puts into each pod (its ``reservedPorts``)."""


def objects(file: SpecFile, how: Rendering) -> list[Any]:
    """Raises UsageError for what KServe cannot honour."""
    found = units.units(file)
    for why in _refused(file, found):
        raise UsageError(why)
    refused.check(file, Rendering(how.image, "keda", insecure=how.insecure), [])
    for unit in found:
        refused.check_unit(file, unit)
    made: list[Any] = []
    for unit in found:
        told = carried.unit_data(file, unit)
        made += [
            network.account(file, unit.name),
            thing(file, "v1", "ConfigMap", unit.name, {"data": {"fairlead.yaml": carried.text(told, file.name)}}),
            _runtime(file, how, unit, told),
            _service(file, unit, units.scale(file, unit)),
        ]
    return made


def render(file: SpecFile, how: Rendering) -> str:
    """The same as YAML. Raises UsageError."""
    return HEAD.format(file.name) + "---\n".join(noted_yaml.text(one) for one in objects(file, how))


def plain(file: SpecFile, how: Rendering) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": [noted_yaml.plain(one) for one in objects(file, how)]}


def _refused(file: SpecFile, found: list[Unit]) -> Iterator[str]:
    server = file.spec.server
    if server.grpc_port:
        yield f"{file.at('server', 'grpc_port')}: a pod of Knative has one port; leave it out, or render kubernetes"
    if server.port in _RESERVED:
        yield f"{file.at('server', 'port')} is {server.port}, which is Knative's own in each pod; give 8080"
    if server.tls is not None:
        yield f"{file.at('server', 'tls')}: KServe's ingress has the certificate; leave it out"
    for part in ("host", "gateway"):
        if part in file.spec.deploy.model_fields_set:
            yield f"{file.at('deploy', part)}: KServe has hosts and a gateway of its own; leave it out"
    for unit in found:
        for name in unit.endpoints:
            endpoint = file.spec.endpoints[name]
            for part in ("rollout", "retrain", "monitor"):
                if part in endpoint.model_fields_set:
                    where = file.at("endpoints", name, part)
                    yield f"{where} needs the controller, which KServe does not run; leave it out, or render kubernetes"
            if units.apart(file, name):
                where = file.at("endpoints", name, "llm", "engine")
                yield (
                    f"{where} is vllm, which has pods of its own; render kubernetes, or say engine: "
                    "openai with base_url"
                )
            if endpoint.deploy.nodes:
                where = file.at("endpoints", name, "deploy", "nodes")
                yield f"{where}: Knative chooses nodes unless its features say otherwise; leave it out"


def _runtime(file: SpecFile, how: Rendering, unit: Unit, told: dict[str, Any]) -> dict[str, Any]:
    name, asked = units.pods(file, unit)
    needs = carried.needs(file, told)
    inside = pods.spec(file, unit.name, asked, needs, [], unit.name)
    body: dict[str, Any] = {
        "annotations": {
            "prometheus.kserve.io/port": str(file.spec.server.port),
            "prometheus.kserve.io/path": "/metrics",
            **carried.stamp(told, file.name),
        },
        "supportedModelFormats": [{"name": FORMAT, "version": "1", "autoSelect": False}],
        "protocolVersions": Noted(["v1", "v2"], "KServe V1, and the Open Inference Protocol"),
        "multiModel": False,
        "containers": [
            {
                "name": "kserve-container",
                "image": image(file, how),
                "args": ["up", SPEC, "--no-controller", *(["--insecure"] if how.insecure else [])],
                "workingDir": HOME,
                "ports": [{"name": "http1", "containerPort": file.spec.server.port, "protocol": "TCP"}],
                "env": [{"name": "FAIRLEAD_HOME", "value": HOME}, *pods.environment(file, needs)],
                "resources": pods.resources(asked, file.at("endpoints", name, "deploy")),
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": file.spec.server.port}, "periodSeconds": 5},
                "livenessProbe": {
                    "httpGet": {"path": "/healthz", "port": file.spec.server.port},
                    "failureThreshold": 6,
                },
                "securityContext": {
                    **pods.contained(),
                    "runAsNonRoot": True,
                    "runAsUser": USER,
                    "runAsGroup": USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumeMounts": pods.mounts(file, asked, needs),
            }
        ],
        "volumes": inside["volumes"],
        **pods.placed(asked),
    }
    if file.spec.deploy.pull_secret:
        body["imagePullSecrets"] = [{"name": file.spec.deploy.pull_secret}]
    return thing(
        file, "serving.kserve.io/v1alpha1", "ServingRuntime", unit.name, {"spec": body}, labels(file, unit.name)
    )


def _service(file: SpecFile, unit: Unit, scale: Scale) -> dict[str, Any]:
    predictor: dict[str, Any] = {
        "serviceAccountName": unit.name,
        "minReplicas": Noted(scale.least, scale.where),
        "maxReplicas": Noted(scale.most, scale.limit or scale.where),
        "timeout": Noted(math.ceil(carried.longest(file, unit.endpoints)), "the longest deadline_ms, seconds"),
        "model": {
            "modelFormat": {"name": FORMAT, "version": "1"},
            "runtime": unit.name,
            "protocolVersion": "v2",
        },
    }
    if scale.target is not None:
        predictor |= {
            "scaleMetric": Noted("concurrency", "calls in flight, never the CPU"),
            "scaleTarget": Noted(max(1, math.floor(scale.target)), scale.why),
        }
    found = thing(file, "serving.kserve.io/v1beta1", "InferenceService", unit.name, {"spec": {"predictor": predictor}})
    found["metadata"]["annotations"] = {
        "serving.kserve.io/deploymentMode": Noted("Knative", "it scales by calls in flight, and from 0"),
        "autoscaling.knative.dev/scale-to-zero-pod-retention-period": Noted(
            f"{math.ceil(scale.idle)}s", f"{scale.where}.idle_ttl"
        ),
    }
    if scale.least:
        del found["metadata"]["annotations"]["autoscaling.knative.dev/scale-to-zero-pod-retention-period"]
    return found
