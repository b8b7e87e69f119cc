"""Explains the rows of one request, through the pipeline of the endpoint itself.

All questions go there in chunks, as calls of lane ``batch`` and a few at a time: calls of others go first. They are no
traffic: what they ask and hear is not recorded, nor counted among the endpoint's calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import DeadlineExceeded, FairleadError, InvalidParameter, InvalidTensor, Unavailable
from fairlead.contracts.types import Reply, Tensors
from fairlead.kit.threads import apart
from fairlead.serve.call import BATCH, Call
from fairlead.serve.endpoint import Live
from fairlead.serve.explain.shapley import Design, Values, cells, design, values
from fairlead.serve.explain.table import Table, Target, joined, target
from fairlead.serve.validate import Scalar

CHUNK_ROWS: Final = 256
AT_ONCE: Final = 4
"""Chunks that an explanation has under way."""
MOST_ROWS: Final = 64
"""Rows of one request."""
MOST_SAMPLES: Final = 4096
MOST_CELLS: Final = 2**25
"""Questions times columns, of one row."""
BACKGROUND_ROWS: Final = 64
"""Background rows that are used, at most: the first of them."""

LATE: Final = (
    "the deadline passed before everything was asked that an explanation needs; allow more with x-request-timeout-ms, "
    "send fewer rows or lower 'samples'"
)

Explanations = list[dict[str, Any]]
Now = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Explainer:
    """``background``: rows as the endpoint takes them, none where nobody gave any.  ``samples``: pairs of orders.

    ``output``, ``column``: what is explained; empty and None: as ``table.target`` finds it.
    """

    background: Tensors | None = None
    samples: int = 64
    output: str = ""
    column: int | None = None

    def asked(self, parameters: dict[str, Scalar]) -> Explainer:
        """As a caller wants it; what is left in ``parameters`` is the model's. Raises InvalidParameter."""
        samples, output = parameters.pop("samples", self.samples), parameters.pop("output", self.output)
        column = parameters.pop("column", self.column)
        if not isinstance(samples, int) or isinstance(samples, bool) or not 1 <= samples <= MOST_SAMPLES:
            raise InvalidParameter(
                f"parameter 'samples' is {samples!r}; expected a whole number from 1 to {MOST_SAMPLES}"
            )
        if not isinstance(output, str):
            raise InvalidParameter(f"parameter 'output' is {output!r}; expected the name of an output")
        if column is not None and (not isinstance(column, int) or isinstance(column, bool) or column < 0):
            raise InvalidParameter(f"parameter 'column' is {column!r}; expected the number of a column, from 0")
        return Explainer(self.background, samples, output, column)


async def explain(
    live: Live,
    explainer: Explainer,
    inputs: Tensors,
    parameters: dict[str, Scalar],
    deadline: float,
    now: Now,
    caller: Caller | None = None,
) -> tuple[Reply, Explanations]:
    """What ``predict`` would answer, and for each row what each column adds. ``deadline``: absolute, monotonic.

    ``caller``: who sent the rows; nobody sent the questions.
    """
    background = explainer.background
    if background is None:
        raise Unavailable(
            f"endpoint {live.endpoint!r} has no background rows to explain against: give explain.background in the "
            "spec, a CSV of typical rows, or package the model with an input example"
        )
    table = Table.of(live.signature, inputs)
    rows = len(next(iter(inputs.values()))) if inputs else 0
    if rows > MOST_ROWS:
        raise InvalidTensor(f"{rows} rows; at most {MOST_ROWS} are explained at once: send fewer")
    background = {name: background[name][:BACKGROUND_ROWS] for name in inputs}
    if Table.of(live.signature, background) != table:
        raise InvalidTensor("the call's rows have other columns than the background rows; send rows alike")
    plan = await _designed(len(table.names), len(next(iter(background.values()))), explainer.samples)
    answer = await ask(live, inputs, parameters, deadline, now, caller)
    found = []
    for index in range(rows):
        row = {name: array[index : index + 1] for name, array in inputs.items()}
        mine = {name: array[index : index + 1] for name, array in answer.outputs.items()}
        wanted = target(mine, live.signature, explainer.output, explainer.column)

        def questions(start: int, size: int, row: Tensors = row) -> Tensors:
            return table.questions(row, background, plan, start, size)

        async def one(part: Tensors) -> Tensors:
            return (await ask(live, part, parameters, deadline, now)).outputs

        pieces = await _all(one, questions, len(plan.rows), min(CHUNK_ROWS, live.batcher.policy.max_rows))
        found.append(_told(table, wanted, values(plan, joined(pieces, wanted)), plan.background))
    return answer, found


async def _designed(columns: int, background: int, samples: int) -> Design:
    """Off the event loop. Raises InvalidParameter for more than can be held in memory."""
    if cells(columns, background, samples) > MOST_CELLS:
        raise InvalidParameter(f"{samples} samples of {columns} columns are too many to be asked; lower 'samples'")
    return await apart(asyncio.get_running_loop(), "explaining", design, columns, background, samples)


async def ask(
    live: Live,
    inputs: Tensors,
    parameters: dict[str, Scalar],
    deadline: float,
    now: Now,
    caller: Caller | None = None,
) -> Reply:
    """One call of lane batch; cancelled with whoever waits for it. Raises its error."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[None] = loop.create_future()

    def done(_call: Call) -> None:
        if not answered.done():
            answered.set_result(None)

    call = live.call(inputs, parameters, done, arrived=now(), deadline=deadline, lane=BATCH)
    call.caller = caller
    live.enter(call)
    try:
        await answered
    except asyncio.CancelledError:
        live.cancel(call)
        raise
    outcome = call.outcome
    if isinstance(outcome, DeadlineExceeded):
        raise DeadlineExceeded(LATE) from None
    if isinstance(outcome, FairleadError):
        raise outcome
    assert outcome is not None  # noqa: S101 - it is done
    if outcome.degraded:
        raise Unavailable(
            f"a fallback answered ({outcome.degraded}), and nothing is explained by that; try again", retry_after=1
        )
    return outcome


async def _all(
    asked: Callable[[Tensors], Awaitable[Tensors]], questions: Callable[[int, int], Tensors], rows: int, size: int
) -> list[Tensors]:
    """Every question in chunks, a few at once, in order. The first error ends the others."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def chunk(start: int) -> Tensors:
        async with turn:
            return await asked(questions(start, size))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(chunk(start)) for start in range(0, rows, size)]
    except* FairleadError as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _told(table: Table, wanted: Target, found: Values, background: int) -> dict[str, Any]:
    """One row's explanation, as JSON has it."""
    told: dict[str, Any] = {
        "output": wanted.output,
        "value": found.value,
        "base": found.base,
        "attributions": dict(zip(table.names, found.phi.tolist(), strict=True)),
        "exact": found.errors is None,
        "background_rows": background,
    }
    if wanted.column is not None:
        told["column"] = wanted.column
    if found.errors is not None:
        told["standard_errors"] = dict(zip(table.names, found.errors.tolist(), strict=True))
    return told
