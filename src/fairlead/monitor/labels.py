"""Predictions joined with what turned out to be true: as known now, or as known at an earlier time.

A label without a prediction waits in the store and is counted here; a corrected label has one value at each time
(bitemporal: Snodgrass 1999). How long labels take is a survival curve, because young predictions are not yet known
(Kaplan and Meier 1958).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairlead.contracts.events import EventStore, Label, by_fallback
from fairlead.contracts.state import KnownLabel, StateStore
from fairlead.monitor.degraded import parted

Array = np.ndarray[Any, Any]
Frame = Mapping[str, Array]
"""What ``EventStore.frame`` gives: column name to array, one element a predicted row."""

ENTITY = "entity"
SKEW_MS = 86_400_000
"""Clocks differ: a label may be so much older than its prediction."""
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Joined:
    """Labelled predictions, n rows in the order of ``frame``.

    ``rows``: their places in ``frame``.  ``label``: float or str, as known at ``as_of_ms``.
    ``known_at_ms``: when the first value became known.  ``corrected``: it was another value before.
    ``sources``: the known labels of each row, the most exact first.
    ``predictions``: rows of the frame, labelled or not, without repeated ones.
    ``waiting``: labels whose prediction is not there; ``unknown`` names the first of them.
    """

    frame: Frame
    rows: Array
    label: Array
    known_at_ms: Array
    corrected: Array
    sources: Array
    as_of_ms: int | None = None
    predictions: int = 0
    repeated: int = 0
    waiting: int = 0
    unknown: tuple[Label, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Array:
        """One column of the frame for the labelled rows."""
        return self.frame[name][self.rows]

    @property
    def at_ms(self) -> Array:
        return self.column("at_ms")

    @property
    def weight(self) -> Array:
        """Rows that each one stands for; 1 where the store keeps all."""
        if "weight" not in self.frame:
            return np.ones(len(self))
        return self.column("weight").astype(np.float64)

    @property
    def features(self) -> Frame:
        """Feature name to its values, for slices."""
        return {name[3:]: self.column(name) for name in self.frame if name.startswith("in.")}

    def where(self, mask: Array) -> Joined:
        """The labelled rows of ``mask`` [n]; the counts stay those of the whole."""
        parts = {name: getattr(self, name)[mask] for name in ("rows", "label", "known_at_ms", "corrected", "sources")}
        return replace(self, **parts)

    def as_of(self, at_ms: int) -> Joined:
        """The same rows as they were known at that time: fewer, and with the values of then."""
        if self.as_of_ms is None and not self.corrected.any() and all(len(one) == 1 for one in self.sources):
            return replace(self.where(self.known_at_ms <= at_ms), as_of_ms=at_ms)  # each has one value, or none
        return _known(self, self.rows, self.sources, at_ms)


def history(known: KnownLabel) -> list[tuple[int, float | str]]:
    """Every value with the time at which it became known, oldest first. A later value never counts as earlier."""
    if not known.changes:
        return [(known.label.at_ms, known.label.value)]
    times: list[int] = []
    values: list[float | str] = []
    for at_ms, value in (*known.changes, (known.label.at_ms, known.label.value)):
        times.append(max(at_ms, times[-1]) if times else at_ms)
        values.append(value)
    return list(zip(times, values, strict=True))


def join(
    frame: Frame,
    labels: Iterable[KnownLabel],
    *,
    as_of_ms: int | None = None,
    entity: str = ENTITY,
    shown: int = 20,
    beside: Frame | None = None,
) -> Joined:
    """Labels to the rows that they are about; with ``as_of_ms``, only predictions and values known by then.

    A prediction id joins every row that has it: the champion's and the shadow's answer to one call. A business key
    joins through the column ``entity``; its ``row`` counts the rows of one call that have the key. Where a row has
    both, the label by prediction id counts. A row that the store holds twice (id, row, version and arm) is taken once.
    ``beside``: rows that are joined elsewhere; their labels do not count as waiting.
    """
    until = _NEVER if as_of_ms is None else as_of_ms
    keep, repeated = _once(frame, until)
    by_id, by_key = _places(frame, keep, entity)
    elsewhere = _places(beside, np.arange(len(beside["row"])), entity) if beside else ({}, {})
    found: dict[int, tuple[KnownLabel, ...]] = {}
    unknown: list[Label] = []
    waiting = 0
    for known in labels:
        label = known.label
        if (history(known)[0][0] if known.changes else label.at_ms) > until:
            continue
        places = (by_key if label.by_key else by_id).get((label.key, label.row), ())
        if not places and (label.key, label.row) in elsewhere[label.by_key]:
            continue
        if not places:
            waiting += 1
            if len(unknown) < shown:
                unknown.append(label)
        for place in places:
            others = found.get(place, ())
            found[place] = (*others, known) if label.by_key else (known, *others)
    rows = np.array(sorted(found), dtype=np.int64)
    empty = np.empty(0)
    whole = Joined(frame, rows, empty, empty, empty, empty, None, len(keep), repeated, waiting, tuple(unknown))
    return _known(whole, rows, _objects([found[place] for place in rows.tolist()]), as_of_ms)


def _known(whole: Joined, rows: Array, sources: Array, as_of_ms: int | None) -> Joined:
    until = _NEVER if as_of_ms is None else as_of_ms
    kept, values, first, corrected = [], [], [], []
    for place, labels in enumerate(sources.tolist()):
        for known in labels:
            began, value, more = _as_of(known, until)
            if began <= until:
                kept.append(place)
                values.append(value)
                first.append(began)
                corrected.append(more)
                break
    chosen = np.array(kept, dtype=np.int64)
    return replace(
        whole,
        rows=rows[chosen],
        label=_objects(values),
        known_at_ms=np.array(first, dtype=np.int64),
        corrected=np.array(corrected, dtype=bool),
        sources=sources[chosen],
        as_of_ms=as_of_ms,
    )


def _as_of(known: KnownLabel, until: int) -> tuple[int, float | str, bool]:
    """When the first value became known, the value at ``until``, and whether it was another before."""
    if not known.changes:
        return known.label.at_ms, known.label.value, False
    values = history(known)
    past = [value for at_ms, value in values if at_ms <= until]
    return values[0][0], past[-1] if past else known.label.value, len(past) > 1


def _objects(values: Sequence[Any]) -> Array:
    """An object array of one dimension, whatever the values are."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


_Places = dict[tuple[str, int], list[int]]
"""By what a label may call a row: prediction id and row, or business key and its number within the call."""


def _places(frame: Frame, keep: Array, entity: str) -> tuple[_Places, _Places]:
    """Of these rows, by prediction id and by business key."""
    by_id: _Places = {}
    by_key: _Places = {}
    ids, numbers = frame["prediction_id"][keep].tolist(), frame["row"][keep].tolist()
    for place, name, number in zip(keep.tolist(), ids, numbers, strict=True):
        by_id.setdefault((str(name), int(number)), []).append(place)
    if entity in frame:
        _by_entity(frame, keep, entity, by_key)
    return by_id, by_key


def _once(frame: Frame, until: int) -> tuple[Array, int]:
    """Places of the rows predicted by ``until``, each once, and how many were there again."""
    identity = [frame[name].tolist() for name in ("prediction_id", "row", "version", "arm") if name in frame]
    n = len(frame["at_ms"])
    if len(set(identity[0])) == n or len(set(zip(*identity, strict=True))) == n:
        return np.flatnonzero(frame["at_ms"].astype(np.int64) <= until), 0
    seen: set[tuple[Any, ...]] = set()
    keep = []
    repeated = 0
    for place, (at_ms, *row) in enumerate(zip(frame["at_ms"].tolist(), *identity, strict=True)):
        if at_ms > until:
            continue
        key = tuple(row)
        if key in seen:
            repeated += 1
        else:
            seen.add(key)
            keep.append(place)
    return np.array(keep, dtype=np.int64), repeated


def _by_entity(frame: Frame, keep: Array, entity: str, by_key: dict[tuple[str, int], list[int]]) -> None:
    """Key and its number within the call to places: one call may hold a key in several rows, or a row a key."""
    count: dict[tuple[Any, ...], int] = {}
    for place in keep.tolist():
        key = frame[entity][place]
        if key is None or (isinstance(key, float) and np.isnan(key)):  # None or NaN: this row has no key
            continue
        answer = (frame["prediction_id"][place], frame["version"][place], frame["arm"][place], key)
        number = count.get(answer, 0)
        count[answer] = number + 1
        by_key.setdefault((str(key), number), []).append(place)


def answered(frame: Frame) -> Frame:
    """The rows that the model answered: a call that failed is a line without any, and is left out, as is what a
    fallback answered.

    Beside such a line whole numbers are floats in a frame; here they are whole numbers again.
    """
    kept = (frame["row"] >= 0) & ~by_fallback(frame)
    if bool(kept.all()):
        return frame
    found = {}
    for name, column in frame.items():
        part = column[kept]
        if part.dtype == np.float64 and name.startswith(("in.", "out.")) and len(part):
            whole = part.astype(np.int64, casting="unsafe") if np.isfinite(part).all() else None
            part = whole if whole is not None and bool((whole == part).all()) else part
        found[name] = part
    return found


def read(
    events: EventStore,
    state: StateStore,
    endpoint: str,
    *,
    since_ms: int,
    until_ms: int | None = None,
    as_of_ms: int | None = None,
    version: str = "",
    entity: str = ENTITY,
    features: bool = True,
    waiting: bool = True,
) -> Joined:
    """The model's predictions of ``[since_ms, until_ms)`` out of the stores, joined. Raises what the stores raise.

    ``features``: False leaves out what was asked.  ``waiting``: False leaves out labels of other predictions, which
    ``Joined`` then does not count; so much less is read where many labels come.
    """
    found = events.frame(endpoint, since_ms=since_ms, until_ms=until_ms, version=version, features=features)
    frame, beside = parted(found)
    keys: Sequence[str] = ()
    if not waiting:
        names = [frame[name].tolist() for name in ("prediction_id", entity) if name in frame]
        keys = list({key for column in names for key in column if isinstance(key, str) and _possible(key)})
        if not keys:
            return join(frame, [], as_of_ms=as_of_ms, entity=entity)
    labels = state.labels(endpoint, since_ms=max(0, since_ms - SKEW_MS), keys=keys)
    return join(frame, labels, as_of_ms=as_of_ms, entity=entity, beside=beside)


def _possible(key: str) -> bool:
    """Whether a label may have this key: callers choose what stands in a record, and stores refuse such texts."""
    return "\0" not in key and not any("\ud800" <= letter <= "\udfff" for letter in key)


@dataclass(frozen=True, slots=True)
class Maturity:
    """Share of predictions whose label is known, by age. ``age_ms`` grows; ``share`` at and after each age.

    ``low``, ``high``: 95 % intervals (Greenwood 1926).  ``at_risk``: predictions at least that old and not labelled
    before.  ``predictions``, ``labelled``: what it stands on.
    """

    age_ms: Array
    share: Array
    low: Array
    high: Array
    at_risk: Array
    predictions: int
    labelled: int

    def at(self, age_ms: float) -> float:
        """Share labelled at this age."""
        place = int(np.searchsorted(self.age_ms, age_ms, "right")) - 1
        return float(self.share[place]) if place >= 0 else 0.0

    def age(self, share: float) -> int | None:
        """The age in ms at which that share of the predictions is labelled; None when none is old enough to tell."""
        reached = np.flatnonzero(self.share >= share - 1e-12)
        return int(self.age_ms[reached[0]]) if reached.size else None

    def watermark(self, as_of_ms: int, share: float = 0.95) -> int | None:
        """Predictions made before this time are labelled to that share; later ones are still coming in."""
        age = self.age(share)
        return None if age is None else as_of_ms - age


def maturity(joined: Joined, as_of_ms: int) -> Maturity:
    """How fast labels come. A prediction without a label is known to be unlabelled up to its age and no further."""
    keep, _ = _once(joined.frame, as_of_ms)
    known = np.full(len(joined.frame["at_ms"]), _NEVER, dtype=np.int64)
    known[joined.rows] = joined.known_at_ms
    made = joined.frame["at_ms"][keep].astype(np.int64)
    known = known[keep]
    labelled = known <= as_of_ms
    lasted = np.maximum(np.where(labelled, known, as_of_ms) - made, 0)
    return kaplan_meier(lasted, labelled)


def kaplan_meier(lasted: Array, ended: Array, level_z: float = 1.959963984540054) -> Maturity:
    """One minus the product-limit estimate. ``lasted`` [n]: ms until the label, or until now.  ``ended`` [n]: bool."""
    ages, place = np.unique(lasted, return_inverse=True)
    events = np.bincount(place, weights=ended, minlength=len(ages))
    leaving = np.bincount(place, minlength=len(ages))
    at_risk = len(lasted) - np.concatenate([[0], np.cumsum(leaving)[:-1]]) if len(ages) else np.empty(0)
    told = events > 0
    ages, events, at_risk = ages[told], events[told], at_risk[told]
    left = np.cumprod(1.0 - events / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        term = np.cumsum(np.where(at_risk > events, events / (at_risk * (at_risk - events)), 0.0))
    half = level_z * left * np.sqrt(term)
    share = 1.0 - left
    low, high = np.clip(share - half, 0, 1), np.clip(share + half, 0, 1)
    return Maturity(ages, share, low, high, at_risk, len(lasted), int(np.sum(ended)))


def mature(joined: Joined, watermark_ms: int) -> Joined:
    """The labelled predictions made before the watermark: the ones whose labels are no longer a chosen few."""
    return joined.where(joined.at_ms < watermark_ms)


def delays(joined: Joined) -> Sequence[float]:
    """Quantiles 0.5, 0.9 and 0.99 of the seconds from prediction to label; empty without labels."""
    if not len(joined):
        return ()
    seconds = np.maximum(joined.known_at_ms - joined.at_ms, 0) / 1000.0
    return tuple(float(q) for q in np.quantile(seconds, [0.5, 0.9, 0.99]))
