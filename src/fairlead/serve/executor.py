"""Run one batch on a model: stack, predict, split, and keep a bad call from hurting its batch-mates.

``run`` is a plain function, called inline or in a thread. Everything that touches a call's outcome happens afterwards,
on the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fairlead.contracts.errors import FairleadError, ModelFailed
from fairlead.contracts.runtime import LoadedModel, Traits
from fairlead.contracts.types import Signature, Tensors
from fairlead.kit.threads import Threads
from fairlead.serve.batcher import Part
from fairlead.serve.call import Ride

log = logging.getLogger("fairlead.serve")

Result = tuple[Part, Tensors | FairleadError, float, int, Ride | None, int]
"""A part, its outputs or its error, the seconds its batch took in the model, the rows of that batch, the batch, and the
row of it with which the part begins."""


def run(model: LoadedModel, parts: list[Part], now: Callable[[], float], batched: bool = True) -> list[Result]:
    """Predict for all parts together; when that fails, by halves, until only the parts that fail alone fail.

    Parts whose call has finished meanwhile, or whose deadline has passed, are left out: their rows never reach the
    model. ``batched`` False: the model has no row dimension and each part is one whole call.
    """
    started = now()
    parts = [part for part in parts if not part.call.finished and part.call.deadline > started]
    if not parts:
        return []
    rows = sum(part.rows for part in parts)
    try:
        inputs = stack(parts)
        outputs = model.predict(inputs, parts[0].call.parameters)
        if batched:
            check_rows(outputs, rows)
    except BaseException as error:  # noqa: BLE001 - a model may raise anything, SystemExit too
        if len(parts) == 1:
            return [(parts[0], failure(error), now() - started, rows, None, 0)]
        middle = len(parts) // 2
        return run(model, parts[:middle], now) + run(model, parts[middle:], now)
    return split(parts, (inputs, outputs), now() - started, rows)


def split(parts: list[Part], ride: Ride, seconds: float, rows: int) -> list[Result]:
    """Give each part its own rows of what the batch answered."""
    outputs = ride[1]
    if len(parts) == 1:
        return [(parts[0], outputs, seconds, rows, ride, 0)]
    results: list[Result] = []
    at = 0
    for part in parts:
        end = at + part.rows
        results.append((part, {name: array[at:end] for name, array in outputs.items()}, seconds, rows, ride, at))
        at = end
    return results


def stack(parts: list[Part]) -> Tensors:
    """What the model is given for all of them together."""
    if len(parts) == 1:
        part = parts[0]
        if part.rows == part.call.rows:
            return part.call.inputs
        return {name: array[part.start : part.start + part.rows] for name, array in part.call.inputs.items()}
    return {
        name: np.concatenate(
            [
                call.inputs[name] if rows == call.rows else call.inputs[name][start : start + rows]
                for call, start, rows in parts
            ]
        )
        for name in parts[0].call.inputs
    }


def check_rows(outputs: Tensors, rows: int) -> None:
    """Raises ModelFailed unless every output has a row for each of the inputs."""
    for name, array in outputs.items():
        if array.ndim == 0 or array.shape[0] != rows:
            raise ModelFailed(
                f"output {name!r} has shape {array.shape} for {rows} rows: the first dimension must be {rows}"
            )


def failure(error: BaseException) -> FairleadError:
    """What the caller is told. The cause stays on the error, for the log."""
    if isinstance(error, FairleadError):
        return error
    failed = ModelFailed(
        f"the model raised {type(error).__name__}; the cause is in the server's log under this request id"
    )
    failed.__cause__ = error
    return failed


OVERRUN = 0.005
"""Seconds that an inline batch may take on the event loop."""

PATIENCE = 3.0
"""Overruns after which batches no longer run inline; every batch in time takes a tenth of one back, so that a machine
that was busy for a moment does not decide."""

STUCK = 0.1
"""Seconds of one batch after which no other runs inline: every endpoint of the process stood still so long."""


Work = Callable[[list[Part]], list[Result]]
"""``run`` on one model."""

Done = Callable[[list[Result]], None]


class Executor(Protocol):
    """Where a batch runs. ``done`` is called on the event loop, once, with what became of the parts."""

    @property
    def kind(self) -> str:
        """``inline``, ``thread``, ``process``, ``remote`` or ``graph``."""

    def submit(self, parts: list[Part], done: Done) -> None: ...

    def outgrown(self, seconds: float) -> Executor | None:
        """Told what each batch took: where batches should run from now on, if it is not here."""

    def report(self) -> None:
        """Measure what changes by itself: the metrics are about to be read."""

    def troubles(self) -> list[str]:
        """What does not work now, a sentence each."""

    def close(self) -> None: ...


class InlineExecutor:
    """On the event loop itself: for models whose batch takes less than a hand-over to a thread.

    ``slower``: makes what takes over when batches take too long; None: nothing does.
    """

    kind = "inline"

    def __init__(self, work: Work, slower: Callable[[], Executor] | None) -> None:
        self._work = work
        self._slower = slower
        self._overruns = 0.0

    def outgrown(self, seconds: float) -> Executor | None:
        if seconds <= OVERRUN:
            self._overruns = max(0.0, self._overruns - 0.1)
            return None
        self._overruns += PATIENCE if seconds >= STUCK else 1
        return self._slower() if self._slower is not None and self._overruns >= PATIENCE else None

    def submit(self, parts: list[Part], done: Done) -> None:
        done(self._work(parts))

    def report(self) -> None:
        """Nothing changes by itself."""

    def troubles(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing to close."""


class ThreadExecutor:
    """In threads of its own, ``workers`` batches at once."""

    kind = "thread"

    def __init__(self, work: Work, call_soon_threadsafe: Callable[..., Any], workers: int, name: str) -> None:
        self._work = work
        self._call_soon = call_soon_threadsafe
        self._threads = Threads(workers, f"fairlead-{name}")

    def submit(self, parts: list[Part], done: Done) -> None:
        def task() -> None:
            results = self._work(parts)
            try:
                self._call_soon(done, results)
            except RuntimeError:  # the loop is closed: nobody is left to be told
                log.debug("batch ended after the loop closed")

        self._threads.submit(task)

    def outgrown(self, seconds: float) -> None:
        """A thread is where slow batches belong."""

    def report(self) -> None:
        """Nothing changes by itself."""

    def troubles(self) -> list[str]:
        return []

    def close(self) -> None:
        self._threads.close()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A model that is not in this process: what is known of it, and the executor that reaches it."""

    signature: Signature
    traits: Traits
    executor: Executor

    def close(self) -> None:
        """Its executor is closed by whoever uses it, and the model with it."""
