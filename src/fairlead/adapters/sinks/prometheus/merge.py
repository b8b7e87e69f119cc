"""One exposition out of those of several processes.

Counters and histograms are added up, of processes that are gone too. A gauge is added up (rows that wait), taken as the
least (ready), as the greatest (the longest stall, the longest queue) or shown for each worker (what an operating system
process or an interpreter has). All come from the same code, so the text in front of a value names a series: no label is
parsed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from prometheus_client.utils import floatToGoString

from fairlead.contracts.sink import Part

_EACH: Final = (b"process_", b"python_")
"""Prefixes of what is shown for each worker."""

_LEAST: Final = re.compile(
    rb"fairlead_endpoint_ready|fairlead_llm_fairness|fairlead_tls_certificate_expiry_timestamp_seconds|\w+_created"
)
"""Gauges of which the least one holds."""

_MOST: Final = (
    b"fairlead_event_loop_longest_stall_seconds",
    b"fairlead_queue_delay_seconds",
    b"fairlead_budget_amount",
    b"fairlead_budget_settled",
    b"fairlead_budget_reserved",
    b"fairlead_llm_cascade_threshold",
    b"fairlead_alert_firing",
    b"fairlead_monitor_reading",
    b"fairlead_traffic_share",
)
"""Gauges of which the greatest one holds."""

_ADDED: Final = (b"counter", b"histogram", b"summary")


class _Family:
    """Its ``# HELP`` and ``# TYPE`` lines, and the values of its series in the order in which they came."""

    __slots__ = ("each", "head", "lasting", "least", "most", "series")

    def __init__(self, name: bytes, kind: bytes, head: list[bytes]) -> None:
        self.head = head
        self.each = name.startswith(_EACH)
        self.lasting = kind in _ADDED and not self.each
        self.most = name in _MOST
        self.least = _LEAST.fullmatch(name) is not None
        self.series: dict[bytes, float] = {}

    def put(self, series: bytes, value: float, worker: bytes) -> None:
        if self.each:
            self.series[_labelled(series, worker)] = value
        elif series not in self.series:
            self.series[series] = value
        elif self.least:
            self.series[series] = min(self.series[series], value)
        elif self.most:
            self.series[series] = max(self.series[series], value)
        else:
            self.series[series] += value


def merged(parts: Sequence[Part]) -> bytes:
    """The exposition of all; a family stands where it came first."""
    families: dict[bytes, _Family] = {}
    for part in parts:
        _read(part, families)
    lines: list[bytes] = []
    for family in families.values():
        if family.series:
            lines += family.head
            lines += [series + b" " + _number(value) for series, value in family.series.items()]
    return b"\n".join(lines) + b"\n" if lines else b""


def _read(part: Part, families: dict[bytes, _Family]) -> None:
    worker = part.worker.encode()
    helped = b""
    family: _Family | None = None
    for line in part.text.split(b"\n"):
        if line.startswith(b"# HELP "):
            helped = line
        elif line.startswith(b"# TYPE "):
            _, _, name, kind = line.split(b" ", 3)
            family = families.get(name)
            if family is None:
                family = families[name] = _Family(name, kind, [helped, line] if helped else [line])
            helped = b""
        elif line and family is not None and (family.lasting or not part.gone):
            series, _, value = line.rpartition(b" ")
            family.put(series, float(value), worker)


def _number(value: float) -> bytes:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text.encode()


def _labelled(series: bytes, worker: bytes) -> bytes:
    name, brace, labels = series.partition(b"{")
    return b'%b{worker="%b"%b' % (name, worker, b"," + labels if brace else b"}")
