"""Performance over time, as it was known then and as it is known now; and the watch over its decay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead.contracts.errors import UsageError
from fairlead.monitor.decay import Decay, Decayed, losses_of, start, step
from fairlead.monitor.labels import Joined
from fairlead.monitor.metrics import Answers, Measure, measure
from fairlead.monitor.outputs import Task, Value, read_answers

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Period:
    """One window of predictions. ``then``: with the labels known when it ended (plus the lag); ``now``: with all.

    ``predictions``: rows predicted in it.  ``labelled_then``, ``labelled_now``: rows with a label that could be used.
    ``corrected``: labels that are another value now than at first.
    """

    start_ms: int
    end_ms: int
    predictions: int
    labelled_then: int
    labelled_now: int
    corrected: int
    then: tuple[Measure, ...]
    now: tuple[Measure, ...]

    @property
    def share(self) -> float | None:
        """Share of its predictions that have a label now; None without predictions."""
        return self.labelled_now / self.predictions if self.predictions else None


def over_time(
    joined: Joined,
    task: Task,
    metrics: Sequence[str],
    *,
    length_ms: int,
    lag_ms: int = 0,
    seed: int = 0,
    draws: int = 300,
    level: float = 0.95,
) -> list[Period]:
    """Windows of ``length_ms``, aligned to its multiples, from the first prediction to the last; empty ones too.

    ``lag_ms``: how long after its end a window is looked at "then". Raises UsageError for a metric that these
    predictions cannot have, and for a length that gives more than 100,000 windows.
    """
    made = joined.frame["at_ms"].astype(np.int64)
    if not len(made):
        return []
    begin, end = int(made.min()) // length_ms, int(made.max()) // length_ms
    if end - begin >= 100_000:
        raise UsageError(f"windows of {length_ms} ms over {end - begin + 1} windows are too many; choose longer ones")
    counts = np.bincount(made // length_ms - begin, minlength=end - begin + 1)
    place = joined.at_ms.astype(np.int64) // length_ms - begin
    periods = []
    for number, predictions in enumerate(counts.tolist()):
        first = (begin + number) * length_ms
        part = joined.where(place == number)
        then = part.as_of(first + length_ms + lag_ms)
        now_rows, then_rows = read_answers(part, task).answers, read_answers(then, task).answers
        now_values = tuple(measure(name, now_rows, level=level, draws=draws, seed=seed) for name in metrics)
        then_values = now_values
        if len(then) < len(part) or part.corrected.any():
            then_values = tuple(measure(name, then_rows, level=level, draws=draws, seed=seed) for name in metrics)
        periods.append(
            Period(
                first,
                first + length_ms,
                predictions,
                len(then_rows),
                len(now_rows),
                int(part.corrected.sum()),
                then_values,
                now_values,
            )
        )
    return periods


@dataclass(frozen=True, slots=True)
class Watch:
    """Tests of one metric and, for classes, of the recall of each: JSON-able, and replaced by ``observe``.

    The classes matter because errors can move from one class to another while the metric stays: alpha is shared among
    the tests (Bonferroni).
    """

    metric: str
    tests: tuple[Decay, ...]
    scale: float = 1.0
    classes: tuple[Value, ...] = ()

    @property
    def alarmed(self) -> bool:
        return any(test.alarmed for test in self.tests)


def watch(
    reference: Answers,
    metric: str,
    *,
    classes: Sequence[Value] = (),
    margin: float = 0.01,
    alpha: float = 0.05,
    scale: float = 1.0,
) -> Watch:
    """Begin to watch against reference rows that were held out from training.

    ``classes``: those whose recall is watched too, in the order of their numbers; empty for the metric alone.
    ``margin``: how much worse is still fine, in the loss of ``decay.losses_of``. ``alpha``: the probability of ever
    raising a false alarm until a new watch begins. A class with fewer than 2 reference rows is not watched.
    """
    streams = _streams(reference, metric, classes, scale)
    streams = [one for number, one in enumerate(streams) if number == 0 or len(one[1]) >= 2]
    share = alpha / len(streams)
    tests = tuple(start(name, losses, margin=margin, alpha=share) for name, losses, _ in streams)
    return Watch(metric, tests, scale, tuple(classes))


def observe(state: Watch, answers: Answers, at_ms: Array) -> tuple[Watch, list[Decayed]]:
    """Look at more labelled rows, oldest first, with the times of their predictions. Each test tells at most once."""
    tests, found = [], []
    streams = {
        name: (losses, rows) for name, losses, rows in _streams(answers, state.metric, state.classes, state.scale)
    }
    for test in state.tests:
        losses, rows = streams[test.name]
        after, told = step(test, losses, at_ms[rows])
        tests.append(after)
        if told is not None:
            found.append(told)
    return Watch(state.metric, tuple(tests), state.scale, state.classes), found


def _streams(answers: Answers, metric: str, classes: Sequence[Value], scale: float) -> list[tuple[str, Array, Array]]:
    """Name, losses and the rows they are of."""
    streams = [(metric, *losses_of(metric, answers, scale=scale))]
    if classes and answers.decision is not None:
        wrong = (answers.decision != answers.label).astype(np.float64)
        for number, name in enumerate(classes):
            rows = np.flatnonzero(answers.label == number)
            text = f"{name:g}" if isinstance(name, float) else name
            streams.append((f"recall of class {text}", wrong[rows], rows))
    return streams
