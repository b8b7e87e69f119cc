"""Alerts on what a server says of itself, and the rules of a spec put together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint
from fairlead.wiring.prometheus.objectives import alerts, objectives, recording

Rule = dict[str, Any]


def groups(file: SpecFile) -> list[dict[str, Any]]:
    """Groups of rules, as a rule file and a ``PrometheusRule`` have them. Raises UsageError."""
    found = []
    for one in objectives(file):
        rules = [*recording(one), *alerts(one)]
        found.append({"name": f"fairlead-{one.objective.kind}-{one.endpoint}", "rules": rules})
    return [*found, {"name": "fairlead-server", "rules": list(_server(file))}, *_endpoints(file)]


def document(file: SpecFile) -> dict[str, Any]:
    """A rule file."""
    return {"groups": groups(file)}


def scrape(file: SpecFile) -> dict[str, Any]:
    """Jobs for ``scrape_configs``: the server of the spec."""
    server = file.spec.server
    host = server.host if server.host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - it is compared
    shown = f"[{host}]" if ":" in host else host
    job: dict[str, Any] = {
        "job_name": "fairlead",
        "metrics_path": "/metrics",
        "static_configs": [{"targets": [f"{shown}:{server.port}"]}],
    }
    if server.tls is not None:
        job["scheme"] = "https"
    if file.spec.access.required:
        job["authorization"] = {"type": "Bearer", "credentials_file": "/etc/prometheus/fairlead.key"}
    return {"scrape_configs": [job]}


def alert(name: str, expr: str, wait: str, severity: str, summary: str, description: str, **labels: str) -> Rule:
    return {
        "alert": f"Fairlead{name}",
        "expr": expr,
        "for": wait,
        "labels": {**labels, "severity": severity},
        "annotations": {"summary": summary, "description": description},
    }


def _server(file: SpecFile) -> Iterator[Rule]:
    yield alert(
        "Degraded", "max by (part) (fairlead_degraded) > 0", "5m", "warning",
        "{{ $labels.part }} does not work", "Serving goes on; /readyz says what is wrong.",
    )  # fmt: skip
    yield alert(
        "EventsDropped", "sum by (recorder) (rate(fairlead_events_dropped_total[5m])) > 0", "5m", "warning",
        "prediction events are dropped", "{{ $value | humanize }} a second, by recorder {{ $labels.recorder }}.",
    )  # fmt: skip
    yield alert(
        "EventLoopStalls", "fairlead_event_loop_longest_stall_seconds > 0.5", "2m", "warning",
        "the event loop stands still", "For {{ $value | humanizeDuration }}: every call in that process waits so long.",
    )  # fmt: skip
    if file.spec.server.workers > 1:
        yield alert(
            "WorkersRestart", 'sum(increase(fairlead_worker_restarts_total{reason="crashed"}[15m])) > 2', "0m",
            "critical", "worker processes crash", "{{ $value }} in a quarter of an hour.",
        )  # fmt: skip
    if file.spec.server.tls is not None:
        left = "(fairlead_tls_certificate_expiry_timestamp_seconds - time()) / 86400"
        yield alert(
            "CertificateExpires", f"{left} < 14", "1h", "warning", "the TLS certificate ends soon",
            "In {{ $value | humanize }} days.",
        )  # fmt: skip
    if file.spec.budgets or any(one.budgets for one in file.spec.endpoints.values()):
        used = "fairlead_budget_settled / (fairlead_budget_amount > 0)"
        yield alert(
            "BudgetNearlySpent", f"{used} > 0.9", "0m", "warning", "budget {{ $labels.budget }} is nearly spent",
            "{{ $value | humanizePercentage }} of this window's {{ $labels.unit }}.",
        )  # fmt: skip


def _endpoints(file: SpecFile) -> Iterator[dict[str, Any]]:
    for name, endpoint in file.spec.endpoints.items():
        rules = list(_speaking(name, endpoint) if endpoint.speaks else _predicting(name, endpoint))
        if rules:
            yield {"name": f"fairlead-endpoint-{name}", "rules": rules}


def _predicting(name: str, endpoint: Endpoint) -> Iterator[Rule]:
    of = f'endpoint="{name}"'
    yield alert(
        "EndpointDown", f"max(fairlead_endpoint_ready{{{of}}}) == 0 or absent(fairlead_endpoint_ready{{{of}}})", "2m",
        "critical", f"{name} answers no calls", "No version of it is ready.", endpoint=name,
    )  # fmt: skip
    calls = f"sum(rate(fairlead_requests_total{{{of}}}[5m]))"
    yield alert(
        "Shedding", f"sum(rate(fairlead_shed_total{{{of}}}[5m])) / {calls} > 0.01", "10m", "warning",
        f"{name} has more calls than it can answer", "{{ $value | humanizePercentage }} of them are refused early.",
        endpoint=name,
    )  # fmt: skip
    safety = endpoint.resilience
    if "breaker" in safety.model_fields_set and safety.breaker is not None:
        yield alert(
            "BreakerOpen", f"max by (version) (fairlead_breaker_open{{{of}}}) > 0", "1m", "critical",
            f"the breaker of {name} is open", "Version {{ $labels.version }} failed too often.", endpoint=name,
        )  # fmt: skip
    if safety.fallback:
        yield alert(
            "FallbacksAnswer", f"sum(rate(fairlead_fallbacks_total{{{of}}}[5m])) / {calls} > 0.05", "10m", "warning",
            f"fallbacks answer for {name}", "{{ $value | humanizePercentage }} of the calls.", endpoint=name,
        )  # fmt: skip
    if endpoint.upstream is not None:
        yield alert(
            "UpstreamLeftOut", f"sum by (address) (fairlead_upstream_ejected{{{of}}}) > 0", "10m", "warning",
            f"a server of {name} is left out", "{{ $labels.address }} fails or is slow.", endpoint=name,
        )  # fmt: skip
    if endpoint.model.startswith("models:"):
        yield alert(
            "ModelAlert", f"max by (alert) (fairlead_alert_firing{{{of}}}) > 0", "0m", "warning",
            f"{name}: {{{{ $labels.alert }}}}", "The monitors found it: `fairlead monitor report` tells more.",
            endpoint=name,
        )  # fmt: skip


def _speaking(name: str, endpoint: Endpoint) -> Iterator[Rule]:
    of = f'endpoint="{name}"'
    if endpoint.embedding is not None:
        return
    yield alert(
        "EngineLost", f'sum(increase(fairlead_llm_answers_total{{{of},outcome="engine_lost"}}[10m])) > 0', "0m",
        "critical", f"the engine of {name} ended", "{{ $value | humanize }} answers were lost with it.", endpoint=name,
    )  # fmt: skip
    if endpoint.llm is not None:
        asked = f"sum(rate(fairlead_llm_refused_total{{{of}}}[5m]))"
        yield alert(
            "QueueRefuses", f"{asked} > 0", "10m", "warning", f"the queue of {name} is full",
            "{{ $value | humanize }} requests a second are not let in.", endpoint=name,
        )  # fmt: skip
    if endpoint.guardrails is not None:
        yield alert(
            "GuardMissed", f"sum by (detector) (rate(fairlead_guard_missed_total{{{of}}}[5m])) > 0", "5m", "warning",
            f"a guardrail of {name} says nothing", "Detector {{ $labels.detector }} is late or fails.", endpoint=name,
        )  # fmt: skip
