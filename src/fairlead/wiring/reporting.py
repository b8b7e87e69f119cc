"""Reports over what was recorded: windows, references, labels, alerts and rollouts of one endpoint, put together.

It loads the rooms that need scipy, so only the commands that show reports import it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import NotFound, Unavailable
from fairlead.contracts.events import EventStore, Window
from fairlead.contracts.state import StateStore
from fairlead.contracts.types import Tensors
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec import records
from fairlead.monitor import mapping, timeline
from fairlead.monitor.binning import Reference
from fairlead.monitor.exact import LEVEL, compare_chunks
from fairlead.monitor.figures import duration
from fairlead.monitor.labels import answered
from fairlead.monitor.mapping import SHADOW, Tested
from fairlead.monitor.report import Report, RolloutView
from fairlead.monitor.sketches import Merged, merge
from fairlead.orchestrate.commands import rollouts
from fairlead.wiring import reading, watching
from fairlead.wiring.hours import HOUR_MS, Hours, with_columns
from fairlead.wiring.judging import Judged, judged

Array = np.ndarray[Any, Any]

LONGEST_MS: Final = 86_400_000
"""Windows are looked for so long before the time asked: one that began then may reach into it."""
WHOLE_MS: Final = 86_400_000
"""Spans that are longer are read by the hour."""
_LINES: Final = 200
_ALERT_LINES: Final = 2_000
_CHUNK: Final = 100_000


@dataclass(frozen=True, slots=True)
class Stores:
    """Where a report reads. ``events``: None where its libraries are not installed.  ``hours``: what was added up."""

    state: StateStore
    events: EventStore | None
    hours: Hours[tuple[Window, ...]] = field(default_factory=with_columns)


@dataclass(frozen=True, slots=True)
class Asked:
    """``version``: empty for the one that serves now."""

    endpoint: str
    since_ms: int
    until_ms: int
    version: str = ""

    @property
    def unit_ms(self) -> int:
        """What the windows of the span may be added up by."""
        return HOUR_MS if self.until_ms - self.since_ms > WHOLE_MS else 1

    @property
    def words(self) -> str:
        """``version 2 of 'churn' since 2026-01-31 12:00 UTC``"""
        of = f"version {self.version} of {self.endpoint!r}" if self.version else repr(self.endpoint)
        return f"{of} since {datetime.fromtimestamp(self.since_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Drift:
    """Tests of every feature and output, ranked. ``reference``: ``model/version``.  ``exact``: from events."""

    endpoint: str
    version: str
    reference: str
    since_ms: int
    until_ms: int
    rows: int
    exact: bool
    tests: tuple[Tested, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """The windows of the time asked, and of them those of ``version`` that drift is measured on."""

    windows: Sequence[Window]
    version: str
    drift: Sequence[Window]


@dataclass(frozen=True, slots=True)
class _Compared:
    reference: Reference | None = None
    merged: Merged | None = None
    tests: tuple[Tested, ...] = ()
    parts: Sequence[Merged] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """What windows and documents tell, without performance. ``tests``: of every column, on ``rows`` merged rows.

    ``spans``: beginning and end (Unix ms) of the parts that ``ColumnView.trend`` is of.
    """

    report: Report
    tests: tuple[Tested, ...] = ()
    rows: int | None = None
    spans: tuple[tuple[int, int], ...] = ()


def report(stores: Stores, asked: Asked) -> Report:
    """Everything that is known. What is not is among its notes. Raises NotFound, and what the state store raises."""
    found = measured(stores, asked).report
    told = performance(stores, replace(asked, version=found.version))
    return replace(
        found,
        metric=told.metric,
        baseline=told.baseline,
        periods=told.periods,
        decays=told.decays,
        estimates=told.estimates,
        labels=told.labels,
        rungs=told.rungs,
        notes=(*found.notes, *told.notes),
    )


def measured(stores: Stores, asked: Asked) -> Measured:
    """The report without performance: no event is read. Raises as ``report`` does."""
    reading.check(stores.state, stores.events, asked.endpoint)
    seen = _seen(stores, asked)
    compared = _compared(stores.state, asked, seen)
    reference, merged = compared.reference, compared.merged
    columns = mapping.columns(reference, merged, compared.tests, compared.parts) if reference and merged else ()
    lines = timeline.read(stores.state, asked.endpoint, limit=_ALERT_LINES)
    found = Report(
        asked.endpoint,
        seen.version,
        asked.since_ms,
        asked.until_ms,
        asked.until_ms,
        mapping.traffic(one for one in seen.windows if asked.version in ("", one.version)),
        columns,
        alerts=mapping.alerts(lines, asked.since_ms),
        happenings=tuple(one for one in lines if one.at_ms >= asked.since_ms)[-_LINES:],
        reference=_name(reference) if reference else "",
        served=mapping.served(seen.windows),
        rollouts=_rollouts(stores.state, asked),
        notes=compared.notes if seen.windows else (),
    )
    spans = tuple((one.start_ms, one.end_ms) for one in compared.parts)
    return Measured(found, compared.tests, merged.rows if merged else None, spans)


def serving(stores: Stores, asked: Asked) -> str:
    """The version that a report is of where none is named. Raises NotFound."""
    reading.check(stores.state, stores.events, asked.endpoint)
    champion, last = _champion(stores.state, asked.endpoint), ""
    for end in range(asked.until_ms + 1, max(0, asked.since_ms - LONGEST_MS), -LONGEST_MS):  # the newest day first
        since = max(0, end - LONGEST_MS, asked.since_ms - LONGEST_MS)
        found = stores.state.windows(asked.endpoint, since_ms=since, until_ms=end, columns=False)
        seen = [one for one in found if one.arm != SHADOW and one.start_ms + one.length_ms > asked.since_ms]
        last = last or _last(seen)
        if last and (not champion or any(one.version == champion for one in seen)):
            return champion or last
    return last or champion


def performance(stores: Stores, asked: Asked) -> Judged:
    """How well ``asked.version`` predicted; why it is not known, among the notes. Reads events, a bounded number."""
    if stores.events is None:
        note = "Performance needs the events: pip install 'fairlead[events]', and serve with --record."
        return Judged(notes=(note,))
    if not asked.version:
        return Judged()
    model = reading.model_of(stores.state, asked.endpoint)
    span = asked.since_ms, asked.until_ms
    try:
        return judged(stores.state, stores.events, model, asked.endpoint, asked.version, *span)
    except Unavailable as error:
        return Judged(notes=(f"Performance is not known: {error}.",))


def drift(stores: Stores, asked: Asked, *, exact: bool = False) -> Drift:
    """Findings on merged windows, or (``exact``) on every row of the events.

    Raises NotFound where there is nothing to compare: no calls, no reference.
    """
    reading.check(stores.state, stores.events, asked.endpoint)
    seen = _seen(stores, asked)
    of = replace(asked, version=seen.version)
    if exact:
        return _exact(stores, of, seen)
    if not any(one.rows for one in seen.drift):
        raise NotFound(f"no call of {of.words} was answered: there is nothing to compare; look further back: --since")
    compared = _compared(stores.state, of, seen)
    if compared.reference is None or compared.merged is None:
        raise NotFound(" ".join(compared.notes))
    name, rows = _name(compared.reference), compared.merged.rows
    notes = (*compared.notes, *_constants(compared.reference), *_late(compared))
    return Drift(of.endpoint, of.version, name, of.since_ms, of.until_ms, rows, False, compared.tests, notes)


def _exact(stores: Stores, asked: Asked, seen: _Seen) -> Drift:
    if stores.events is None:
        raise NotFound("--exact needs the events: pip install 'fairlead[events]', and serve with --record")
    reference = _reference(stores.state, asked, seen)
    if reference is None:
        raise NotFound(_no_reference(stores.state, asked))
    since, until = asked.since_ms, asked.until_ms + 1
    frame = answered(stores.events.frame(asked.endpoint, since_ms=since, until_ms=until, version=asked.version))
    if not len(frame["row"]):
        raise NotFound(f"no call of {asked.words} is among the events: there is nothing to compare; try --since")
    tests = mapping.of_comparison(compare_chunks(reference, _chunks(frame)))
    rows, notes = len(frame["row"]), _constants(reference)
    name = _name(reference)
    return Drift(asked.endpoint, asked.version, name, asked.since_ms, asked.until_ms, rows, True, tests, notes)


def _seen(stores: Stores, asked: Asked) -> _Seen:
    windows = _windows(stores, asked)
    versions = sorted({one.version for one in windows})
    version = asked.version or _serving(stores.state, asked.endpoint, windows)
    if asked.version and asked.version not in versions and windows:
        raise NotFound(f"no call of {asked.words} was recorded; versions that answered: {', '.join(versions)}")
    own = [one for one in windows if one.version == version]
    return _Seen(windows, version, [one for one in own if one.arm != SHADOW] or own)


def _windows(stores: Stores, asked: Asked) -> list[Window]:
    """Those that reach into the span; of a long one its whole hours added up, so that no more windows are in memory
    than those of a day before it, of an hour at each end, and one for each hour, version, arm and reference.
    """
    since, until = max(0, asked.since_ms - LONGEST_MS), asked.until_ms + 1
    first, last = -(-asked.since_ms // HOUR_MS) * HOUR_MS, until // HOUR_MS * HOUR_MS
    state, name = stores.state, asked.endpoint
    if asked.unit_ms == 1:
        found = state.windows(name, since_ms=since, until_ms=until)
    else:
        found = state.windows(name, since_ms=since, until_ms=first)
        for some in stores.hours.read(state, name, first, last, SystemClock.wall_ms()).values():
            found += some
        found += state.windows(name, since_ms=last, until_ms=until)
    return [one for one in found if one.start_ms + one.length_ms > asked.since_ms]


def _serving(state: StateStore, endpoint: str, windows: Sequence[Window]) -> str:
    """The version that is champion now; where nobody shares the traffic, the one that answered last."""
    champion = _champion(state, endpoint)
    seen = [one for one in windows if one.arm != SHADOW]
    if champion and (not seen or any(one.version == champion for one in seen)):
        return champion
    return _last(seen) or champion


def _champion(state: StateStore, endpoint: str) -> str:
    split = reading.split_of(state, endpoint)
    return next((one.version for one in split.shares if one.arm == "champion"), "") if split else ""


def _last(windows: Sequence[Window]) -> str:
    """The version that answered last, the one with more calls where several did; empty where none did."""
    last = max(windows, key=lambda one: (one.start_ms + one.length_ms, one.calls), default=None)
    return last.version if last else ""


def _compared(state: StateStore, asked: Asked, seen: _Seen) -> _Compared:
    reference = _reference(state, asked, seen)
    if reference is None:
        return _Compared(notes=(_no_reference(state, replace(asked, version=seen.version)),))
    some = [one for one in seen.drift if one.reference == reference.id]
    rows, total = sum(one.rows for one in some), sum(one.rows for one in seen.drift)
    if not rows:
        why = "before it was kept" if all(not one.reference for one in seen.drift) else "against others"
        note = (
            f"The calls of this time were counted {why}: they cannot be held against the reference "
            f"{_name(reference)}, only later ones; `fairlead monitor drift --exact` compares recorded events."
        )
        return _Compared(notes=(note,))
    merged = merge(some)
    left = total - rows
    note = f"{left:,} of {total:,} rows were counted before this reference was watched; drift leaves them out."
    tests = mapping.of_windows(reference, merged, LEVEL / 2)
    return _Compared(reference, merged, tests, mapping.parts(some, asked.unit_ms), (note,) if left else ())


def _reference(state: StateStore, asked: Asked, seen: _Seen) -> Reference | None:
    """The one that the endpoint is watched against; where no window is of it, that of the newest windows."""
    model = reading.model_of(state, asked.endpoint)
    watch = state.get("watch", asked.endpoint)
    version = str(watch.body.get("version", "")) if watch else ""
    known = watching.reference(state, model, version or seen.version)
    counted = [one.reference for one in seen.drift if one.reference]
    if not counted or (known is not None and known.id in counted):
        return known
    for document in state.all("reference"):
        if document.body.get("id") == counted[-1]:
            return records.from_body(Reference, document.body)
    return known


def _no_reference(state: StateStore, asked: Asked) -> str:
    key = f"{reading.model_of(state, asked.endpoint)}/{asked.version or '?'}"
    return (
        f"No reference of {key} is kept, so drift cannot be measured; a retraining keeps one with the version it "
        "registers, and `fairlead controller` makes one of the rows that a version answers."
    )


def _name(reference: Reference) -> str:
    return f"{reference.model}/{reference.version}"


def _late(compared: _Compared) -> tuple[str, ...]:
    """Columns that drifted lately, so that the whole time does not show it."""
    last = mapping.newest(compared.parts)
    if compared.reference is None or last is None:
        return ()
    known = {one.column for one in compared.tests if one.verdict == "alarm"}
    late = mapping.of_windows(compared.reference, last, LEVEL / 2)
    names = sorted({one.column for one in late if one.verdict == "alarm"} - known)
    if not names:
        return ()
    span = duration(last.end_ms - last.start_ms)
    return (f"Only the newest {span} drifted in {', '.join(names)}: look at them with a shorter --since.",)


def _constants(reference: Reference) -> tuple[str, ...]:
    names = [name for name, column in reference.columns.items() if column.constant]
    if not names:
        return ()
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    have = "has" if len(names) == 1 else "have"
    return (f"{shown} {have} one value in every row of the reference: any other value is drift.",)


def _chunks(frame: Mapping[str, Array]) -> Iterator[Tensors]:
    """Features and outputs under their names in a frame; a column of lists as a table."""
    names = [name for name in frame if name.startswith(("in.", "out."))]
    for start in range(0, len(frame["row"]), _CHUNK):
        yield {name: _plain(frame[name][start : start + _CHUNK]) for name in names}


def _plain(column: Array) -> Array:
    first = next((one for one in column.tolist() if one is not None), None) if column.dtype == object else None
    if not isinstance(first, list):
        return column
    width = len(np.ravel(np.asarray(first, object)))
    rows = [[None] * width if one is None else np.ravel(np.asarray(one, object)).tolist() for one in column.tolist()]
    if any(len(row) != width for row in rows):
        return column
    table = np.array(rows, object)
    numbers = all(isinstance(one, int | float) for one in rows[0])
    return table.astype(np.float64) if numbers else table


def _rollouts(state: StateStore, asked: Asked) -> tuple[RolloutView, ...]:
    return tuple(
        RolloutView(
            one.id,
            one.plan.strategy.value,
            one.plan.champion,
            one.plan.candidate,
            one.phase.value,
            one.weight,
            one.started_ms,
            one.answer.value,
            one.verdict,
            one.reason,
        )
        for one in rollouts(state)
        if one.plan.endpoint == asked.endpoint and (not one.ended or one.entered_ms >= asked.since_ms)
    )
