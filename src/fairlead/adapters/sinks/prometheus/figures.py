"""What parts of the server count themselves, asked of them at each scrape."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from fairlead.contracts.figures import Figure, Look

_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


class Figures:
    """Shows everything that was put to it; figures of one name are one family, whoever has them."""

    def __init__(self) -> None:
        self._looks: dict[str, Look] = {}

    def put(self, owner: str, look: Look) -> None:
        self._looks[owner] = look

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for look in self._looks.values():
            for figure in look():
                if figure.name not in families:
                    names = [name for name, _ in figure.labels]
                    families[figure.name] = _FAMILIES[figure.kind](figure.name, figure.meaning, labels=names)
                _add(families[figure.name], figure)
        yield from families.values()


def _add(family: Metric, figure: Figure) -> None:
    values = [value for _, value in figure.labels]
    if isinstance(family, HistogramMetricFamily):
        buckets = [("+Inf" if bound == math.inf else repr(bound), count) for bound, count in figure.within]
        family.add_metric(values, buckets, sum_value=figure.value)
    elif isinstance(family, CounterMetricFamily | GaugeMetricFamily):
        family.add_metric(values, figure.value)
