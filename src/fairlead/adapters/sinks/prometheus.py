"""Prometheus metrics. Names carry the ``fairlead_`` prefix, base units, and labels that stay few."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_LABELS = ("endpoint", "version")


class PrometheusSink:
    """One registry a server: two servers in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.requests = self._counter("requests", "Calls by outcome; code is ok or an error code.", (*_LABELS, "code"))
        self.rows = self._counter("rows", "Rows answered.", _LABELS)
        self.seconds = self._histogram("request_seconds", "From arrival to reply.", _SECONDS)
        self.queue_seconds = self._histogram("queue_seconds", "From arrival to the model.", _SECONDS)
        self.compute_seconds = self._histogram(
            "compute_seconds", "In the model, for the batches a call rode in.", _SECONDS
        )
        self.batch_rows = self._histogram("batch_rows", "Rows in a batch.", _ROWS)
        self.batch_calls = self._histogram("batch_calls", "Calls in a batch.", _ROWS)
        self.waiting = Gauge("fairlead_queue_rows", "Rows that wait.", _LABELS, registry=self.registry)
        self._ready = Gauge(
            "fairlead_endpoint_ready", "1 when the version answers calls.", _LABELS, registry=self.registry
        )
        self._edge = self._counter(
            "edge_errors", "Requests that failed before they had an endpoint.", ("route", "code")
        )

    def endpoint(self, endpoint: str, version: str) -> _Meter:
        return _Meter(self, endpoint, version)

    def edge_error(self, route: str, code: str) -> None:
        self._edge.labels(route, code).inc()

    def ready(self, endpoint: str, version: str, ready: bool) -> None:
        self._ready.labels(endpoint, version).set(1 if ready else 0)

    def render(self) -> tuple[bytes, str]:
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"fairlead_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"fairlead_{name}", text, _LABELS, buckets=buckets, registry=self.registry)


class _Meter:
    """Labelled children of one version, looked up once."""

    def __init__(self, sink: PrometheusSink, endpoint: str, version: str) -> None:
        labels = (endpoint, version)
        self._codes: dict[str, Counter] = {}
        self._sink = sink
        self._labels = labels
        self._ok = sink.requests.labels(*labels, "ok")
        self._rows = sink.rows.labels(*labels)
        self._seconds = sink.seconds.labels(*labels)
        self._queue_seconds = sink.queue_seconds.labels(*labels)
        self._compute_seconds = sink.compute_seconds.labels(*labels)
        self._batch_rows = sink.batch_rows.labels(*labels)
        self._batch_calls = sink.batch_calls.labels(*labels)
        self._waiting = sink.waiting.labels(*labels)

    def answered(self, seconds: float, rows: int, queue: float, compute: float) -> None:
        self._ok.inc()
        self._rows.inc(rows)
        self._seconds.observe(seconds)
        self._queue_seconds.observe(queue)
        self._compute_seconds.observe(compute)

    def failed(self, code: str, seconds: float) -> None:
        counter = self._codes.get(code)
        if counter is None:
            counter = self._codes[code] = self._sink.requests.labels(*self._labels, code)
        counter.inc()
        self._seconds.observe(seconds)

    def batch(self, rows: int, calls: int, seconds: float) -> None:  # noqa: ARG002 - the contract names it
        self._batch_rows.observe(rows)
        self._batch_calls.observe(calls)

    def queue(self, rows: int, calls: int) -> None:  # noqa: ARG002 - the contract names it
        self._waiting.set(rows)
