"""What guardrails find, and the time that they take."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram


class Guards:
    """Of all language models."""

    def __init__(self, registry: CollectorRegistry, bounds: Sequence[float]) -> None:
        self.findings = Counter(
            "fairlead_guard_findings",
            "What guardrails found; side is input or output, action is flag, mask or block.",
            ("endpoint", "side", "detector", "kind", "action"),
            registry=registry,
        )
        self.seconds = Histogram(
            "fairlead_guard_seconds",
            "What a question waited for its guardrails, and an answer for those of its pieces.",
            ("endpoint", "side"),
            buckets=bounds,
            registry=registry,
        )
        self.silent = Counter(
            "fairlead_guard_missed",
            "Looks at which a detector said nothing: late, or failed.",
            ("endpoint", "side", "detector", "why"),
            registry=registry,
        )
        self._meters: dict[str, _Guard] = {}

    def of(self, endpoint: str) -> _Guard:
        """``endpoint``, as the contract says."""
        return self._meters.setdefault(endpoint, _Guard(self, endpoint))


class _Guard:
    """Of one language model."""

    def __init__(self, guards: Guards, endpoint: str) -> None:
        self._guards = guards
        self._endpoint = endpoint
        self._sides = {side: guards.seconds.labels(endpoint, side) for side in ("input", "output")}

    def found(self, side: str, detector: str, kind: str, action: str, findings: int) -> None:
        self._guards.findings.labels(self._endpoint, side, detector, kind, action).inc(findings)

    def looked(self, side: str, seconds: float) -> None:
        self._sides[side].observe(seconds)

    def missed(self, side: str, detector: str, why: str) -> None:
        self._guards.silent.labels(self._endpoint, side, detector, why).inc()
