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
from fairlead.contracts.events import EventStore, by_fallback
from fairlead.contracts.state import StateStore
from fairlead.contracts.types import Tensors
from fairlead.kit.codec.records import from_body, to_body
from fairlead.monitor import performance
from fairlead.monitor.labels import Joined
from fairlead.monitor.outputs import Task, guess, read_answers
from fairlead.monitor.performance import Watch
from fairlead.monitor.reference import reference
from fairlead.monitor.seasons import Season
from fairlead.retrain.held import HeldOut
from fairlead.wiring import watching

Array = np.ndarray[Any, Any]

LEAST_ROWS: Final = 200
"""Rows below which nothing is made of what a version has served."""
MOST_ROWS: Final = 50_000


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
    """Make and keep both of held-out rows. ``season``: told apart where the rows have a clock and are enough for it.

    Without their truth, or where no such metric can be watched row by row, there is no baseline, and one is made of the
    first labelled rows that are served.
    """
    about: dict[str, Any] = {"model": model, "version": version, "importance": held.importance}
    made = reference(held.features, held.outputs, **about, **times_of(held.times_ms, season))
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


def ensure_reference(state: StateStore, events: EventStore | None, endpoint: str, model: str, version: str) -> bool:
    """Make a reference of the newest rows that a version answered, where it has none; whether it has one now."""
    if watching.reference(state, model, version) is not None:
        return True
    if events is None:
        return False
    frame = events.frame(endpoint, version=version, limit=MOST_ROWS)
    answered = np.flatnonzero((frame.get("row", np.zeros(0)) >= 0) & ~by_fallback(frame))
    if len(answered) < LEAST_ROWS:
        return False
    about: dict[str, Any] = {"model": model, "version": version, "source": "served"}
    made = reference(tensors_of(frame, "in.", answered), tensors_of(frame, "out.", answered), **about)
    _put(state, "reference", f"{model}/{version}", to_body(made))
    return True


def times_of(times_ms: Array | None, season: Season | None) -> dict[str, Any]:
    """How ``reference`` is told of a season, where one is asked for and the rows are enough for it."""
    if times_ms is None or not season or not season.filled_by(times_ms):
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


def tensors_of(frame: Mapping[str, Array], prefix: str, rows: Array) -> Tensors:
    """These rows of the columns whose names start with ``prefix``, under the names behind it."""
    found: Tensors = {}
    for name, column in frame.items():
        if name.startswith(prefix):
            part = column[rows]
            first = next((one for one in part if one is not None), None) if part.dtype == object else None
            if isinstance(first, list):
                rows_of_part = [one if isinstance(one, list) else [None] * len(first) for one in part]
                alike = len({len(one) for one in rows_of_part}) == 1  # else each list is a value of its own
                part = np.array(rows_of_part) if alike else part
            found[name.removeprefix(prefix)] = part
    return found
