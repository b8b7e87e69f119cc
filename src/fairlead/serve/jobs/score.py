"""Rows of one block down the line that every call takes, and back; a row that the model cannot take fails alone."""

from __future__ import annotations

import asyncio

import numpy as np

from fairlead.contracts.errors import FairleadError, InputError, ModelFailed
from fairlead.contracts.types import Reply, Tensors
from fairlead.kit.clock import Clock
from fairlead.kit.sentences import cause
from fairlead.serve.batcher import Policy
from fairlead.serve.call import NEVER, Call
from fairlead.serve.endpoint import Live
from fairlead.serve.jobs.assemble import Refused
from fairlead.serve.pipeline import Pipeline


def policy(rows: int) -> Policy:
    """How a job batches: full batches, whatever the latency, and a queue without an end, since the job itself waits."""
    return Policy(max_rows=rows, queue_rows=1 << 40, queue_calls=1 << 40)


class Scorer:
    """``rows``: of a batch, and of a call."""

    def __init__(self, pipeline: Pipeline, live: Live, clock: Clock, rows: int) -> None:
        self._pipeline = pipeline
        self._live = live
        self._clock = clock
        self._rows = rows

    async def score(self, inputs: Tensors, rows: int) -> tuple[Tensors | None, Refused]:
        """The outputs of the rows that the model took, in order (None: none), and the others by their index.

        Raises a FairleadError that is not about rows, for example when the version is being unloaded.
        """
        starts = range(0, rows, self._rows)
        parts = [{name: array[at : at + self._rows] for name, array in inputs.items()} for at in starts]
        found: list[Tensors] = []
        refused: Refused = {}
        for at, part, outcome in zip(starts, parts, await self._ask(parts), strict=True):
            if isinstance(outcome, Reply):
                found.append(outcome.outputs)
            else:
                await self._one_by_one(part, min(self._rows, rows - at), at, found, refused)
        return _joined(found), refused

    async def _one_by_one(self, part: Tensors, rows: int, first: int, found: list[Tensors], refused: Refused) -> None:
        """Every row of a failed call as a call of its own: the executor halves the batch until bad rows are alone."""
        calls = [{name: array[at : at + 1] for name, array in part.items()} for at in range(rows)]
        for at, outcome in enumerate(await self._ask(calls)):
            if isinstance(outcome, Reply):
                found.append(outcome.outputs)
            else:
                refused[first + at] = _reason(outcome)

    async def _ask(self, calls: list[Tensors]) -> list[Reply | FairleadError]:
        waiting = [self._submit(inputs) for inputs in calls]
        outcomes: list[Reply | FairleadError] = []
        for future in waiting:
            call = await future
            self._pipeline.emit(self._live, call, {})
            outcome = call.outcome
            if not isinstance(outcome, Reply | InputError | ModelFailed):
                raise outcome or FairleadError("a call of a batch job ended without an outcome")
            outcomes.append(outcome)
        return outcomes

    def _submit(self, inputs: Tensors) -> asyncio.Future[Call]:
        future: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
        call = self._live.call(inputs, {}, future.set_result, arrived=self._clock.now(), deadline=NEVER)
        self._pipeline.submit(self._live, call)
        return future


def _joined(parts: list[Tensors]) -> Tensors | None:
    """Raises ModelFailed when one batch was answered in another shape than the next."""
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except (KeyError, ValueError) as error:
        raise ModelFailed(
            f"the model answers different batches with outputs of different names or shapes: {cause(error)}; "
            "take --rows 1, or mend the model"
        ) from error


def _reason(error: FairleadError) -> str:
    origin = error.__cause__
    return str(error) if origin is None else f"the model raised {cause(origin)}"
