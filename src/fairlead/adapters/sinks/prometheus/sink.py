"""Prometheus metrics. Names carry the ``fairlead_`` prefix, base units, and labels that stay few."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from fairlead.adapters.sinks.prometheus.chats import Chats
from fairlead.adapters.sinks.prometheus.columns import Columns, Histogram
from fairlead.adapters.sinks.prometheus.faults import Faults
from fairlead.adapters.sinks.prometheus.figures import Figures
from fairlead.adapters.sinks.prometheus.guards import Guards
from fairlead.adapters.sinks.prometheus.ledger import Ledger
from fairlead.adapters.sinks.prometheus.limits import Limits
from fairlead.adapters.sinks.prometheus.merge import merged
from fairlead.adapters.sinks.prometheus.pressure import Pressure
from fairlead.adapters.sinks.prometheus.resilience import Resilience
from fairlead.adapters.sinks.prometheus.stalls import Stalls
from fairlead.adapters.sinks.prometheus.steps import Steps
from fairlead.adapters.sinks.prometheus.streams import Streams
from fairlead.adapters.sinks.prometheus.upstreams import Upstreams
from fairlead.adapters.sinks.prometheus.workers import Processes, Workers
from fairlead.contracts.figures import REQUEST_SECONDS
from fairlead.contracts.sink import Part

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_LABELS = ("endpoint", "version")

_HISTOGRAMS: Final = (
    ("request_seconds", "From arrival to reply.", REQUEST_SECONDS),
    ("queue_seconds", "From arrival to the model.", REQUEST_SECONDS),
    ("compute_seconds", "In the model, for the batches a call rode in.", REQUEST_SECONDS),
    ("batch_rows", "Rows in a batch.", _ROWS),
    ("batch_calls", "Calls in a batch.", _ROWS),
)


class PrometheusSink:
    """One registry a server: two servers in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._meters: dict[tuple[str, str], _Meter] = {}
        self.registry.register(_Calls(self._meters))
        self.waiting = Gauge("fairlead_queue_rows", "Rows that wait.", _LABELS, registry=self.registry)
        self._ready = Gauge(
            "fairlead_endpoint_ready", "1 when the version answers calls.", _LABELS, registry=self.registry
        )
        self._edge = Counter(
            "fairlead_edge_errors",
            "Requests that failed before they had an endpoint.",
            ("route", "code"),
            registry=self.registry,
        )
        self._events = [
            Counter(
                f"fairlead_events_{what}", f"Prediction events that were {what}.", ("recorder",), registry=self.registry
            )
            for what in ("kept", "dropped")
        ]
        chats = Chats()
        self.registry.register(chats)
        self.chat = chats.chat
        """``endpoint``, as the contract says."""
        self._guards = Guards(self.registry, REQUEST_SECONDS)
        self.guards = self._guards.of
        """``endpoint``, as the contract says."""
        faults = Faults(self.registry)
        self.injected = faults.injected
        """``endpoint, kind, calls``, as the contract says."""
        self.degraded = faults.degraded
        """``part, down``, as the contract says."""
        self._stalls = Stalls()
        self.registry.register(self._stalls)
        self.stalled = self._stalls.put
        """``seconds``, as the contract says."""
        self._own = Processes(self.registry)
        self._pressure = Pressure(self.registry)
        self._upstreams = Upstreams(self.registry)
        self._steps = Steps(self.registry, REQUEST_SECONDS)
        self._resilience = Resilience(self.registry)
        self._streams = Streams()
        self.registry.register(self._streams)
        self.stream = self._streams.put
        """``endpoint, group, look``, as the contract says."""
        figures = Figures()
        self.registry.register(figures)
        self.figures = figures.put
        """``owner, look``, as the contract says."""
        limits = Limits(self.registry)
        self.limited, self.shared_limits = limits.limited, limits.shared
        """As the contract says."""
        ledger = Ledger(self.registry)
        self.spent, self.over_budget, self.budget = ledger.spent, ledger.over, ledger.budget
        """As the contract says."""
        self._workers: Workers | None = None
        self._certificate: Gauge | None = None

    def endpoint(self, endpoint: str, version: str) -> _Meter:
        key = (endpoint, version)
        if key not in self._meters:
            waiting = self.waiting.labels(endpoint, version)
            self._meters[key] = _Meter(waiting, self._own, self._upstreams, self._steps, self._pressure, key)
            self._meters[key].resilient(self._resilience, key)
        return self._meters[key]

    def workers(self) -> Workers:
        if self._workers is None:  # a server of one process has none of these
            self._workers = Workers(self.registry)
        return self._workers

    def edge_error(self, route: str, code: str) -> None:
        self._edge.labels(route, code).inc()

    def ready(self, endpoint: str, version: str, ready: bool) -> None:
        self._ready.labels(endpoint, version).set(1 if ready else 0)

    def events(self, recorder: str, kept: int, dropped: int) -> None:
        for counter, count in zip(self._events, (kept, dropped), strict=True):
            counter.labels(recorder).inc(count)

    def certificate(self, until: float) -> None:
        if self._certificate is None:  # a server without TLS has none
            self._certificate = Gauge(
                "fairlead_tls_certificate_expiry_timestamp_seconds",
                "When the TLS certificate that new connections get ends, seconds since 1970.",
                registry=self.registry,
            )
        self._certificate.set(until)

    def render(self) -> tuple[bytes, str]:
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def merge(self, parts: Sequence[Part]) -> bytes:
        return merged(parts)


class _Meter:
    """One version of one endpoint."""

    def __init__(
        self,
        waiting: Gauge,
        own: Processes,
        upstreams: Upstreams,
        steps: Steps,
        pressure: Pressure,
        key: tuple[str, str],
    ) -> None:
        self.pressure = functools.partial(pressure.now, *key)
        """``wait, limit``, as the contract says."""
        self.shed = functools.partial(pressure.shed, *key)
        """``reason, lane``, as the contract says."""
        self.processes = functools.partial(own.live, *key)
        """``live, resident``, as the contract says."""
        self.replaced = functools.partial(own.replaced, *key)
        """``reason``, as the contract says."""
        self.upstream = functools.partial(upstreams.now, *key)
        """``address, in_flight, out``, as the contract says."""
        self.upstream_asked = functools.partial(upstreams.asked, *key)
        self.ejected = functools.partial(upstreams.ejected, *key)
        self.retry = functools.partial(upstreams.retry, *key)
        self.hedge = functools.partial(upstreams.hedge, *key)
        """``address, outcome``, as the contract says."""
        self.wanted = functools.partial(own.wanted, *key)
        """``replicas``, as the contract says."""
        self.woke = functools.partial(own.woke, *key)
        """``seconds``, as the contract says."""
        self.step = functools.partial(steps.step, *key)
        """``step, code, seconds``, as the contract says."""
        self.codes: dict[str, int] = {"ok": 0}
        self.rows = 0
        self.histograms = {name: Histogram(bounds) for name, _, bounds in _HISTOGRAMS}
        self._waiting = waiting
        self._calls = Columns(4, self._fold_calls)
        self._batches = Columns(2, self._fold_batches)
        self._failures = Columns(1, self._fold_failures)
        self.answered = self._calls.put
        """``seconds, rows, queue, compute``, as the contract says."""

    def resilient(self, resilience: Resilience, key: tuple[str, str]) -> None:
        self.fell_back = functools.partial(resilience.fell_back, *key)
        """``rung, code``, as the contract says."""
        self.breaker = functools.partial(resilience.breaker, *key)
        """``state``, as the contract says."""

    def failed(self, code: str, seconds: float) -> None:
        self.codes[code] = self.codes.get(code, 0) + 1
        self._failures.put(seconds)

    def batch(self, rows: int, calls: int, seconds: float) -> None:  # noqa: ARG002 - the contract names it
        self._batches.put(rows, calls)

    def queue(self, rows: int, calls: int) -> None:  # noqa: ARG002 - the contract names it
        self._waiting.set(rows)

    def drain(self) -> None:
        """Count what is still in the buffers."""
        self._calls.drain()
        self._batches.drain()
        self._failures.drain()

    def _fold_calls(self, calls: np.ndarray[Any, Any]) -> None:
        self.codes["ok"] += len(calls)
        self.rows += int(calls[:, 1].sum())
        for name, column in (("request_seconds", 0), ("queue_seconds", 2), ("compute_seconds", 3)):
            self.histograms[name].add(calls[:, column])

    def _fold_failures(self, failures: np.ndarray[Any, Any]) -> None:
        self.histograms["request_seconds"].add(failures[:, 0])

    def _fold_batches(self, batches: np.ndarray[Any, Any]) -> None:
        self.histograms["batch_rows"].add(batches[:, 0])
        self.histograms["batch_calls"].add(batches[:, 1])


class _Calls:
    """Shows the meters to prometheus_client."""

    def __init__(self, meters: dict[tuple[str, str], _Meter]) -> None:
        self._meters = meters

    def collect(self) -> Iterator[Metric]:
        for meter in self._meters.values():
            meter.drain()
        requests = CounterMetricFamily(
            "fairlead_requests", "Calls by outcome; code is ok or an error code.", labels=(*_LABELS, "code")
        )
        rows = CounterMetricFamily("fairlead_rows", "Rows answered.", labels=_LABELS)
        for labels, meter in self._meters.items():
            for code, count in meter.codes.items():
                requests.add_metric((*labels, code), count)
            rows.add_metric(labels, meter.rows)
        yield requests
        yield rows
        for name, text, _ in _HISTOGRAMS:
            family = HistogramMetricFamily(f"fairlead_{name}", text, labels=_LABELS)
            for labels, meter in self._meters.items():
                histogram = meter.histograms[name]
                bounds = [*(repr(float(bound)) for bound in histogram.bounds), "+Inf"]
                family.add_metric(
                    labels, list(zip(bounds, histogram.cumulative(), strict=True)), sum_value=histogram.sum
                )
            yield family
