"""What is measured of processes: a server's workers by their supervisor, and those that run a model."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


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


class Processes:
    """Those that run models of this server; of an endpoint's ``EndpointMeter``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("endpoint", "version")
        self._live = Gauge(
            "fairlead_model_processes", "Processes of its own that run the model now.", labels, registry=registry
        )
        self._resident = Gauge(
            "fairlead_model_processes_resident_bytes", "Memory that they have together.", labels, registry=registry
        )
        self._replaced = Counter(
            "fairlead_model_process_restarts",
            "Processes of a model that ended unasked and were replaced; reason is crashed or hung.",
            (*labels, "reason"),
            registry=registry,
        )

        self._wanted = Gauge(
            "fairlead_model_replicas", "Replicas that there should be; 0: the model sleeps.", labels, registry=registry
        )
        self._woke = Histogram(
            "fairlead_model_wake_seconds",
            "Time that the first call after a sleep waited for a replica.",
            labels,
            buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60),
            registry=registry,
        )

    def live(self, endpoint: str, version: str, live: int, resident: int) -> None:
        self._live.labels(endpoint, version).set(live)
        self._resident.labels(endpoint, version).set(resident)

    def replaced(self, endpoint: str, version: str, reason: str) -> None:
        self._replaced.labels(endpoint, version, reason).inc()

    def wanted(self, endpoint: str, version: str, replicas: int) -> None:
        self._wanted.labels(endpoint, version).set(replicas)

    def woke(self, endpoint: str, version: str, seconds: float) -> None:
        self._woke.labels(endpoint, version).observe(seconds)
