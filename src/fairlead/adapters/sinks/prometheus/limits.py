"""Calls over a limit, and what became of the store that counts limits for several servers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class Limits:
    """As ``contracts/sink.py`` has it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._limited = Counter(
            "fairlead_limited",
            "Calls over a limit; scope is whose: key, tenant, endpoint, or caller (a key at one endpoint).",
            ("endpoint", "scope", "limit"),
            registry=registry,
        )
        self._shared = Counter(
            "fairlead_limits_shared_calls",
            "Calls whose limits several servers share; asked: counted there, alone: it did not answer.",
            ("counted",),
            registry=registry,
        )

    def limited(self, endpoint: str, scope: str, limit: str) -> None:
        self._limited.labels(endpoint or "-", scope, limit).inc()

    def shared(self, counted: str, calls: int) -> None:
        self._shared.labels(counted).inc(calls)
