"""The columns against prometheus_client's own counters and histograms, as the oracle."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fairlead.adapters.sinks.prometheus.columns import ROWS
from fairlead.adapters.sinks.prometheus.sink import _HISTOGRAMS, PrometheusSink
from fairlead.adapters.sinks.prometheus.stalls import MINUTE, Stalls

LABELS = ("endpoint", "version")


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name.startswith("fairlead_") and not sample.name.endswith("_created")
    }


@pytest.mark.parametrize("calls", [0, 1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 7])
def test_what_is_scraped_is_what_prometheus_client_would_count(calls: int) -> None:
    oracle = CollectorRegistry()
    requests = Counter("fairlead_requests", "", (*LABELS, "code"), registry=oracle)
    rows = Counter("fairlead_rows", "", LABELS, registry=oracle).labels("e", "1")
    ok = requests.labels("e", "1", "ok")
    known = {
        name: Histogram(f"fairlead_{name}", "", LABELS, buckets=bounds, registry=oracle).labels("e", "1")
        for name, _, bounds in _HISTOGRAMS
    }
    sink = PrometheusSink()
    meter = sink.endpoint("e", "1")
    rng = np.random.default_rng(calls)
    for number in range(calls):
        seconds, queue, compute = rng.choice([0.0, 0.0001, 0.0005, 0.003, 0.5, 30.0, 31.0, rng.random()], 3).tolist()
        meter.answered(seconds, number % 5, queue, compute)
        meter.batch(number % 70, number % 3, compute)
        ok.inc()
        rows.inc(number % 5)
        for name, value in {"request_seconds": seconds, "queue_seconds": queue, "compute_seconds": compute}.items():
            known[name].observe(value)
        known["batch_rows"].observe(number % 70)
        known["batch_calls"].observe(number % 3)
        if number % 1500 == 0:
            sink.render()  # a scrape in between loses nothing and counts nothing twice
    if calls:
        meter.failed("queue_full", 0.02)
        requests.labels("e", "1", "queue_full").inc()
        known["request_seconds"].observe(0.02)

    sink_samples = samples(sink.render()[0].decode())
    wanted = samples(generate_latest(oracle).decode())
    assert {name for name, _ in wanted} >= {f"fairlead_{name}_bucket" for name, _, _ in _HISTOGRAMS}
    for key, value in wanted.items():
        assert sink_samples[key] == pytest.approx(value, rel=1e-9), key


def test_the_same_version_again_goes_on_counting() -> None:
    sink = PrometheusSink()
    sink.endpoint("e", "1").answered(0.1, 1, 0.0, 0.1)
    sink.endpoint("e", "1").answered(0.1, 1, 0.0, 0.1)
    assert 'fairlead_requests_total{code="ok",endpoint="e",version="1"} 2.0' in sink.render()[0].decode()


def test_a_call_leaves_nothing_for_the_garbage_collector() -> None:
    meter = PrometheusSink().endpoint("e", "1")
    meter.answered(0.1, 1, 0.0, 0.1)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(ROWS // 2):
        meter.answered(0.1, 1, 0.0, 0.1)
        meter.batch(1, 1, 0.1)
    assert len(gc.get_objects()) - before < 10


def test_the_longest_stall_is_forgotten_after_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stalls = Stalls()

    def longest() -> float:
        return next(family for family in stalls.collect() if "longest" in family.name).samples[0].value

    stalls.put(0.5)
    assert longest() == 0.5
    now += MINUTE + 1
    stalls.put(0.25)
    assert longest() == 0.5
    now += MINUTE + 1
    assert longest() == 0.25
    now += 3 * MINUTE
    assert longest() == 0.0
