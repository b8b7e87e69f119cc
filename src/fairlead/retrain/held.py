"""What is handed on with a new version: the hold-out, what the version answers to it, and what it leans on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.types import Tensors
from fairlead.kit.sentences import cause
from fairlead.retrain import scores
from fairlead.retrain.answers import Task, answered, asked
from fairlead.retrain.columns import Columns, clock_ms
from fairlead.retrain.importance import Quality, importance

Array = np.ndarray[Any, Any]
_log = logging.getLogger("fairlead.retrain")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The hold-out as a version was asked it, and what it answered. ``truth``: the target, [rows].

    ``importance``: each input's share in the quality of the answers, by name; empty: not known.
    ``times_ms``: Unix time of each row; None where the data have no clock.
    """

    features: Tensors
    outputs: Tensors
    truth: Array | None = None
    importance: Mapping[str, float] = field(default_factory=dict)
    times_ms: Array | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """Held-out rows: the table, its features, its ``target``, its column of ``time`` (empty: none), and the task."""

    table: Columns
    features: tuple[str, ...]
    target: str
    time: str
    task: Task

    def asked_of(self, model: LoadedModel, metric: str, now: Callable[[], float], seed: int) -> HeldOut:
        """Ask the model all of it. ``metric``: what importance is measured by. Raises whatever the model raises."""
        features, outputs = answered(model, self.table, self.features)
        truth = self.table[self.target]
        times = clock_ms(self.table[self.time]) if self.time else None
        weights: Mapping[str, float] = {}
        try:
            weights = importance(features, self._quality(model, metric), now, seed)
        except Exception as error:  # noqa: BLE001 - a model may refuse what no caller would send
            _log.warning("importance not measured", extra={"fields": {"error": cause(error)}})
        return HeldOut(features, outputs, truth, weights, times)

    def _quality(self, model: LoadedModel, name: str) -> Quality:
        metric, truth = scores.metric(name), self.task.truth(self.table[self.target])

        def quality(features: Tensors, rows: Array) -> float:
            answers = self.task.read(asked(model, features))
            found = answers.score if metric.uses == "score" else answers.label
            if found is None:
                return float("nan")
            with np.errstate(all="ignore"):
                return metric.sign * metric.function(truth[rows], found)

        return quality
