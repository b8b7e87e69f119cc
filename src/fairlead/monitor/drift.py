"""Is a window unlike its reference? State and window in, findings out; no clock, no randomness but a fixed seed.

Each column is tested by PSI, KS (numbers), its rate of missing and its rate of new values; p-values are of
``monitor.nulls``, and Benjamini-Hochberg over all tests of the window at the contract's level decides what alarms. When
nothing happened that is Simes' test, so the chance that a window alarms at all is the level, for independent and
for positively dependent tests.

What the promise stands on: the unrest of the stream is learned from a reference whose rows have times, and from the
first clean windows. Without either only large differences alarm until ``least_windows`` windows were seen, and a
stream with seasons may break the promise until then. A swing slower than all that was learned from is drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from fairlead.contracts.errors import StateError
from fairlead.monitor.binning import CATEGORICAL, ColumnReference, Reference
from fairlead.monitor.findings import THRESHOLDS, Contract, Finding, Spells, ranked
from fairlead.monitor.measures import TESTS, Measured, Sample, measured, sample_of, stacked
from fairlead.monitor.nulls import (
    SUMS,
    learn,
    moments_of_psi,
    p_of_ks,
    p_of_psi,
    p_of_rates,
    p_of_unrest,
    rejected,
    unrest,
)
from fairlead.monitor.reference import HOUR_MS
from fairlead.monitor.sketches import Merged
from fairlead.monitor.summary import Summary

Array = np.ndarray[Any, Any]

_PSI, _KS, _MISSING, _NEW = range(4)
_WORTH_DRAWS = 0.01
_STEPS = 4  # bootstrap sizes for each doubling of n


class _Tested(NamedTuple):
    """One window. Arrays: [tests, columns]."""

    current: Sample
    found: Measured
    p: Array
    tried: Array
    alarm: Array


class Detector:
    """The watch over one version. ``state()`` is JSON, and a detector made with it goes on where this one stood."""

    def __init__(
        self, reference: Reference, contract: Contract | None = None, state: dict[str, Any] | None = None
    ) -> None:
        self.reference = reference
        self.contract = contract or Contract(window_ms=reference.window_ms or HOUR_MS)
        self._columns = list(reference.columns.values())
        self._whole = stacked([_sample(column) for column in self._columns]) if self._columns else None
        self._numeric = np.array([column.kind != CATEGORICAL for column in self._columns], bool)
        self._slots = max((len(column.seasons) for column in self._columns), default=0)
        self._season: dict[int, Sample] = {}
        self._moments: dict[tuple[int, int, int], tuple[float, float, float]] = {}
        state = state or {}
        if state.get("reference", reference.id) != reference.id:
            raise StateError("the detector's state is of another reference; start it without a state")
        sums: dict[str, dict[str, list[float]]] = state.get("sums", {})
        self._sums = np.array(
            [
                [sums.get(column.name, column.usual).get(test, [0.0] * SUMS) for column in self._columns]
                for test in TESTS
            ]
        ).reshape(len(TESTS), len(self._columns), SUMS)
        self._learned: int = state.get("learned", 0)
        self._spells = Spells(self.contract, state.get("since", {}))

    def state(self) -> dict[str, Any]:
        """What it learned and which columns alarm, as JSON builtins."""
        sums = {
            column.name: {test: self._sums[row, place].tolist() for row, test in enumerate(TESTS)}
            for place, column in enumerate(self._columns)
        }
        return {
            "reference": self.reference.id,
            "sums": sums,
            "learned": self._learned,
            "since": self._spells.state(),
        }

    def update(self, window: Merged) -> list[Finding]:
        """Findings of one whole window, ranked, and learn from it where it is clean.

        A finding is what alarms or is of moderate size at least. Raises StateError for a window that was counted
        against another reference.
        """
        tested = self._test(window)
        if tested is None:
            return []
        findings = self._findings(window, tested)
        self._remember(findings, tested, window.start_ms)
        return ranked([one for one in findings if one.alarm or one.grade != "small"])

    def measure(self, window: Merged) -> list[Finding]:
        """Every measure of a window, ranked; nothing is learned."""
        tested = self._test(window)
        return ranked(self._findings(window, tested)) if tested is not None else []

    def _test(self, window: Merged) -> _Tested | None:
        if window.reference != self.reference.id:
            raise StateError(
                f"a window of reference {window.reference or '(none)'} cannot be held against reference "
                f"{self.reference.id}; take windows counted against this one"
            )
        if not window.rows or self._whole is None:
            return None
        current = stacked([_counted(column, window.columns.get(column.name)) for column in self._columns])
        against = self._against(window.start_ms)
        found = measured(against, current, self._whole if self._slots else None)
        n = (against.n, current.n)
        rates = [
            p_of_rates(r, n[0], c, n[1]) for r, c in ((against.missing, current.missing), (against.new, current.new))
        ]
        tried = (found.h > 0) & (current.n >= self.contract.least_rows)
        tried[_KS] &= self._numeric
        tried[_MISSING] &= (against.missing + current.missing) > 0
        tried[_NEW] &= (against.new + current.new) > 0
        flat = (part.reshape(-1, *part.shape[2:]) for part in (found.t, found.h, found.df, self._sums))
        restless = p_of_unrest(*flat).reshape(found.t.shape)
        restless = np.where(self._taught, restless, 0.0)
        chi = np.where(found.df[_PSI] > 0, special.chdtrc(np.maximum(found.df[_PSI], 1), found.t[_PSI]), 1.0)
        p = np.maximum(np.stack([chi, p_of_ks(found.ks, found.h[_KS]), *rates]), restless)
        for place in np.flatnonzero(tried[_PSI] & (p[_PSI] < _WORTH_DRAWS)).tolist():
            mean, variance, _ = self._drawn(place, current.n[place], window.start_ms)
            h, df = found.h[_PSI, place], found.df[_PSI, place]
            p[_PSI, place] = max(p[_PSI, place], p_of_psi(found.psi[place], h, df, mean, variance))
        p = np.where(tried, np.clip(p, 0.0, 1.0), 1.0)
        alarm = np.zeros(p.shape, bool)
        alarm[tried] = rejected(np.where(self._untaught(found), 1.0, p)[tried], self.contract.level)
        return _Tested(current, found, p, tried, alarm)

    @property
    def _taught(self) -> Array:
        return np.asarray(self._sums[..., 0] >= self.contract.least_windows)

    def _untaught(self, found: Measured) -> Array:
        """Tests that know too little of the stream to call what is not large an alarm; [tests, columns]."""
        sizes = np.abs(np.stack([found.psi, found.ks, found.missing, found.new]))
        large = np.array([THRESHOLDS[test][1] for test in TESTS])[:, None]
        return np.asarray(~self._taught & (sizes < large))

    def _against(self, start_ms: int) -> Sample:
        whole = self._whole
        assert whole is not None  # noqa: S101 - the caller asked
        if not self._slots:
            return whole
        slot = start_ms // self.reference.window_ms % self._slots
        if slot not in self._season:
            self._season[slot] = stacked([_sample(column, slot) for column in self._columns])
        return self._season[slot]

    def _drawn(self, place: int, rows: float, start_ms: int) -> tuple[float, float, float]:
        """Moments of PSI between independent rows at about this n (a little smaller: the tail is then longer)."""
        step = int(np.log2(max(rows, 1.0)) * _STEPS)
        slot = int(start_ms // self.reference.window_ms % self._slots) if self._slots else -1
        key = (place, step, slot)
        if key not in self._moments:
            rng = np.random.default_rng([place, step, slot + 1])
            expected = self._against(start_ms).psi[place].astype(np.int64)
            self._moments[key] = moments_of_psi(expected, int(2 ** (step / _STEPS)), rng)
        return self._moments[key]

    def _remember(self, findings: list[Finding], tested: _Tested, start_ms: int) -> None:
        self._spells.note(findings, start_ms)
        if self._learned >= self.contract.learn:
            return
        clean = tested.tried & ~tested.alarm.any(axis=0)
        # A rate of 0 on both sides was not tried, and yet it tells that nothing happened.
        clean[_MISSING:] = clean[_PSI]
        mean, variance = tested.found.null
        shape = self._sums.shape
        flat = (part.reshape(-1) for part in (tested.found.t, tested.found.h, mean, variance, clean))
        self._sums = learn(self._sums.reshape(-1, SUMS), *flat).reshape(shape)
        self._learned += 1

    def _findings(self, window: Merged, tested: _Tested) -> list[Finding]:
        found, p, alarm = tested.found, tested.p, tested.alarm
        means = unrest(self._sums.reshape(-1, SUMS))[0].reshape(p.shape)
        findings: list[Finding] = []
        for place, column in enumerate(self._columns):
            summary = window.columns.get(column.name)
            if summary is None or not tested.current.n[place]:
                findings.append(self._finding(window, column, "absent", 1.0, 0.0, 0, alarm=True))
                continue
            n = int(tested.current.n[place])
            h = np.maximum(found.h[:, place], 1e-12)
            usual = means[:, place] + found.df[:, place] / h
            bands = _bands(found, place)
            sizes = (found.psi, found.ks, found.missing, found.new)
            for row, kind in enumerate(_kinds(column, summary)):
                if not tested.tried[row, place]:
                    continue
                mean = usual[row] if row == _PSI else 0.0
                mean = 0.5 * float(np.sqrt(usual[row])) if row == _KS else float(mean)
                one = self._finding(
                    window, column, kind, float(sizes[row][place]), float(p[row, place]), n, bands[row], mean,
                    alarm=bool(alarm[row, place]),
                    high=float(found.ks_high[place]) if row == _KS else None,
                )  # fmt: skip
                findings.append(one)
            js = float(found.js[place])
            findings.append(self._finding(window, column, "js", js, float(p[_PSI, place]), n))
            if not column.constant and _constant(summary) and n > 1:
                chance = _chance_of_constant(column, n)
                findings.append(self._finding(window, column, "constant", 1.0, chance, n))
        findings.append(self._overall(window, findings, tested))
        return findings

    def _overall(self, window: Merged, findings: list[Finding], tested: _Tested) -> Finding:
        share = len({one.column for one in findings if one.alarm}) / max(1, len(self._columns))
        some = np.sort(tested.p[tested.tried])
        simes = float((some * len(some) / np.arange(1, len(some) + 1)).min(initial=1.0))
        whole = ColumnReference("*", "", self.reference.rows, 0, 0, [], [])
        return self._finding(window, whole, "overall", share, simes, window.rows, alarm=share > 0)

    def _finding(
        self,
        window: Merged,
        column: ColumnReference,
        kind: str,
        size: float,
        p: float,
        n: int,
        band: float = 0.0,
        usual: float = 0.0,
        *,
        alarm: bool = False,
        high: float | None = None,
    ) -> Finding:
        moderate, large = THRESHOLDS[kind]
        since = self._spells.began(column.name, window.start_ms) if alarm else None
        text = f"{column.name}: {_WORDS[kind].format(size=size, moderate=moderate, large=large)}"
        text += f", p = {p:.2g} at n = {n}" if kind != "absent" else ""
        return Finding(
            column.name, kind, size, p, n, band, usual, moderate, large, alarm, column.importance, high, since, text
        )


_WORDS = {
    "psi": "PSI {size:.3g} (thresholds {moderate:g} and {large:g})",
    "ks": "KS {size:.3g}",
    "js": "Jensen-Shannon distance {size:.3g}",
    "missing": "the share of missing values moved by {size:+.3g}",
    "new": "the share of new values moved by {size:+.3g}",
    "type": "the share of values of another type moved by {size:+.3g}",
    "constant": "one value in every row, which the reference has not",
    "absent": "no values at all",
    "overall": "a share {size:.3g} of the columns alarms",
}


def _sample(column: ColumnReference, slot: int | None = None) -> Sample:
    """The whole reference of a column, or a slot of its season where that has rows."""
    counts = (np.asarray(part) for part in (column.counts, column.missing, column.foreign))
    whole = sample_of(column, *counts)
    if slot is None or not column.seasons or not sum(column.seasons[slot]):
        return whole
    season = np.asarray(column.seasons[slot], np.float64)
    new = season[-1] + (season[-3] if column.kind == CATEGORICAL else 0.0)
    return Sample(season, whole.fine, season[-2], np.asarray(new), np.asarray(season.sum()))


def _counted(column: ColumnReference, summary: Summary | None) -> Sample:
    if summary is None:
        return sample_of(column, np.zeros(len(column.counts), np.int64), np.asarray(0), np.asarray(0))
    return sample_of(column, summary.counts, np.asarray(summary.missing), np.asarray(summary.foreign))


def _kinds(column: ColumnReference, summary: Summary) -> Iterator[str]:
    unlisted = int(summary.counts[-1]) if column.kind == CATEGORICAL else 0
    yield from (*TESTS[:3], "type" if summary.foreign > unlisted else "new")


def _bands(found: Measured, place: int) -> tuple[float, float, float, float]:
    """What independent rows stay under 95 times of 100: PSI by chi-square, KS by Kolmogorov, shares by the normal."""
    h, df = np.maximum(found.h[:, place], 1e-12), found.df[_PSI, place]
    band = float(special.chdtri(df, 0.05) / h[_PSI]) if df > 0 else 0.0
    rates = [
        _rate_band(float(size[place]), float(found.t[row, place])) for size, row in ((found.missing, 2), (found.new, 3))
    ]
    return band, float(special.kolmogi(0.05) / np.sqrt(h[_KS])), rates[0], rates[1]


def _rate_band(apart: float, t: float) -> float:
    return 1.96 * abs(apart) / t**0.5 if t > 0 else 0.0


def _constant(summary: Summary) -> bool:
    if summary.missing or summary.foreign or summary.infinite:
        return False
    if summary.finite:
        return summary.low == summary.high
    return int(np.count_nonzero(summary.counts)) == 1 and not summary.counts[-1]


def _chance_of_constant(column: ColumnReference, n: int) -> float:
    """At most the chance that n independent rows of the reference fall into one bin, which one value does."""
    share = np.asarray(column.counts, np.float64) / max(1, column.n)
    return float(min(1.0, np.sum(share**n)))
