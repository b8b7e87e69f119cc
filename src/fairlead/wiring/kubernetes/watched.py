"""What Prometheus is told of the pods: whom to ask for metrics, and what to make of them (Prometheus operator)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring.contained import METRICS_KEY
from fairlead.wiring.kubernetes import scaling
from fairlead.wiring.kubernetes.asked import IN_FLIGHT, SCRAPED, labels, part_of, secret, thing
from fairlead.wiring.specs_identity import required

_API: Final = "monitoring.coreos.com/v1"


def monitor(file: SpecFile) -> dict[str, Any]:
    """Of all pods of the spec."""
    asked: dict[str, Any] = {
        "port": "http",
        "path": "/metrics",
        "interval": "15s",
        "honorLabels": Noted(True, "the label endpoint is the endpoint of a call, not a port"),
    }
    if required(file.spec.access):
        note = "of fairlead keys create --name prometheus --scope '*:metrics'"
        credentials = Noted({"name": secret(file), "key": METRICS_KEY}, note)
        asked["authorization"] = {"type": "Bearer", "credentials": credentials}
    if file.spec.server.tls is not None:
        note = "the certificate is for the callers' name, and Prometheus asks pods by their address"
        asked |= {"scheme": "https", "tlsConfig": Noted({"insecureSkipVerify": True}, note)}
    return _monitor(file, part_of(file), "server", asked)


def engines(file: SpecFile) -> dict[str, Any]:
    """Of the servers of language models."""
    return _monitor(file, f"{part_of(file)}-engines", "engine", {"port": "http", "path": "/metrics", "interval": "15s"})


def rules(
    file: SpecFile, jobs: Sequence[str], engine_jobs: Sequence[str], more: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """``jobs``: Services that are scraped.  ``more``: further groups (name, rules), as Prometheus has them."""
    recorded: list[Any] = []
    law = "seconds in calls, each second: Little's law"
    for names, engine, note in ((jobs, "", law), (engine_jobs, "vllm", "as vLLM counts them")):
        if names:
            of = scaling.within(file, f'job=~"{"|".join(names)}"')
            expression = f"sum by (namespace, pod) ({scaling.in_flight(of, engine)})"
            recorded.append({"record": IN_FLIGHT, "expr": Noted(expression, note)})
    groups: list[Any] = [{"name": "fairlead-in-flight", "interval": "15s", "rules": recorded}, *map(dict, more)]
    return thing(file, _API, "PrometheusRule", part_of(file), {"spec": {"groups": groups}}, _found(file, part_of(file)))


def _monitor(file: SpecFile, name: str, what: str, asked: dict[str, Any]) -> dict[str, Any]:
    found = {"app.kubernetes.io/part-of": part_of(file), SCRAPED: what}
    body = {"selector": {"matchLabels": found}, "endpoints": [asked]}
    return thing(file, _API, "ServiceMonitor", name, {"spec": body}, _found(file, name))


def _found(file: SpecFile, name: str) -> dict[str, Any]:
    """Labels of what Prometheus' operator must find."""
    return {**file.spec.deploy.monitoring_labels, **labels(file, name)}
