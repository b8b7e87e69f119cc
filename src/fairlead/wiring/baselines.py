"""What a version is watched against: its reference (drift) and its baseline (performance), kept in the state store.

They are made where the held-out rows and the answers to them are at hand: when a version is registered by a retraining,
or from what it answered while it served.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import Conflict, UsageError
from fairlead.contracts.events import EventStore
from fairlead.contracts.state import StateStore
from fairlead.contracts.types import Tensors
from fairlead.kit.codec.records import from_body, to_body
from fairlead.monitor import performance
from fairlead.monitor.labels import Joined
from fairlead.monitor.outputs import Task, guess, read_answers
from fairlead.monitor.performance import Watch
from fairlead.monitor.reference import reference
from fairlead.retrain.held import HeldOut
from fairlead.wiring import watching

Array = np.ndarray[Any, Any]

LEAST_ROWS: Final = 200
"""Rows below which nothing is made of what a version has served."""
MOST_ROWS: Final = 50_000
_SEASONS: Final = 2
"""Seasons of which a reference is made of what was served: each window has another to be held against."""


@dataclass(frozen=True, slots=True)
class Season:
    """Each window of ``window_ms`` is held against those at the same place in a season of ``season_ms``; 0: in none.

    Raises UsageError for a season that is not two whole windows or more.
    """

    window_ms: int = 3_600_000
    season_ms: int = 0

    def __post_init__(self) -> None:
        if self.season_ms and (self.season_ms % self.window_ms or self.season_ms < 2 * self.window_ms):
            raise UsageError(
                f"a season of {self.season_ms / 1000:g} s is not two or more whole windows of "
                f"{self.window_ms / 1000:g} s; take a window that divides it, such as 3600"
            )


@dataclass(frozen=True, slots=True)
class Performance:
    """What is watched. ``metric``: empty for accuracy (of classes) or mae (of a quantity).

    ``margin``: how much worse is still fine, in the loss of ``monitor.decay.losses_of``.  ``alpha``: the probability of
    ever raising a false alarm on one version.  ``prediction``, ``score``: the outputs that hold them, empty where that
    can be seen.
    """

    metric: str = ""
    margin: float = 0.01
    alpha: float = 0.05
    prediction: str = ""
    score: str = ""

    def task(self, joined: Joined) -> Task:
        """How these rows are read. Raises UsageError when that cannot be seen, or an output is not there."""
        named = [name for name in (self.prediction, self.score) if name]
        frame = joined.frame
        for name in named:
            if f"out.{name}" not in frame:
                raise UsageError(f"monitor names the output {name!r}, which the model does not give")
        if named:
            frame = {name: frame[name] for name in frame if not name.startswith("out.") or name[4:] in named}
        return guess(frame, joined.label)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Document ``baseline`` of a version: how its labelled rows are read, and the watch as it begins."""

    task: Task
    watch: Watch


def keep(
    state: StateStore,
    model: str,
    version: str,
    held: HeldOut,
    asked: Performance | None = None,
    season: Season | None = None,
) -> None:
    """Make and keep both of held-out rows. ``season``: kept apart where the rows have a clock and fill one.

    Without their truth, or where no such metric can be watched row by row, there is no baseline, and one is made of the
    first labelled rows that are served.
    """
    about: dict[str, Any] = {"model": model, "version": version, "importance": held.importance}
    made = reference(held.features, held.outputs, **about, **_times(held.times_ms, season))
    _put(state, "reference", f"{model}/{version}", to_body(made))
    truth = held.truth
    if truth is None or not len(truth):
        return
    frame = {f"out.{name}": _column(array) for name, array in held.outputs.items()}
    frame["at_ms"] = np.zeros(len(truth), np.int64)
    with contextlib.suppress(UsageError):
        found = baseline(_joined(frame, truth), asked or Performance())
        _put(state, "baseline", f"{model}/{version}", to_body(found))


def baseline(joined: Joined, asked: Performance) -> Baseline:
    """Raises UsageError when the outputs cannot be read, or the metric is no mean of losses row by row."""
    task = asked.task(joined)
    answers = read_answers(joined, task).answers
    metric = asked.metric or ("accuracy" if task.classes else "mae")
    scale = 1.0
    if not task.classes and len(answers):
        low, high = np.quantile(answers.label, [0.01, 0.99])
        scale = float(high - low) or 1.0
    watch = performance.watch(
        answers, metric, classes=task.classes, margin=asked.margin, alpha=asked.alpha, scale=scale
    )
    return Baseline(task, watch)


def kept_baseline(state: StateStore, model: str, version: str) -> Baseline | None:
    """What ``keep`` kept, or None. Raises StateError."""
    found = state.get("baseline", f"{model}/{version}")
    return from_body(Baseline, found.body) if found else None


def ensure_reference(
    state: StateStore,
    events: EventStore | None,
    endpoint: str,
    model: str,
    version: str,
    season: Season | None = None,
) -> bool:
    """Make a reference of the newest rows that a version answered, where it has none; whether it has one now.

    ``season``: one that does not know this season is made anew as soon as the version has served all of it once.
    """
    there = watching.reference(state, model, version)
    season = season or Season()
    if there is not None and (there.season_ms == season.season_ms or not season.season_ms):
        return True
    if events is None:
        return there is not None
    frame = _of_season(events, endpoint, version, season) if season.season_ms else {}
    if not frame and there is None:
        frame = events.frame(endpoint, version=version, limit=MOST_ROWS)
        season = Season()
    rows = np.flatnonzero(frame.get("row", np.zeros(0)) >= 0)
    if len(rows) < LEAST_ROWS:
        return there is not None
    weights = {} if there is None else {name: one.importance for name, one in there.columns.items() if one.importance}
    made = reference(
        _tensors(frame, "in.", rows),
        _tensors(frame, "out.", rows),
        model=model,
        version=version,
        importance={name.removeprefix("in."): weight for name, weight in weights.items()},
        **_times(frame["at_ms"][rows], season),
    )
    _put(state, "reference", f"{model}/{version}", to_body(made))
    return True


def _of_season(events: EventStore, endpoint: str, version: str, season: Season) -> Mapping[str, Array]:
    """The newest rows of each window of the last two seasons; nothing before one season was served."""
    newest = events.frame(endpoint, version=version, limit=1, features=False).get("at_ms", np.zeros(0))
    if not len(newest):
        return {}
    end = (int(newest[-1]) // season.window_ms + 1) * season.window_ms
    first = end - season.season_ms + season.window_ms
    oldest = events.frame(endpoint, version=version, until_ms=first, limit=1, features=False)
    if not len(oldest.get("row", ())):
        return {}
    starts = range(end - _SEASONS * season.season_ms, end, season.window_ms)
    limit = max(1, MOST_ROWS // len(starts))
    parts = [
        events.frame(endpoint, version=version, since_ms=start, until_ms=start + season.window_ms, limit=limit)
        for start in starts
    ]
    parts = [part for part in parts if len(part.get("row", ()))]
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _times(times_ms: Array | None, season: Season | None) -> dict[str, Any]:
    """How ``reference`` is told of a season, where one is asked for and the rows have a clock and fill one."""
    if times_ms is None or season is None or not season.season_ms:
        return {}
    if np.ptp(times_ms // season.window_ms) + 1 < season.season_ms // season.window_ms:
        return {}
    return {"times_ms": times_ms, "window_ms": season.window_ms, "season_ms": season.season_ms}


def watch_against(state: StateStore, endpoint: str, model: str, version: str) -> None:
    """All versions of the endpoint are counted on this version's bins from now on."""
    made = watching.reference(state, model, version)
    _put(state, "watch", endpoint, {"version": version, "reference": made.id if made else ""})


def watched_version(state: StateStore, endpoint: str) -> str:
    """Whose reference an endpoint is watched against; empty while nobody has said."""
    found = state.get("watch", endpoint)
    return str(found.body["version"]) if found else ""


def _put(state: StateStore, kind: str, key: str, body: Mapping[str, Any]) -> None:
    found = state.get(kind, key)
    if found is not None and found.body == body:
        return
    with contextlib.suppress(Conflict):  # somebody who does the same was faster
        state.put(kind, key, dict(body), found.revision if found else 0)


def _joined(frame: Mapping[str, Array], truth: Array) -> Joined:
    rows = np.arange(len(truth))
    values = np.empty(len(truth), object)
    values[:] = [one.item() if isinstance(one, np.generic) else one for one in truth.reshape(-1).tolist()]
    now = np.zeros(len(truth), np.int64)
    return Joined(frame, rows, values, now, np.zeros(len(truth), bool), now, predictions=len(truth))


def _column(array: Array) -> Array:
    """As ``EventStore.frame`` gives a column: lists where a row has several elements."""
    flat = array.reshape(len(array), -1)
    if flat.shape[1] == 1:
        return flat[:, 0]
    column = np.empty(len(flat), object)
    column[:] = flat.tolist()
    return column


def _tensors(frame: Mapping[str, Array], prefix: str, rows: Array) -> Tensors:
    found: Tensors = {}
    for name, column in frame.items():
        if name.startswith(prefix):
            part = column[rows]
            first = next((one for one in part if one is not None), None) if part.dtype == object else None
            if isinstance(first, list):
                part = np.array([one if isinstance(one, list) else [None] * len(first) for one in part])
            found[name.removeprefix(prefix)] = part
    return found
