"""How well an endpoint predicted, out of the stores: labelled rows over time, decay, and estimates before labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import UsageError
from fairlead.contracts.events import EventStore
from fairlead.contracts.state import KnownLabel, StateStore
from fairlead.monitor.calibration import check_calibration
from fairlead.monitor.cbpe import Estimate, estimate
from fairlead.monitor.decay import Decayed
from fairlead.monitor.degraded import parted
from fairlead.monitor.labels import Frame, Joined, answered, join, mature, maturity
from fairlead.monitor.metrics import HIGHER, Answers, Measure, measure
from fairlead.monitor.outputs import Task, guess, predictions, read_answers
from fairlead.monitor.performance import Period, Watch, observe, over_time
from fairlead.monitor.report import Labels, RungView
from fairlead.wiring.baselines import Baseline, kept_baseline

Array = np.ndarray[Any, Any]

MOST_ROWS: Final = 300_000
"""The newest rows of the time shown that performance stands on."""

_ESTIMATED: Final = 20_000
_LEAST: Final = 100
_WINDOWS: Final = 48
_MINUTE: Final = 60_000
_LENGTHS: Final = tuple(_MINUTE * one for one in (1, 5, 15, 60, 360, 1440, 10080, 43200))
_SKEW_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Judged:
    """``metric`` with its value on the reference, if that was kept; the rest as in ``monitor.report.Report``."""

    metric: str = ""
    baseline: float | None = None
    periods: tuple[Period, ...] = ()
    decays: tuple[Decayed, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    labels: Labels | None = None
    rungs: tuple[RungView, ...] = ()
    notes: tuple[str, ...] = ()


def judged(
    state: StateStore, events: EventStore, model: str, endpoint: str, version: str, since_ms: int, until_ms: int
) -> Judged:
    """Labelled predictions of one version. Raises what the stores raise."""
    span = {"since_ms": since_ms, "until_ms": until_ms + 1}
    frame = events.frame(endpoint, **span, version=version, limit=MOST_ROWS, features=False)
    whole = len(frame["row"]) < MOST_ROWS
    fell, frame = parted(frame)[1], answered(frame)
    if not len(frame["row"]) and not len(fell["row"]):
        return Judged()
    labels = list(state.labels(endpoint, since_ms=max(0, since_ms - _SKEW_MS)))
    joined = join(frame, labels, beside=fell)
    notes = [] if whole else [f"Performance stands on the newest {MOST_ROWS:,} rows of this time."]
    baseline = kept_baseline(state, model, version)
    told = _labels(joined, until_ms)
    found = Judged(labels=told)
    task = baseline.task if baseline else None
    if len(joined):
        try:
            task = baseline.task if baseline else guess(frame, joined.label)
            found = _measured(joined, task, baseline, until_ms)
        except UsageError as error:
            notes.append(f"Performance cannot be measured: {error}.")
    rungs = _rungs(fell, labels, task, found.metric) if len(fell["row"]) else ()
    return replace(found, labels=told, rungs=rungs, notes=(*notes, *found.notes))


def _rungs(fell: Frame, labels: list[KnownLabel], task: Task | None, metric: str) -> tuple[RungView, ...]:
    """How well each fallback answered, by the metric that the model is judged by."""
    joined = join(fell, labels)
    names = fell["degraded"]
    found = []
    for name in sorted({str(one) for one in names.tolist()}):
        rows = int(np.count_nonzero(names == name))
        part = joined.where(joined.column("degraded") == name) if len(joined) else joined
        found.append(RungView(name, rows, len(part), _measure(part, task, metric) if len(part) else None))
    return tuple(found)


def _measure(part: Joined, task: Task | None, metric: str) -> Measure | None:
    """None where the outputs tell nothing that a label could be held against."""
    try:
        task = task or guess(part.frame, part.label)
        answers = read_answers(part, task).answers
        return measure(metric or ("accuracy" if task.classes else "mae"), answers) if len(answers) else None
    except UsageError:
        return None


def _labels(joined: Joined, until_ms: int) -> Labels:
    found = maturity(joined, until_ms)
    corrected = int(joined.corrected.sum())
    ages = (found.age(0.5), found.age(0.9)) if len(joined) else (None, None)
    watermark = found.watermark(until_ms) if len(joined) else None
    return Labels(joined.predictions, len(joined), corrected, joined.waiting, *ages, watermark)


def _measured(joined: Joined, task: Task, baseline: Baseline | None, until_ms: int) -> Judged:
    scored = bool(task.score) and len(task.classes) > 1
    metrics = ["accuracy", "roc_auc"][: 1 + scored] if task.classes else ["mae", "rmse"]
    metric, level, decays = metrics[0], None, list[Decayed]()
    if baseline is not None:
        metric = baseline.watch.metric
        level = _level(baseline.watch)
        metrics = [metric, *(one for one in metrics if one != metric)]
        decays = _decays(joined, task, baseline.watch, until_ms)
    made = joined.frame["at_ms"].astype(np.int64)
    length = length_of(int(made.max()) - int(made.min()))
    read = read_answers(joined, task)
    notes = []
    if read.strange:
        notes.append(f"{read.strange:,} labels are no value that the model can predict; they are left out.")
    estimates, why = _estimates(joined, task, metrics) if scored else ([], "")
    periods = over_time(joined, task, metrics, length_ms=length, draws=200)
    return Judged(
        metric, level, tuple(periods), tuple(decays), tuple(estimates), notes=tuple([*notes, why] if why else notes)
    )


def length_of(span_ms: int) -> int:
    """The length of the windows that a time is shown in: round, and not too many of them."""
    return next((one for one in _LENGTHS if span_ms <= one * _WINDOWS), _LENGTHS[-1])


def _level(watch: Watch) -> float | None:
    """The metric's value on the reference, of its loss there; None where the loss does not tell it."""
    loss = watch.tests[0].baseline
    if watch.metric in HIGHER:
        return 1.0 - loss
    return loss * watch.scale if watch.metric == "mae" else loss if watch.metric == "brier" else None


def _decays(joined: Joined, task: Task, watch: Watch, until_ms: int) -> list[Decayed]:
    """The watch as it begins, fed what is below the watermark: younger labels are a chosen few."""
    watermark = maturity(joined, until_ms).watermark(until_ms)
    if watermark is None:
        return []
    ripe = mature(joined, watermark)
    read = read_answers(ripe, task)
    return observe(watch, read.answers, ripe.at_ms[read.kept])[1] if len(read.answers) else []


def _estimates(joined: Joined, task: Task, metrics: list[str]) -> tuple[list[Estimate], str]:
    """The older half of the labelled rows says how well scores are calibrated; all later rows are estimated."""
    made, at_ms = joined.frame["at_ms"].astype(np.int64), joined.at_ms.astype(np.int64)
    cut = int(np.median(at_ms))
    reference = _newest(read_answers(joined.where(at_ms < cut), task).answers)
    if len(reference) < _LEAST:
        return [], (
            f"An estimate before labels needs {2 * _LEAST} labelled rows with scores, and there are {len(joined):,}."
        )
    rows = np.flatnonzero(made >= cut)[-_ESTIMATED:]
    decision, score = predictions(joined.frame, task, rows)
    if decision is None or score is None:
        return [], ""
    known = np.isfinite(score) if score.ndim == 1 else np.isfinite(score).all(axis=1)
    late = joined.where((at_ms >= cut) & (joined.rows >= rows[0]))
    realised = read_answers(late, task).answers if len(late) else None
    told = check_calibration(reference, seed=0)
    return [
        estimate(one, reference, score[known], decision[known], seed=0, realised=realised, calibration=told)
        for one in metrics
        if one in ("accuracy", "roc_auc")
    ], ""


def _newest(answers: Answers) -> Answers:
    return answers.take(np.arange(max(0, len(answers) - _ESTIMATED), len(answers)))
