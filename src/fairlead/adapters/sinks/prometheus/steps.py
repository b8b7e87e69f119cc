"""What is measured of the steps of graphs."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram


class Steps:
    """Those of all graphs of this server; of an endpoint's ``EndpointMeter``."""

    def __init__(self, registry: CollectorRegistry, bounds: Sequence[float]) -> None:
        labels = ("endpoint", "version", "step")
        self._seconds = Histogram(
            "fairlead_step_seconds", "From the start of a graph's step to its end.", labels, registry=registry,
            buckets=bounds,
        )  # fmt: skip
        self._ended = Counter(
            "fairlead_steps",
            "Steps of graphs by outcome; code is ok, or why the step failed, or why a fallback stood in for it.",
            (*labels, "code"),
            registry=registry,
        )

        self._known: dict[tuple[str, str, str, str], tuple[Histogram, Counter]] = {}

    def step(self, endpoint: str, version: str, step: str, code: str, seconds: float) -> None:
        key = (endpoint, version, step, code)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = (self._seconds.labels(*key[:3]), self._ended.labels(*key))
        known[0].observe(seconds)
        known[1].inc()
