"""What the supervisor measures of its workers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class Workers:
    """The contract's ``WorkersMeter``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._live = Gauge("fairlead_workers", "Worker processes that answer.", registry=registry)
        self._restarts = Counter(
            "fairlead_worker_restarts",
            "Workers started in the place of another; reason is crashed or rolled.",
            ("reason",),
            registry=registry,
        )
        for reason in ("crashed", "rolled"):
            self._restarts.labels(reason)
        self._silent = Counter(
            "fairlead_worker_silent",
            "Scrapes that counted a worker as it last said, because it did not answer in time.",
            ("worker",),
            registry=registry,
        )

    def live(self, workers: int) -> None:
        self._live.set(workers)

    def restarted(self, reason: str) -> None:
        self._restarts.labels(reason).inc()

    def silent(self, worker: str) -> None:
        self._silent.labels(worker).inc()
