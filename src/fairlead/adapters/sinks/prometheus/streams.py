"""What stream workers did, asked of them at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from fairlead.contracts.sink import Streamed

_LABELS = ("endpoint", "group")
_COUNTERS = (
    ("received", "Messages taken in."),
    ("redelivered", "Messages that had come before."),
    ("retried", "Tries of a message after the first."),
    ("broker_away", "How often a broker went away."),
)


class Streams:
    """Shows every worker that was put to it."""

    def __init__(self) -> None:
        self._looks: dict[tuple[str, str], Callable[[], Streamed]] = {}

    def put(self, endpoint: str, group: str, look: Callable[[], Streamed]) -> None:
        self._looks[endpoint, group] = look

    def collect(self) -> Iterator[Metric]:
        if not self._looks:  # a server has none of these
            return
        seen = {labels: look() for labels, look in self._looks.items()}
        outcomes = CounterMetricFamily(
            "fairlead_stream_messages",
            "Messages by outcome; outcome is answered or dead_lettered.",
            labels=(*_LABELS, "outcome"),
        )
        for labels, one in seen.items():
            outcomes.add_metric((*labels, "answered"), one.answered)
            outcomes.add_metric((*labels, "dead_lettered"), one.dead_lettered)
        yield outcomes
        for name, text in _COUNTERS:
            counter = CounterMetricFamily(f"fairlead_stream_{name}", text, labels=_LABELS)
            for labels, one in seen.items():
                counter.add_metric(labels, getattr(one, name))
            yield counter
        hand = GaugeMetricFamily("fairlead_stream_in_flight", "Messages in hand.", labels=_LABELS)
        lag = GaugeMetricFamily(
            "fairlead_stream_lag",
            "Messages that nobody of the group has fetched, as the broker last said; absent while it does not say.",
            labels=_LABELS,
        )
        seconds = HistogramMetricFamily(
            "fairlead_stream_seconds",
            "From the broker's time of a message to its answer being stored.",
            labels=_LABELS,
        )
        for labels, one in seen.items():
            hand.add_metric(labels, one.in_flight)
            if one.lag is not None:
                lag.add_metric(labels, one.lag)
            buckets = [(repr(float(bound)), count) for bound, count in one.within]
            seconds.add_metric(labels, [*buckets, ("+Inf", one.answered)], sum_value=one.seconds)
        yield from (hand, lag, seconds)
