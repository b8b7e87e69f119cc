"""How calls come to the pods: a Service for each arm, and a route that shares them out (Gateway API, or Istio).

A route sees the path and not the body: an endpoint of tensors has paths of its own, a language model is named in the
body. So of several units one may answer OpenAI's API under the common host, else each has a host of its own.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from fairlead.contracts.access import EVERY, Action
from fairlead.contracts.errors import UsageError
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.scopes import scope
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring.kubernetes import carried, units
from fairlead.wiring.kubernetes.asked import (
    CANARY,
    ENDPOINT,
    SCRAPED,
    STABLE,
    Rendering,
    labels,
    part_of,
    selected,
    thing,
    whole,
)
from fairlead.wiring.kubernetes.units import Unit

INTERCEPTOR: Final = "keda-add-ons-http-interceptor-proxy"
KEDA: Final = "keda"
_INTERCEPTOR_PORT: Final = 8080
_API: Final = "gateway.networking.k8s.io/v1"
_SLACK: Final = 0.25
"""Seconds that a pod has less than its route, so that its own error is the one that callers see."""
_OPENAI: Final = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/files", "/v1/batches",
    "/tokenize", "/detokenize",
)  # fmt: skip
LABELS: Final = "/v1/feedback"
LABELS_SECONDS: Final = 10.0 + _SLACK
"""Seconds that a route gives labels: a server has 10 to keep them (``serve.http.KEEP_SECONDS``)."""
_GRPC: Final = (
    "inference.GRPCInferenceService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)  # fmt: skip
"""Services of gRPC. They are a rule of the one HTTPRoute: beside a GRPCRoute of the same host a Gateway takes only the
older of the two."""
_MOST: Final = 64
"""Paths that a rule of an HTTPRoute may have; all of its rules may have twice as many (Gateway API)."""


def services(file: SpecFile, unit: Unit, arms: tuple[str, ...]) -> list[Any]:
    """One by the unit's name for all its pods, and one for each arm."""
    return [_service(file, unit, ""), *(_service(file, unit, arm) for arm in arms)]


def _service(file: SpecFile, unit: Unit, arm: str) -> dict[str, Any]:
    server = file.spec.server
    name = f"{unit.name}-{arm}" if arm else unit.name
    ports: list[Any] = [
        {"name": "http", "port": server.port, "targetPort": "http", "appProtocol": "https" if server.tls else "http"}
    ]
    if server.grpc_port:
        spoken = "https" if server.tls else "kubernetes.io/h2c"
        ports.append({"name": "grpc", "port": server.grpc_port, "targetPort": "grpc", "appProtocol": spoken})
    marks = labels(file, unit.name, **({"arm": arm} if arm else {}))
    return thing(file, "v1", "Service", name, {"spec": {"selector": selected(unit.name, arm), "ports": ports}}, marks)


def scraped(service: dict[str, Any]) -> dict[str, Any]:
    """The same, found by the ServiceMonitor."""
    service["metadata"]["labels"][SCRAPED] = "server"
    return service


def check(file: SpecFile, how: Rendering, found: list[Unit]) -> None:
    """Raises UsageError for calls that no route can tell apart."""
    if not how.mesh or file.spec.deploy.gateway is None:  # inside of a mesh each has the host of its own Service
        return
    speaking = [unit for unit in found if _speaks(file, unit)]
    if len(speaking) > 1 and not file.spec.deploy.host:
        names = " and ".join(unit.head for unit in speaking[:2])
        raise UsageError(
            f"{file.at('endpoints', speaking[1].head)}: {names} are language models in pods of their "
            "own, and no route reads "
            "which one a body names; give deploy.host, under which each has a host of its own, or "
            "put them behind one (route)"
        )
    if file.spec.server.grpc_port and len(found) > 1:
        raise UsageError(
            f"{file.at('server', 'grpc_port')}: a message names the model, and no route reads it, of "
            f"{len(found)} pods; leave "
            "it out, or render without --mesh"
        )
    for unit in found if how.mesh == "gateway-api" else ():
        paths = 0 if alone(file, unit, found) else len(paths_of(file, unit, found))
        if paths > 2 * _MOST:
            raise UsageError(
                f"{file.at('endpoints', unit.head)} is in a pod with {len(unit.endpoints) - 1} others, which have "
                f"{paths} paths, and a route takes {2 * _MOST}; give them a spec of their own, or render without --mesh"
            )


def route(file: SpecFile, how: Rendering, unit: Unit, found: list[Unit], arms: tuple[str, ...]) -> list[Any]:
    """``found``: all units.  ``arms``: of this one; empty where there is one."""
    from_none = units.scale(file, unit).least == 0
    shares = _shares(file, unit, arms, from_none)
    if how.mesh == "istio":
        return [_virtual_service(file, unit, found, shares)]
    return [_http_route(file, unit, found, shares, arms, from_none)]


def gateway(file: SpecFile) -> list[Any]:
    """The Gateway that is made, where the spec names a class of it."""
    asked = file.spec.deploy.gateway
    if asked is None or not asked.gateway_class:
        return []
    listener: dict[str, Any] = {"name": "http", "protocol": "HTTP", "port": 80}
    if asked.tls_secret:
        tls = {"mode": "Terminate", "certificateRefs": [{"kind": "Secret", "name": asked.tls_secret}]}
        listener = {"name": "https", "protocol": "HTTPS", "port": 443, "tls": tls}
    body = {
        "gatewayClassName": Noted(asked.gateway_class, file.at("deploy", "gateway", "gateway_class")),
        "listeners": [{**listener, "allowedRoutes": {"namespaces": {"from": "Same"}}}],
    }
    return [thing(file, _API, "Gateway", part_of(file), {"spec": body})]


def granted(file: SpecFile) -> dict[str, Any]:
    """Routes of the pods' namespace may lead to KEDA's interceptor."""
    here = file.spec.deploy.namespace
    body = {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": here}],
        "to": [{"group": "", "kind": "Service", "name": INTERCEPTOR}],
    }
    found = thing(
        file, "gateway.networking.k8s.io/v1beta1", "ReferenceGrant", f"{part_of(file)}-routes", {"spec": body}
    )
    found["metadata"]["namespace"] = KEDA
    return found


def prefixes(file: SpecFile, unit: Unit) -> list[str]:
    """Beginnings of the paths of a unit's endpoints."""
    found = []
    for name in unit.endpoints:
        found += [f"/v2/models/{name}", f"/v1/models/{name}", f"/serving-endpoints/{name}"]
        found += [f"/v1/models/{name}:predict", f"/v1/models/{name}:explain"]
    return [*found, *(_OPENAI if _speaks(file, unit) else ())]


def paths_of(file: SpecFile, unit: Unit, found: list[Unit]) -> list[str]:
    """The same, and that of labels where the unit keeps those of all: what leads to its pods and to no others."""
    return [*prefixes(file, unit), *([LABELS] if keeps_labels(file, unit, found) else [])]


def keeps_labels(file: SpecFile, unit: Unit, found: list[Unit]) -> bool:
    """Whether the labels that come under the unit's host are led to it. They name their endpoint, and the store is one,
    so that any pod can keep those of all; who may give them is known to the pods of an endpoint alone where its own
    scopes say it, so that such a unit keeps them, and with two of them none does."""
    if file.spec.record is False:
        return False
    here = [unit] if alone(file, unit, found) else [one for one in found if not alone(file, one, found)]
    strict = [one for one in here if any(_names_givers(file, name) for name in one.endpoints)]
    if len(strict) > 1:
        return False
    awake = [one for one in here if units.scale(file, one).least]
    return unit == (strict or awake or here)[0]


def _names_givers(file: SpecFile, endpoint: str) -> bool:
    asked = map(scope, file.spec.endpoints[endpoint].access.scopes)
    return any(one.action in (Action.FEEDBACK, EVERY) for one in asked)


def longest(file: SpecFile, unit: Unit) -> float:
    """Seconds that a route gives a call, whichever endpoint of the unit it is for."""
    return carried.longest(file, unit.endpoints) + _SLACK


def _patience(file: SpecFile, unit: Unit) -> float:
    """Seconds that a route gives a call; where there may be no pod, with the time that one takes to wake."""
    return longest(file, unit) + _waking(file, unit)


def _for_labels(file: SpecFile, unit: Unit) -> tuple[float, str]:
    """Seconds that a route gives labels, and what for."""
    waking = _waking(file, unit)
    return (
        LABELS_SECONDS + waking,
        f"labels are answered when they are durable{', after wake_deadline' if waking else ''}",
    )


def _waking(file: SpecFile, unit: Unit) -> float:
    scale = units.scale(file, unit)
    return 0.0 if scale.least else scale.wake


def _why(file: SpecFile, unit: Unit) -> str:
    wake = "" if units.scale(file, unit).least else ", wake_deadline"
    return f"the longest deadline_ms, at which the pod answers{wake}, and a quarter of a second"


def duration(seconds: float) -> str:
    """As the Gateway API writes it (GEP-2257): up to five digits of a unit."""
    milliseconds = math.ceil(round(seconds * 1000, 6))
    return (
        f"{milliseconds}ms" if milliseconds < 100_000 and milliseconds % 1000 else f"{math.ceil(milliseconds / 1000)}s"
    )


def hosts(file: SpecFile, unit: Unit, found: list[Unit]) -> list[str]:
    """By which the unit is known outside; none without a Gateway."""
    host = file.spec.deploy.host if file.spec.deploy.gateway is not None else ""
    own = sum(_speaks(file, one) for one in found) > 1 and _speaks(file, unit)
    return [] if not host else [f"{unit.name}.{host}" if own else host]


def _speaks(file: SpecFile, unit: Unit) -> bool:
    return any(file.spec.endpoints[name].speaks for name in unit.endpoints)


def _shares(file: SpecFile, unit: Unit, arms: tuple[str, ...], from_none: bool) -> list[tuple[str, str, int, int]]:
    """Service, its namespace (empty: that of the pods), port and weight."""
    port = file.spec.server.port
    if not arms:
        return [(INTERCEPTOR, KEDA, _INTERCEPTOR_PORT, 100) if from_none else (unit.name, "", port, 100)]
    stable = (INTERCEPTOR, KEDA, _INTERCEPTOR_PORT, 100) if from_none else (f"{unit.name}-{STABLE}", "", port, 100)
    return [stable, (f"{unit.name}-{CANARY}", "", port, 0)]


def _http_route(
    file: SpecFile, unit: Unit, found: list[Unit], shares: list[Any], arms: tuple[str, ...], from_none: bool
) -> dict[str, Any]:
    backends: list[Any] = []
    for name, namespace, port, weight in shares:
        one: dict[str, Any] = {"name": name, "port": port}
        if namespace:
            one["namespace"] = Noted(namespace, "KEDA's interceptor holds the call that wakes a pod")
        one["weight"] = Noted(weight, "a rollout moves it") if arms else weight
        backends.append(one)
    timeouts = {"request": Noted(duration(_patience(file, unit)), _why(file, unit))}
    rules = [{"matches": some, "backendRefs": backends, "timeouts": timeouts} for some in _matches(file, unit, found)]
    if keeps_labels(file, unit, found):
        seconds, why = _for_labels(file, unit)
        kept = [{"path": {"type": "Exact", "value": LABELS}}]
        rules.append({"matches": kept, "backendRefs": backends, "timeouts": {"request": Noted(duration(seconds), why)}})
    if file.spec.deploy.gateway is not None and (port := file.spec.server.grpc_port):  # else it has a port of its own
        paths = [{"path": {"type": "PathPrefix", "value": f"/{one}"}} for one in _GRPC]
        rules.append({"matches": paths, "backendRefs": [{"name": unit.name, "port": port}], "timeouts": timeouts})
    body: dict[str, Any] = {"parentRefs": [_parent(file, unit)]}
    if names := hosts(file, unit, found):
        body["hostnames"] = names
    body["rules"] = rules
    marks = labels(file, unit.name)
    if arms:
        marks[ENDPOINT] = unit.head
    made = thing(file, _API, "HTTPRoute", unit.name, {"spec": body}, marks)
    if arms and from_none:
        made["metadata"]["annotations"] = {"fairlead.dev/champion": INTERCEPTOR}
    return made


def _parent(file: SpecFile, unit: Unit) -> dict[str, Any]:
    """The Gateway; without one the unit's own Service, for a mesh (GAMMA)."""
    asked = file.spec.deploy.gateway
    if asked is None:
        return {"group": "", "kind": "Service", "name": unit.name, "port": file.spec.server.port}
    found: dict[str, Any] = {"name": asked.name or part_of(file)}
    if asked.namespace:
        found["namespace"] = asked.namespace
    return found


def alone(file: SpecFile, unit: Unit, found: list[Unit]) -> bool:
    """Whether every path under its host is the unit's. Without a Gateway its host is its own Service."""
    if len(found) == 1 or file.spec.deploy.gateway is None:
        return True
    return hosts(file, unit, found) not in [hosts(file, one, found) for one in found if one != unit]


def _matches(file: SpecFile, unit: Unit, found: list[Unit]) -> list[list[Any]]:
    """Of each rule."""
    if alone(file, unit, found):
        return [[{"path": {"type": "PathPrefix", "value": "/"}}]]
    every = [{"path": {"type": "Exact" if ":" in one else "PathPrefix", "value": one}} for one in prefixes(file, unit)]
    return [every[start : start + _MOST] for start in range(0, len(every), _MOST)]


def _virtual_service(file: SpecFile, unit: Unit, found: list[Unit], shares: list[Any]) -> dict[str, Any]:
    asked = file.spec.deploy.gateway
    space = f".{file.spec.deploy.namespace}" if file.spec.deploy.namespace else ""
    to = [
        {
            "destination": {
                "host": f"{name}.{namespace}.svc.cluster.local"
                if namespace
                else f"{name}{space}.svc.cluster.local"
                if space
                else name,
                "port": {"number": port},
            },
            "weight": weight,
        }
        for name, namespace, port, weight in shares
    ]
    words = "|".join(re.escape(name) for name in unit.endpoints)
    paths = [f"/(v1|v2)/models/({words})([:/].*)?|/serving-endpoints/({words})/.*"]
    paths += [f"({'|'.join(_OPENAI)})(/.*)?"] if _speaks(file, unit) else []
    one: dict[str, Any] = {} if alone(file, unit, found) else {"match": [{"uri": {"regex": path}} for path in paths]}
    one |= {"route": to, "timeout": Noted(f"{whole(_patience(file, unit))}s", _why(file, unit))}
    one["retries"] = Noted({"attempts": 0}, "the pods try again by themselves")
    every = [one]
    if keeps_labels(file, unit, found):
        seconds, why = _for_labels(file, unit)
        patience = Noted(f"{whole(seconds)}s", why)
        every.insert(0, {**one, "match": [{"uri": {"exact": LABELS}}], "timeout": patience})
    if grpc := file.spec.server.grpc_port:
        there = [{"destination": {**to[0]["destination"], "port": {"number": grpc}}}]
        every.insert(0, {**one, "match": [{"uri": {"prefix": f"/{name}/"}} for name in _GRPC], "route": there})
    body = {
        "hosts": hosts(file, unit, found) or (["*"] if asked else [unit.name]),
        "gateways": [(f"{asked.namespace}/" if asked.namespace else "") + asked.name] if asked else ["mesh"],
        "http": every,
    }
    return thing(file, "networking.istio.io/v1", "VirtualService", unit.name, {"spec": body}, labels(file, unit.name))
