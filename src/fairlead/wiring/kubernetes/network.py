"""Who may reach a unit's pods, as whom they run, and how many of them may be taken away at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring.kubernetes import routes, units
from fairlead.wiring.kubernetes.asked import Rendering, labels, part_of, selected, thing
from fairlead.wiring.kubernetes.carried import Needs
from fairlead.wiring.kubernetes.units import Unit

_NAMESPACE: Final = "kubernetes.io/metadata.name"
_HTTPS: Final = 443
_API: Final = 6443
"""Where most clusters' API listens behind its Service's 443: a policy sees the port of what is behind."""
_NAMES: Final = (53, 5353)
"""Ports of name servers; the second one is that of the pods behind the first (OpenShift)."""
_ELSEWHERE: Final = ("amazon-vpc-lattice", "azure-alb-external", "cilium", "gke-l7-")
"""Beginnings of classes whose proxies are no pods: load balancers of a cloud, and Envoy in the nodes' own network."""


def account(file: SpecFile, name: str, *, told: bool = False) -> dict[str, Any]:
    """``told``: whether its pods get a token for the cluster's API."""
    found = thing(file, "v1", "ServiceAccount", name, {"automountServiceAccountToken": told})
    if file.spec.deploy.identity:
        found["metadata"]["annotations"] = Noted(dict(file.spec.deploy.identity), file.at("deploy", "identity"))
    return found


def disruptions(file: SpecFile, name: str, instance: str) -> dict[str, Any]:
    body = {
        "maxUnavailable": Noted(1, "so that a node can be drained, also where there is one pod"),
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": selected(instance)},
    }
    return thing(file, "policy/v1", "PodDisruptionBudget", name, {"spec": body}, labels(file, instance))


def policy(file: SpecFile, how: Rendering, unit: Unit, needs: Needs, engines: Sequence[str]) -> dict[str, Any]:
    """``engines``: servers of language models in pods of their own that it calls."""
    server = file.spec.server
    ports = [{"protocol": "TCP", "port": port} for port in (server.port, server.grpc_port) if port]
    callers: list[Any] = [Noted({"podSelector": {}}, "pods of the same namespace")]
    gateway = file.spec.deploy.gateway
    if gateway is not None and gateway.namespace:
        callers.append(Noted(_namespace(gateway.namespace), file.at("deploy", "gateway", "namespace")))
    if units.scale(file, unit).least == 0:
        callers.append(Noted(_namespace(routes.KEDA), "KEDA's interceptor"))
    made = gateway.gateway_class if how.mesh == "gateway-api" and gateway is not None else ""
    if made:
        callers.append(
            Noted({"namespaceSelector": {}}, "some classes run a Gateway's proxies in a namespace of their own")
        )
    ingress: list[Any] = [{"from": callers, "ports": ports}]
    if made.startswith(_ELSEWHERE):
        ingress = [Noted({"ports": ports}, f"from anywhere: the proxies of {made} are no pods")]
    metrics = [{"protocol": "TCP", "port": server.port}]
    ingress.append(
        {"from": [Noted(_namespace(file.spec.deploy.monitoring), file.at("deploy", "monitoring"))], "ports": metrics}
    )
    egress = _out(file, needs)
    for name in engines:
        to = [{"podSelector": {"matchLabels": selected(name)}}]
        egress.append({"to": to, "ports": [{"protocol": "TCP", "port": 8000}]})
    return _policy(file, unit.name, ingress, egress)


def closed(file: SpecFile, instance: str, needs: Needs, *, told: bool = False) -> dict[str, Any]:
    """Of pods that nobody calls. ``told``: whether they ask the cluster's API."""
    egress = _out(file, needs)
    if told:
        egress.append(Noted({"ports": [{"protocol": "TCP", "port": _API}]}, "the cluster's API"))
    return _policy(file, instance, [], egress)


def engine(file: SpecFile, instance: str, unit: Unit, port: int) -> dict[str, Any]:
    """Of a server of language models: called by its unit's pods alone, since it asks nobody who they are."""
    ports = [{"protocol": "TCP", "port": port}]
    ingress = [
        {"from": [{"podSelector": {"matchLabels": selected(unit.name)}}], "ports": ports},
        {"from": [Noted(_namespace(file.spec.deploy.monitoring), file.at("deploy", "monitoring"))], "ports": ports},
    ]
    return _policy(file, instance, ingress, _out(file, Needs()))


def controls(file: SpecFile, name: str) -> list[Any]:
    """What the controller may do to the cluster: read and move the weights of routes, in its namespace."""
    rules = [
        {
            "apiGroups": ["gateway.networking.k8s.io"],
            "resources": ["httproutes"],
            "verbs": ["get", "list", "watch", "patch", "update"],
        }
    ]
    subject: dict[str, Any] = {"kind": "ServiceAccount", "name": name}
    if file.spec.deploy.namespace:
        subject["namespace"] = file.spec.deploy.namespace
    role = thing(file, "rbac.authorization.k8s.io/v1", "Role", name, {"rules": rules})
    to = {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}, "subjects": [subject]}
    return [role, thing(file, "rbac.authorization.k8s.io/v1", "RoleBinding", name, to)]


def controller(file: SpecFile) -> str:
    return f"{part_of(file)}-controller"


def _policy(file: SpecFile, instance: str, ingress: list[Any], egress: list[Any]) -> dict[str, Any]:
    body = {
        "podSelector": {"matchLabels": selected(instance)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": egress,
    }
    return thing(file, "networking.k8s.io/v1", "NetworkPolicy", instance, {"spec": body}, labels(file, instance))


def _out(file: SpecFile, needs: Needs) -> list[Any]:
    """Names are asked for, and the ports of what the spec names; an address behind a name is not known here."""
    names = [{"protocol": one, "port": port} for port in _NAMES for one in ("UDP", "TCP")]
    others = sorted({*needs.ports, _HTTPS, *file.spec.deploy.egress_ports})
    note = "ports of the addresses in the spec, and deploy.egress_ports: where pods behind a Service listen elsewhere"
    found: list[Any] = [
        Noted({"ports": names}, "name servers"),
        Noted({"ports": [{"protocol": "TCP", "port": port} for port in others]}, note),
    ]
    if file.spec.deploy.identity:
        to = [{"ipBlock": {"cidr": "169.254.0.0/16"}}]
        ports = [{"protocol": "TCP", "port": port} for port in (80, 988)]
        found.append(Noted({"to": to, "ports": ports}, "the cloud's metadata, by which it knows the pods"))
    return found


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {_NAMESPACE: name}}}
