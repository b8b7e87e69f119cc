"""What is measured of other servers that run models of this one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class Upstreams:
    """By address, which the spec bounds; of an endpoint's ``EndpointMeter``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("endpoint", "version", "address")
        self._in_flight = Gauge(
            "fairlead_upstream_in_flight", "Requests that another server has now.", labels, registry=registry
        )
        self._out = Gauge(
            "fairlead_upstream_ejected",
            "1 while an address is left out; by workers added up.",
            labels,
            registry=registry,
        )
        self._asked = Counter(
            "fairlead_upstream_requests",
            "Requests by outcome: ok, invalid, failed, refused, garbled, unreached, timeout or cancelled.",
            (*labels, "outcome"),
            registry=registry,
        )
        self._ejected = Counter(
            "fairlead_upstream_ejections",
            "Times that an address was left out, by reason: failures, errors, slow, unwell or other_model.",
            (*labels, "reason"),
            registry=registry,
        )
        self._retries = Counter(
            "fairlead_retries",
            "Calls that could be tried again, by outcome: sent, or not for want of budget or deadline.",
            ("endpoint", "version", "outcome"),
            registry=registry,
        )
        self._hedges = Counter(
            "fairlead_hedges",
            "Second requests by outcome: sent, or not for want of budget; won: answered first.",
            ("endpoint", "version", "outcome"),
            registry=registry,
        )
        self._known: dict[tuple[str, ...], Counter] = {}

    def now(self, endpoint: str, version: str, address: str, in_flight: int, out: bool) -> None:
        self._in_flight.labels(endpoint, version, address).set(in_flight)
        self._out.labels(endpoint, version, address).set(1 if out else 0)

    def asked(self, endpoint: str, version: str, address: str, outcome: str) -> None:
        key = (endpoint, version, address, outcome)
        if key not in self._known:
            self._known[key] = self._asked.labels(*key)
        self._known[key].inc()

    def ejected(self, endpoint: str, version: str, address: str, reason: str) -> None:
        self._ejected.labels(endpoint, version, address, reason).inc()

    def retry(self, endpoint: str, version: str, outcome: str) -> None:
        self._retries.labels(endpoint, version, outcome).inc()

    def hedge(self, endpoint: str, version: str, outcome: str) -> None:
        self._hedges.labels(endpoint, version, outcome).inc()
