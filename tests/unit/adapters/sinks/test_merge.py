"""Expositions of several processes as one."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from fairlead.adapters.sinks.prometheus.merge import merged
from fairlead.adapters.sinks.prometheus.sink import PrometheusSink
from fairlead.contracts.sink import Part


def sink(calls: int, waiting: int, ready: bool = True, version: str = "1") -> PrometheusSink:
    made = PrometheusSink()
    meter = made.endpoint("churn", version)
    for _ in range(calls):
        meter.answered(0.003, 2, 0.001, 0.002)
        meter.batch(2, 1, 0.002)
    meter.queue(waiting, 1)
    made.ready("churn", version, ready)
    return made


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(text: bytes, name: str, **labels: str) -> float | None:
    return samples(text).get((name, frozenset(labels.items())))


CHURN = {"endpoint": "churn", "version": "1"}


def test_counts_rows_and_readiness() -> None:
    parts = [Part("0", sink(3, 5).render()[0]), Part("1", sink(4, 6, ready=False).render()[0])]
    text = merged(parts)
    assert value(text, "fairlead_requests_total", code="ok", **CHURN) == 7
    assert value(text, "fairlead_request_seconds_count", **CHURN) == 7
    assert value(text, "fairlead_request_seconds_bucket", le="0.005", **CHURN) == 7
    assert value(text, "fairlead_request_seconds_bucket", le="0.0025", **CHURN) == 0
    assert value(text, "fairlead_queue_rows", **CHURN) == 11
    assert value(text, "fairlead_endpoint_ready", **CHURN) == 0
    assert text.count(b"# TYPE fairlead_requests_total counter") == 1


def test_of_the_gone_only_counts_are_kept() -> None:
    parts = [Part("", sink(3, 5, ready=False).render()[0], gone=True), Part("1", sink(4, 6).render()[0])]
    text = merged(parts)
    assert value(text, "fairlead_requests_total", code="ok", **CHURN) == 7
    assert value(text, "fairlead_queue_rows", **CHURN) == 6
    assert value(text, "fairlead_endpoint_ready", **CHURN) == 1
    workers = {dict(labels).get("worker") for name, labels in samples(text) if name.startswith("process_")}
    assert workers == {"1"}


def test_what_a_process_has_is_shown_for_each() -> None:
    text = merged([Part("0", sink(0, 0).render()[0]), Part("supervisor", sink(0, 0).render()[0])])
    for worker in ("0", "supervisor"):
        assert value(text, "process_resident_memory_bytes", worker=worker)
        assert value(text, "python_gc_collections_total", worker=worker, generation="0") is not None


def test_versions_and_labels_stay_apart() -> None:
    odd = PrometheusSink()
    odd.edge_error('/a b"\\\n{x} 1', "not_found")
    parts = [Part("0", sink(1, 0).render()[0]), Part("1", sink(2, 0, version="2").render()[0])]
    parts += [Part("2", odd.render()[0]), Part("3", odd.render()[0])]
    text = merged(parts)
    assert value(text, "fairlead_requests_total", code="ok", **CHURN) == 1
    assert value(text, "fairlead_requests_total", code="ok", endpoint="churn", version="2") == 2
    assert value(text, "fairlead_edge_errors_total", route='/a b"\\\n{x} 1', code="not_found") == 2


def test_the_workers_are_measured_by_who_has_them() -> None:
    made = sink(0, 0)
    assert b"fairlead_workers" not in made.render()[0]
    made.workers().live(3)
    made.workers().restarted("crashed")
    made.workers().silent("1")
    text = merged([Part("supervisor", made.render()[0]), Part("0", sink(0, 0).render()[0])])
    assert value(text, "fairlead_workers") == 3
    assert value(text, "fairlead_worker_restarts_total", reason="crashed") == 1
    assert value(text, "fairlead_worker_silent_total", worker="1") == 1


def test_of_the_longest_stalls_the_longest_holds() -> None:
    sinks = [PrometheusSink() for _ in range(3)]
    for made, seconds in zip(sinks, (0.25, 0.5, 0.125), strict=True):
        made.stalled(seconds)
    text = merged([Part(str(place), made.render()[0]) for place, made in enumerate(sinks)])
    assert value(text, "fairlead_event_loop_longest_stall_seconds") == 0.5
    assert value(text, "fairlead_event_loop_stall_seconds_count") == 3
