"""Counting latencies in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.serve.streams.counts import Counts, Latencies


def test_quantiles_are_right_within_one_percent() -> None:
    latencies, values = Latencies(), np.random.default_rng(3).lognormal(1, 1, 20_000)
    for value in values:
        latencies.add(float(value))
    for share in (0.5, 0.9, 0.99):
        assert latencies.quantile(share) == pytest.approx(float(np.quantile(values, share)), rel=0.02)


def test_those_within_bounds_are_counted_for_others_to_add_up() -> None:
    latencies = Latencies()
    for milliseconds in (0.5, 4.0, 4.0, 90.0, 700.0):
        latencies.add(milliseconds)
    assert latencies.within((0.001, 0.005, 0.1, 0.5)) == [(0.001, 1), (0.005, 3), (0.1, 4), (0.5, 4)]
    counts = Counts(messages=7, answered=5, dead_lettered=1, latencies=latencies)
    found = counts.streamed(1, None)
    assert (found.received, found.answered, found.dead_lettered, found.in_flight, found.lag) == (7, 5, 1, 1, None)
    assert found.seconds == pytest.approx(0.7985)
    assert found.within[-1] == (300, 5)


def test_nothing_has_no_quantile_and_a_clock_that_stands_apart_does_no_harm() -> None:
    latencies = Latencies()
    assert latencies.quantile(0.5) is None
    latencies.add(-3.0)
    assert latencies.quantile(0.5) == pytest.approx(0.01)


def test_the_document_has_every_count() -> None:
    counts = Counts(messages=4, answered=3, dead_lettered=1)
    counts.latencies.add(2.0)
    found = counts.document(2.0, 5)
    assert (found["messages"], found["answered"], found["dead_lettered"], found["lag"]) == (4, 3, 1, 5)
    assert found["messages_per_second"] == 1.5
    assert found["p50_ms"] == pytest.approx(2.0, rel=0.02)
    assert Counts().document(0.0, None)["p99_ms"] is None
