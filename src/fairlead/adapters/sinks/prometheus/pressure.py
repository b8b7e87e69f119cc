"""What is measured of more calls than can be answered."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class Pressure:
    """On all endpoints of this server; of an endpoint's ``EndpointMeter``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("endpoint", "version")
        self._wait = Gauge(
            "fairlead_queue_delay_seconds", "Time that a call of lane standard would wait now.", labels,
            registry=registry,
        )  # fmt: skip
        self._limit = Gauge("fairlead_concurrency_limit", "Batches that may run at once.", labels, registry=registry)
        self._shed = Counter(
            "fairlead_shed",
            "Calls that were shed; reason is deadline, delay, queue_full or displaced.",
            (*labels, "reason", "lane"),
            registry=registry,
        )
        self._known: dict[tuple[str, str, str, str], Counter] = {}

    def now(self, endpoint: str, version: str, wait: float, limit: int) -> None:
        self._wait.labels(endpoint, version).set(wait)
        self._limit.labels(endpoint, version).set(limit)

    def shed(self, endpoint: str, version: str, reason: str, lane: str) -> None:
        key = (endpoint, version, reason, lane)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._shed.labels(*key)
        known.inc()
