"""What is measured of fallbacks and breakers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class Resilience:
    """Of all endpoints of this server; of an endpoint's ``EndpointMeter``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("endpoint", "version")
        self._fallbacks = Counter(
            "fairlead_fallbacks",
            "Calls that a fallback answered, by rung and by the error that it stood in for.",
            (*labels, "rung", "code"),
            registry=registry,
        )
        self._changes = Counter(
            "fairlead_breaker_changes",
            "Times that the breaker became open, half_open or closed.",
            (*labels, "state"),
            registry=registry,
        )
        self._open = Gauge(
            "fairlead_breaker_open", "1 while the breaker is open; by workers added up.", labels, registry=registry
        )

    def fell_back(self, endpoint: str, version: str, rung: str, code: str) -> None:
        self._fallbacks.labels(endpoint, version, rung, code).inc()

    def breaker(self, endpoint: str, version: str, state: str) -> None:
        self._changes.labels(endpoint, version, state).inc()
        self._open.labels(endpoint, version).set(1 if state == "open" else 0)
