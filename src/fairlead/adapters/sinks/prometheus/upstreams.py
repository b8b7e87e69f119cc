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
        self._known: dict[tuple[str, ...], Counter] = {}

    def now(self, endpoint: str, version: str, address: str, in_flight: int, out: bool) -> None:
        self._in_flight.labels(endpoint, version, address).set(in_flight)
        self._out.labels(endpoint, version, address).set(1 if out else 0)

    def asked(self, endpoint: str, version: str, address: str, outcome: str) -> None:
        key = (endpoint, version, address, outcome)
        if key not in self._known:
            self._known[key] = self._asked.labels(*key)
        self._known[key].inc()
