"""What does not work, on purpose or not."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class Faults:
    """Of one server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._injected = Counter(
            "fairlead_injected_faults",
            "Calls into which a fault was injected on purpose (fairlead chaos).",
            ("endpoint", "kind"),
            registry=registry,
        )
        self._degraded = Gauge(
            "fairlead_degraded",
            "Worker processes in which this part beside serving does not work now.",
            ("part",),
            registry=registry,
        )

    def injected(self, endpoint: str, kind: str, calls: int) -> None:
        self._injected.labels(endpoint, kind).inc(calls)

    def degraded(self, part: str, down: bool) -> None:
        self._degraded.labels(part).set(1 if down else 0)
