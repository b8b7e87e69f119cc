"""Two tables compared column by column, exactly: PSI, KS, Jensen-Shannon, missing and new values, offline.

``compare`` takes whole arrays; a column is taken apart and let go before the next, so memory beside the arrays
is that of one column. ``compare_chunks`` takes a table piece by piece against a ``Reference`` in constant memory: PSI,
Jensen-Shannon and the shares are as exact, and KS is an interval that the raw statistic lies in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fairlead.contracts.types import Tensors
from fairlead.monitor.binning import CATEGORICAL, NUMERIC, ColumnReference, Reference, column_reference
from fairlead.monitor.columns import columns_of, values_of
from fairlead.monitor.measures import Sample, measured, sample_of
from fairlead.monitor.nulls import moments_of_psi, p_of_ks, p_of_psi, p_of_rates, rejected
from fairlead.monitor.ordered import Ordered, ks
from fairlead.monitor.summary import Bins, Summary

Array = np.ndarray[Any, Any]

LEVEL = 0.05
"""False discovery rate over all tests of a comparison."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One column. ``p_*``: of independent rows.  ``band``: what PSI stays under 95 times of 100 at these n.

    ``ks`` is exact where ``ks_high`` equals it, and between the two otherwise; 0 for a column of texts.
    ``missing``, ``new``: shares in the current rows, with ``missing_before`` in the reference.
    ``drifted``: one of its tests was rejected after Benjamini-Hochberg over all tests of the table.
    """

    column: str
    kind: str
    n_reference: int
    n_current: int
    psi: float
    band: float
    js: float
    ks: float
    ks_high: float
    missing_before: float
    missing: float
    new: float
    p_psi: float
    p_ks: float
    p_missing: float
    p_new: float
    drifted: bool = False
    importance: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Columns, those that drifted first, the largest PSI first. ``level``: the false discovery rate."""

    columns: tuple[Comparison, ...]
    level: float = LEVEL

    @property
    def drifted(self) -> tuple[str, ...]:
        return tuple(one.column for one in self.columns if one.drifted)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_table(self) -> str:
        """One line a column."""
        head = ("column", "kind", "rows", "PSI", "95% band", "p", "KS", "p", "JS", "missing", "new", "drift", "")
        lines = [head, *(_line(one) for one in self.columns)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def compare(
    reference_arrays: Mapping[str, Array],
    current_arrays: Mapping[str, Array],
    *,
    importance: Mapping[str, float] | None = None,
    level: float = LEVEL,
) -> Report:
    """Compare tables of named arrays (axis 0 counts rows). PSI bins are deciles of the reference."""
    before, now = dict(columns_of(reference_arrays)), dict(columns_of(current_arrays))
    weights = importance or {}
    found = []
    for name in [*before, *(name for name in now if name not in before)]:
        if name not in before or name not in now:
            found.append(_absent(name, "only in the current rows" if name in now else "not in the current rows"))
            continue
        old, new = values_of(before[name]), values_of(now[name])
        numeric = before[name].dtype.kind in "iufb"
        ordered = Ordered(old.numbers)
        column = column_reference(name, old, numeric=numeric, importance=weights.get(name), ordered=ordered)
        other = Ordered(new.numbers, ordered.grid if ordered.large else None)
        statistic = ks(ordered, other) if column.kind == NUMERIC else None
        found.append(_comparison(column, Bins(column).count(new, other), statistic))
    return _report(found, level)


def compare_chunks(reference: Reference, chunks: Iterable[Tensors], *, level: float = LEVEL) -> Report:
    """Compare a table, piece by piece, with a reference. Names as in the reference (``in.NAME``, ``out.NAME``)."""
    bins = {name: Bins(column) for name, column in reference.columns.items()}
    totals: dict[str, Summary] = {}
    for chunk in chunks:
        for name, values in columns_of(chunk):
            if name in bins:
                part = bins[name].count(values_of(values))
                if name in totals:
                    totals[name].add(part)
                else:
                    totals[name] = part
    found = [
        _comparison(column, totals[name], None) if name in totals else _absent(name, "not in the current rows")
        for name, column in reference.columns.items()
    ]
    return _report(found, level)


def _comparison(column: ColumnReference, summary: Summary, statistic: float | None) -> Comparison:
    whole = _sample(column, np.asarray(column.counts), column.missing, column.foreign)
    current = _sample(column, summary.counts, summary.missing, summary.foreign)
    found = measured(whole, current)
    low, high = float(found.ks), float(found.ks_high)
    if statistic is not None and not np.isnan(statistic):
        low = high = statistic
    rng = np.random.default_rng(0)
    mean, variance, band = moments_of_psi(whole.psi.astype(np.int64), int(current.n), rng)
    some = bool(current.n and whole.n)
    numbers = bool(found.h[1] > 0) and column.kind == NUMERIC
    missing = p_of_rates(whole.missing, whole.n, current.missing, current.n)
    new = p_of_rates(whole.new, whole.n, current.new, current.n)
    return Comparison(
        column.name,
        column.kind,
        column.n,
        int(current.n),
        float(found.psi),
        band,
        float(found.js),
        low,
        high,
        float(whole.missing / max(1.0, whole.n)),
        float(current.missing / max(1.0, current.n)),
        float(current.new / max(1.0, current.n)),
        float(p_of_psi(found.psi, found.h[0], found.df[0], mean, variance)) if some else 1.0,
        float(p_of_ks(np.asarray(low), found.h[1])) if numbers else 1.0,
        float(missing),
        float(new),
        importance=column.importance,
        note=_note(column, summary),
    )


def _sample(column: ColumnReference, counts: Array, missing: int, foreign: int) -> Sample:
    return sample_of(column, counts, np.asarray(missing), np.asarray(foreign))


def _note(column: ColumnReference, summary: Summary) -> str:
    notes = []
    if not column.n or not summary.n:
        notes.append("no rows")
    elif summary.missing == summary.n:
        notes.append("all missing")
    if column.constant:
        notes.append("constant in the reference")
    if summary.foreign and column.foreign == 0:
        notes.append("numbers among text" if column.kind == CATEGORICAL else "text among numbers")
    if summary.infinite:
        notes.append("has infinities")
    return ", ".join(notes)


def _absent(name: str, why: str) -> Comparison:
    nothing = (0.0,) * 8
    return Comparison(name, "", 0, 0, *nothing, 1.0, 1.0, 1.0, 1.0, drifted=True, note=why)


def _report(found: list[Comparison], level: float) -> Report:
    tests = [(place, p) for place, one in enumerate(found) for p in _ps(one)]
    gone = rejected(np.array([p for _, p in tests]), level)
    places = {place for (place, _), out in zip(tests, gone, strict=True) if out}
    marked = [replace(one, drifted=one.drifted or place in places) for place, one in enumerate(found)]
    return Report(tuple(sorted(marked, key=lambda one: (not one.drifted, -one.psi, one.column))), level)


def _ps(one: Comparison) -> tuple[float, ...]:
    """p of the tests that could say something."""
    if not one.n_current or not one.n_reference:
        return ()
    ps = [one.p_psi]
    ps += [one.p_ks] if one.kind == NUMERIC else []
    ps += [one.p_missing] if one.missing or one.missing_before else []
    return (*ps, one.p_new) if one.new else tuple(ps)


def _line(one: Comparison) -> tuple[str, ...]:
    shown = f"{one.ks:.4f}" if one.ks == one.ks_high else f"{one.ks:.4f}-{one.ks_high:.4f}"
    return (
        *(one.column, one.kind, str(one.n_current), f"{one.psi:.4f}", f"{one.band:.4f}", f"{one.p_psi:.1e}"),
        *((shown, f"{one.p_ks:.1e}") if one.kind == NUMERIC else ("", "")),
        *(f"{one.js:.4f}", f"{one.missing:.2%}", f"{one.new:.2%}", "yes" if one.drifted else "no", one.note),
    )
