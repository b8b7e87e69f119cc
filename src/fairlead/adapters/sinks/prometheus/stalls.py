"""How long the event loop stood still."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric

from fairlead.adapters.sinks.prometheus.columns import Columns, Histogram

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

MINUTE: Final = 60.0
"""Seconds that the longest stall is shown, at least; at most twice that."""


class Stalls:
    """Shows them to prometheus_client."""

    def __init__(self) -> None:
        self._histogram = Histogram(_SECONDS)
        self._late = Columns(1, self._fold)
        self._longest = self._before = 0.0
        self._until = time.monotonic() + MINUTE

    def put(self, seconds: float) -> None:
        self._late.put(seconds)
        self._turn()
        self._longest = max(self._longest, seconds)

    def _turn(self) -> None:
        now = time.monotonic()
        if now >= self._until:
            self._before = self._longest if now < self._until + MINUTE else 0.0
            self._longest, self._until = 0.0, now + MINUTE

    def _fold(self, late: np.ndarray[Any, Any]) -> None:
        self._histogram.add(late[:, 0])

    def collect(self) -> Iterator[Metric]:
        self._late.drain()
        self._turn()
        stalls = HistogramMetricFamily(
            "fairlead_event_loop_stall_seconds",
            "How late a timer of the event loop fired, looked at 50 times a second.",
        )
        histogram = self._histogram
        bounds = [*(repr(float(bound)) for bound in histogram.bounds), "+Inf"]
        stalls.add_metric([], list(zip(bounds, histogram.cumulative(), strict=True)), sum_value=histogram.sum)
        yield stalls
        yield GaugeMetricFamily(
            "fairlead_event_loop_longest_stall_seconds",
            "The longest of these in the last minute or two.",
            value=max(self._longest, self._before),
        )
