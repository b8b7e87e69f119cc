"""Pods of vLLM for endpoints with ``llm: {engine: vllm}``; the endpoint's own pods stand in front and call them.

Its flags: https://docs.vllm.ai/en/latest/cli/serve/
"""

from __future__ import annotations

import math
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.options import given
from fairlead.kit.spec.deploy import Pods
from fairlead.kit.spec.llm import Llm
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring.contained import HOME
from fairlead.wiring.kubernetes import carried, network, pods, scaling, units
from fairlead.wiring.kubernetes.asked import SCRAPED, Rendering, exact, labels, secret, selected, thing
from fairlead.wiring.kubernetes.carried import Needs
from fairlead.wiring.kubernetes.units import Unit

PORT: Final = 8000
_OPTIONS: Final[dict[str, Any]] = {
    "parallel": 256,
    "connections": 1024,
    "tensor_parallel": 1,
    "prefix_caching": True,
    "memory_share": 0.9,
    "start_seconds": 1200.0,
    "context": 0,
    "arguments": [],
}
"""Options of the engine that its pods honour, and what they are where nothing is said."""
_OURS: Final = ("--host", "--port", "--api-key", "--served-model-name")
_EVERY: Final = 10
_STORAGE: Final = "100Gi"
"""Room for weights where nobody says how much: a pod that needs more than its room is ended. It is a bound only."""


def of(file: SpecFile, how: Rendering, unit: Unit) -> list[Any]:
    """Every object of the engines of a unit."""
    found: list[Any] = []
    for name in unit.endpoints:
        if units.apart(file, name):
            found += _engine(file, how, unit, name)
    return found


def names(file: SpecFile, unit: Unit) -> list[str]:
    return [carried.vllm_name(unit, name) for name in unit.endpoints if units.apart(file, name)]


def _engine(file: SpecFile, how: Rendering, unit: Unit, endpoint: str) -> list[Any]:
    name, scale = carried.vllm_name(unit, endpoint), units.engine_scale(file, endpoint)
    marks = labels(file, name)
    service: dict[str, Any] = {
        "selector": selected(name),
        "ports": [{"name": "http", "port": PORT, "targetPort": "http", "appProtocol": "http"}],
    }
    return [
        network.account(file, name),
        thing(file, "v1", "Service", name, {"spec": service}, {**marks, SCRAPED: "engine"}),
        _deployment(file, endpoint, name, None if scale.target else scale.least),
        network.disruptions(file, name, name),
        network.engine(file, name, unit, PORT),
        *scaling.scaler(file, how, Unit(name, endpoint, (endpoint,)), scale, name, [], "vllm"),
    ]


def _deployment(file: SpecFile, endpoint: str, name: str, count: int | None) -> dict[str, Any]:
    found = file.spec.endpoints[endpoint]
    assert found.llm is not None  # noqa: S101 - asked by the caller
    where = file.at("endpoints", endpoint, "llm", "options")
    try:
        options = given(found.llm.options, _OPTIONS, "vllm")
    except UsageError as error:
        raise UsageError(f"{where}: {error}, in pods") from None
    more: dict[str, Any] = {"gpus": options["tensor_parallel"]}
    if "storage" not in found.deploy.model_fields_set:
        more["storage"] = _STORAGE
    asked = found.deploy.model_copy(update=more)
    container = _container(file, endpoint, asked, found.llm, options)
    inside = pods.spec(file, name, asked, Needs(), [container], "", shared="2Gi")
    seconds = pods.SETTLE + found.deadline_ms / 1000 + pods.SETTLE
    inside["terminationGracePeriodSeconds"] = Noted(math.ceil(seconds), "longer than the longest stream")
    body: dict[str, Any] = {} if count is None else {"replicas": count}
    body |= {
        "revisionHistoryLimit": 5,
        "progressDeadlineSeconds": int(options["start_seconds"]) + 600,
        "strategy": Noted(
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "a new pod needs GPUs of its own before an old one ends",
        ),
        "selector": {"matchLabels": selected(name)},
        "template": {"metadata": {"labels": labels(file, name)}, "spec": inside},
    }
    return thing(file, "apps/v1", "Deployment", name, {"spec": body}, labels(file, name))


def _container(file: SpecFile, endpoint: str, asked: Pods, llm: Llm, options: dict[str, Any]) -> dict[str, Any]:
    environment: list[Any] = [{"name": key, "value": value} for key, value in _ENVIRONMENT.items()]
    environment.append(
        Noted({"name": "HF_TOKEN", "valueFrom": _key(file, "HF_TOKEN", optional=True)}, "for weights behind a login")
    )
    if llm.token:
        where = file.at("endpoints", endpoint, "llm", "token")
        key = llm.token.removeprefix("env:")
        environment.append(Noted({"name": "VLLM_API_KEY", "valueFrom": _key(file, key)}, where))
    starts = math.ceil(options["start_seconds"] / _EVERY)
    check = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": _EVERY, "timeoutSeconds": 5}
    drain = math.ceil(file.spec.endpoints[endpoint].deadline_ms / 1000) + pods.SETTLE
    return {
        "name": "vllm",
        "image": Noted(
            exact(file.spec.deploy.vllm_image, file.at("deploy", "vllm_image")), file.at("deploy", "vllm_image")
        ),
        "command": ["vllm", "serve"],
        "args": _words(file, endpoint, llm, options),
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": environment,
        "resources": pods.resources(asked, file.at("endpoints", endpoint, "deploy")),
        "startupProbe": {**check, "failureThreshold": starts},
        "readinessProbe": {**check, "failureThreshold": 3},
        "livenessProbe": {**check, "failureThreshold": 6},
        "lifecycle": {
            "preStop": {
                "sleep": {
                    "seconds": Noted(drain, "longer than the longest stream: vLLM cuts them when it is told to end")
                }
            }
        },
        "securityContext": pods.contained(),
        "volumeMounts": [*pods.own(), *pods.claims(asked)],
    }


_ENVIRONMENT: Final = {
    "HOME": HOME,
    "USER": "vllm",
    "HF_HOME": f"{HOME}/huggingface",
    "VLLM_CACHE_ROOT": f"{HOME}/vllm",
    "TRITON_CACHE_DIR": f"{HOME}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{HOME}/inductor",
    "VLLM_NO_USAGE_STATS": "1",
}
"""All that is written goes where there is room: the root is read only, and the user has no name.

What keeps a cache in the folder of its user (FlashInfer, CUDA) keeps it there, too."""


def _words(file: SpecFile, endpoint: str, llm: Llm, options: dict[str, Any]) -> list[Any]:
    """Raises UsageError for what is ours to say."""
    where = file.at("endpoints", endpoint, "llm")
    if not llm.model:
        raise UsageError(f"{where} names no model; give llm.model, a name that vLLM knows or a folder of a volume")
    if options["tensor_parallel"] < 1 or not 0.0 < options["memory_share"] <= 1.0:
        raise UsageError(f"{where}.options: `tensor_parallel` is 1 or more, `memory_share` above 0 and at most 1")
    more = [str(one) for one in options["arguments"]]
    if ours := next((one for one in more if one.partition("=")[0] in _OURS), ""):
        raise UsageError(f"{where}.options.arguments has {ours}, which the pod sets itself; leave it out")
    words = [llm.model, "--host", "0.0.0.0", "--port", str(PORT), "--served-model-name", endpoint]  # noqa: S104 - a container
    words += ["--generation-config", "vllm", "--tensor-parallel-size", str(options["tensor_parallel"])]
    words += ["--enable-prefix-caching" if options["prefix_caching"] else "--no-enable-prefix-caching"]
    words += ["--gpu-memory-utilization", str(options["memory_share"])]
    if options["context"]:
        words += ["--max-model-len", str(options["context"])]
    return [*words, *more]


def _key(file: SpecFile, key: str, *, optional: bool = False) -> dict[str, Any]:
    reference: dict[str, Any] = {"name": secret(file), "key": key}
    if optional:
        reference["optional"] = True
    return {"secretKeyRef": reference}
