"""Calls folded into windows that can be merged: what workers leave in the state store, and how it is read.

Counts (calls, rows, codes, latencies, bins of the reference, missing and new values) merge exactly: N workers' windows
give what one worker's would. What is stated with an error: latency quantiles 2.5% (``monitor.latency``); quantiles of a
column without a reference 1%, and sums, to rounding (``monitor.summary``).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fairlead.contracts.errors import StateError
from fairlead.contracts.events import Columns, Window
from fairlead.contracts.types import Tensors
from fairlead.monitor.binning import Reference
from fairlead.monitor.columns import INPUT, OUTPUT, columns_of, values_of
from fairlead.monitor.latency import Latency
from fairlead.monitor.pairs import added
from fairlead.monitor.summary import Bins, Summary

Array = np.ndarray[Any, Any]

MOST_OPEN = 8
"""Windows that a folder keeps open at most: a collector closes one of a second only three seconds after its end."""

MOST_COLUMNS = 1024
"""Columns of a version that are watched; further ones are left out."""

_REMEMBERED = 64


@dataclass(slots=True)
class _Open:
    calls: int = 0
    rows: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    latency: Latency = field(default_factory=Latency.none)
    columns: dict[str, Summary] = field(default_factory=dict)


class Folder:
    """Folds the calls of one version into windows. Not safe for several threads at once.

    The window of a call is that of its ``at_ms``. At most ``MOST_OPEN`` are open: then, and for a window that was
    closed before, a call counts in the open window that is nearest, so a clock that jumps loses and breaks nothing.
    """

    def __init__(
        self, reference: Reference | None, endpoint: str, version: str, arm: str, worker: str, length_ms: int
    ) -> None:
        self.reference = reference
        self._key = (endpoint, version, arm, worker)
        self._length = length_ms
        self._open: dict[int, _Open] = {}
        self._closed: deque[int] = deque(maxlen=_REMEMBERED)
        self._bins = {name: Bins(column) for name, column in (reference.columns if reference else {}).items()}

    def add(self, columns: Columns) -> None:
        """Count calls. ``endpoint``, ``version`` and ``arm`` of the columns are taken to be the folder's."""
        if not len(columns):
            return
        at = np.asarray(columns.at_ms, np.int64) // self._length * self._length
        rows = np.asarray(columns.rows, np.int64)
        homes = np.array([self._home(int(start)) for start in np.unique(at)])
        if len(set(homes.tolist())) == 1:
            self._fold(int(homes[0]), columns.code, columns.seconds, rows, columns.features, columns.outputs)
            return
        home = homes[np.unique(at, return_inverse=True)[1]]
        home_of_row = np.repeat(home, rows)
        codes = np.asarray(columns.code, object)
        for start in sorted(set(homes.tolist())):
            calls, kept = home == start, home_of_row == start
            features, outputs = _rows(columns.features, kept), _rows(columns.outputs, kept)
            self._fold(start, codes[calls].tolist(), columns.seconds[calls], rows[calls], features, outputs)

    def windows(self) -> list[Window]:
        """Every open window as it stands, the oldest first."""
        return [self._window(start, self._open[start]) for start in sorted(self._open)]

    def close_before(self, ms: int) -> list[Window]:
        """Close the windows that ended at ``ms`` or before; as they are for the last time."""
        over = [start for start in sorted(self._open) if start + self._length <= ms]
        self._closed.extend(over)
        return [self._window(start, self._open.pop(start)) for start in over]

    def _home(self, start: int) -> int:
        if start in self._open:
            return start
        if start not in self._closed and len(self._open) < MOST_OPEN:
            self._open[start] = _Open()
            return start
        if not self._open:  # closed, and nothing else is open
            while start in self._closed:
                start += self._length
            self._open[start] = _Open()
            return start
        return min(self._open, key=lambda other: (abs(other - start), other))

    def _fold(
        self, start: int, code: Iterable[str], seconds: Array, rows: Array, features: Tensors, outputs: Tensors
    ) -> None:
        window = self._open[start]
        window.calls += len(rows)
        window.rows += int(rows.sum())
        window.codes.update(code)
        window.latency += Latency.of(np.asarray(seconds, np.float64))
        for name, values in (*columns_of(features, INPUT), *columns_of(outputs, OUTPUT)):
            if not len(values):
                continue
            bins = self._bins.get(name)
            if bins is None:
                if len(self._bins) >= MOST_COLUMNS:
                    continue
                bins = self._bins[name] = Bins(None)
            found = bins.count(values_of(values))
            known = window.columns.get(name)
            if known is None:
                window.columns[name] = found
            else:
                known.add(found)

    def _window(self, start: int, window: _Open) -> Window:
        return Window(
            *self._key,
            start_ms=start,
            length_ms=self._length,
            calls=window.calls,
            rows=window.rows,
            codes=dict(window.codes),
            latency=window.latency.to_bytes(),
            columns={name: column.to_bytes() for name, column in window.columns.items()},
            reference=self.reference.id if self.reference else "",
        )


def _rows(tensors: Tensors, kept: Array) -> Tensors:
    return {name: array[kept] for name, array in tensors.items()}


@dataclass(frozen=True, slots=True)
class Merged:
    """Several windows of one version as one. ``start_ms`` and ``end_ms``: from the first start to the last end.

    ``codes``: calls by error code, empty for a reply.  ``latency``: with ``quantile(q)`` and ``counts``.
    """

    calls: int
    rows: int
    codes: Mapping[str, int]
    latency: Latency
    columns: Mapping[str, Summary]
    start_ms: int = 0
    end_ms: int = 0
    reference: str = ""

    @property
    def errors(self) -> int:
        """Calls that were not answered."""
        return self.calls - self.codes.get("", 0)


def merge(windows: Iterable[Window]) -> Merged:
    """Add windows up: of several workers, of several hours. Raises StateError when they are of two references."""
    calls = rows = 0
    codes: Counter[str] = Counter()
    latency = Latency.none()
    columns: dict[str, Summary] = {}
    some = sorted(windows, key=lambda window: (window.start_ms, window.worker))
    if len({window.reference for window in some}) > 1:
        raise StateError("windows of two references cannot be merged; take those of one reference at a time")
    for window in some:
        calls += window.calls
        rows += window.rows
        codes.update(window.codes)
        latency += Latency.from_bytes(window.latency)
        for name, column in _columns(window):
            if name in columns:
                columns[name].add(column)
            else:
                columns[name] = column
    return Merged(
        calls,
        rows,
        dict(codes),
        latency,
        columns,
        start_ms=some[0].start_ms if some else 0,
        end_ms=max((window.start_ms + window.length_ms for window in some), default=0),
        reference=some[0].reference if some else "",
    )


def rolled(windows: Iterable[Window]) -> tuple[Window, ...]:
    """One window for each version, arm and reference in place of these, in the order of the last of each.

    What adds windows up makes the same of them: counts exactly, sums to rounding. Each begins with the first of its
    own and ends with the last; ``worker`` is empty. Those of which one cannot be read stay as they are. What was added
    up already stays the same to the byte.
    """
    groups: dict[tuple[str, str, str, str], list[Window]] = {}
    for window in windows:
        key = (window.endpoint, window.version, window.arm, window.reference)
        group = groups.pop(key, [])
        group.append(window)
        groups[key] = group
    found: list[Window] = []
    for (endpoint, version, arm, reference), group in groups.items():
        if len(group) == 1:
            found.append(replace(group[0], worker=""))
            continue
        try:
            whole = merge(group)
        except StateError:  # whoever asks for this one is told; the others are no worse for it
            found += group
            continue
        columns = {name: column.to_bytes() for name, column in whole.columns.items()}
        length, latency = whole.end_ms - whole.start_ms, whole.latency.to_bytes()
        paired: dict[str, float] = {}
        for one in group:
            paired = added(paired, one.pairs) if one.pairs else paired
        found.append(
            Window(
                endpoint, version, arm, "", whole.start_ms, length, whole.calls, whole.rows, whole.codes, latency,
                columns, paired, reference,
            )
        )  # fmt: skip
    return tuple(found)


def _columns(window: Window) -> Iterator[tuple[str, Summary]]:
    for name, data in window.columns.items():
        yield name, Summary.from_bytes(data)
