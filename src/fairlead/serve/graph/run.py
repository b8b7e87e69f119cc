"""One call on its way through a graph: every step starts as soon as what it takes is there.

Thin: what crosses the edges was decided by ``plan``, which rows go where by ``rows`` and ``condition``. No task is
made: a step's answer starts the next steps. Each step's call goes down the line of its own endpoint, so that the calls
of many graph calls share its batches, its deadline is enforced there, and cancelling it leaves its neighbours alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fairlead.contracts.errors import (
    Cancelled,
    DeadlineExceeded,
    FairleadError,
    InputError,
    ModelFailed,
    NotFound,
    Unavailable,
)
from fairlead.contracts.sink import EndpointMeter
from fairlead.contracts.types import Reply, Tensors
from fairlead.kit.clock import Clock
from fairlead.serve.call import Call
from fairlead.serve.executor import check_rows, failure
from fairlead.serve.graph.kinds import Kind, alike
from fairlead.serve.graph.plan import Plan, Planned
from fairlead.serve.graph.rows import Rows, Value, combined, common, others, pick
from fairlead.serve.graph.shape import Source

Cancel = Callable[[], None]
Answered = Callable[[Reply | FairleadError], None]
Ended = Callable[[Tensors | FairleadError], None]

Ask = Callable[[Planned, str, Tensors, Call, float, Answered], Cancel]
"""Send inputs to an endpoint (a name) or to the step's function (empty), to be answered by a deadline. The answer may
come before it returns. Raises FairleadError where there is nobody to ask. Returns how to take the question back."""


class Run:
    """``end`` is called once, with the graph's outputs or with why there are none; never after ``stop``."""

    def __init__(self, plan: Plan, call: Call, ask: Ask, meter: EndpointMeter, clock: Clock, end: Ended) -> None:
        self._plan, self._call, self._ask, self._meter, self._clock = plan, call, ask, meter, clock
        self._end = end
        self._values: dict[str, dict[str, Value]] = {"": {name: Value(one) for name, one in call.inputs.items()}}
        self._rows: dict[str, Rows | None] = {}
        self._waiting = {name: len(before) for name, before in plan.waits.items()}
        self._asked: dict[str, Cancel] = {}
        self._began: dict[str, float] = {}
        self._wanting: dict[str, tuple[str, FairleadError]] = {}
        """Steps that failed and wait for the step that stands in for them; with why they failed."""
        self._ready: list[Planned] = []
        """Steps that can start, taken one by one: a chain of steps that answer at once is no deep recursion."""
        self._starting = self._over = False
        self.times: list[tuple[str, float]] = []
        """Seconds of each step that ended."""
        self.degraded: dict[str, str] = {}
        """Steps that a fallback stood in for, with the code of why."""

    def begin(self) -> None:
        self._ready = [self._plan.steps[name] for name, before in self._waiting.items() if not before]
        self._start_ready()

    def stop(self) -> None:
        """Nobody waits any more: take back what was asked."""
        self._over, self._end = True, _nobody
        for cancel in list(self._asked.values()):
            cancel()
        self._asked.clear()

    def _start_ready(self) -> None:
        if self._starting:
            return
        self._starting = True
        while self._ready and not self._over:
            self._start(self._ready.pop(0))
        self._starting = False

    def _start(self, one: Planned) -> None:
        self._began[one.name] = self._clock.now()
        try:
            if one.step.combine:
                values = [self._value(source) for source in one.of]
                result = combined(one.step.combine, values, one.step.weights, self._call.rows)
                self._given(one, {next(iter(one.gives)): result})
            else:
                self._send(one, one.step.endpoint)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this call's alone
            self._failed(one, failure(error), one.step.endpoint)

    def _send(self, one: Planned, endpoint: str) -> None:
        """Ask an endpoint, or the step's function, for the rows that come here."""
        at = self._rows_of(one)
        if at is not None and not len(at):
            self._given(one, {name: Value(_empty(kind), at) for name, kind in one.gives.items()})
            return
        inputs = {name: pick(self._value(source), at) for name, source in one.take.items() if self._has(source)}
        rows = self._call.rows if at is None else len(at)
        deadline = self._call.deadline
        if one.step.timeout_ms:
            deadline = min(deadline, self._clock.now() + one.step.timeout_ms / 1000)
        told = False

        def answered(answer: Reply | FairleadError) -> None:
            nonlocal told
            told = True
            self._asked.pop(one.name, None)
            if self._over:
                return
            if isinstance(answer, FairleadError):
                self._failed(one, answer, endpoint)
                return
            try:
                least = rows if self._plan.signature.batched else -1
                outputs = {
                    name: Value(_checked(answer.outputs, name, kind, least), at) for name, kind in one.gives.items()
                }
            except FairleadError as error:
                self._failed(one, error, endpoint)
            else:
                self.degraded |= _inner(one.name, answer.degraded)
                self._given(one, outputs)

        cancel = self._ask(one, endpoint, inputs, self._call, deadline, answered)
        if not told:
            self._asked[one.name] = cancel

    def _given(self, one: Planned, outputs: dict[str, Value]) -> None:
        """A step has its outputs: start those that waited for it."""
        seconds = self._clock.now() - self._began[one.name]
        if not one.step.combine:
            self.times.append((one.name, seconds))
            self._meter.step(one.name, self.degraded.get(one.name, "ok"), seconds)
        self._values[one.name] = outputs
        for name, (wanted, error) in list(self._wanting.items()):
            if wanted == one.name:
                del self._wanting[name]
                self._stand_in(self._plan.steps[name], error)
        for name in self._plan.after[one.name]:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                self._ready.append(self._plan.steps[name])
        self._start_ready()
        if len(self._values) > len(self._plan.steps) and not self._over:
            self._finish({name: self._value(source).array for name, source in self._plan.outputs.items()})

    def _failed(self, one: Planned, error: FairleadError, endpoint: str) -> None:
        """Let the step's fallback stand in, where it has one and there is time; else that is the answer."""
        back = one.step.fallback
        late = isinstance(error, DeadlineExceeded) and self._clock.now() >= self._call.deadline
        if back is None or late or isinstance(error, InputError | Cancelled) or endpoint != one.step.endpoint:
            self._meter.step(one.name, error.code, self._clock.now() - self._began[one.name])
            own = self._began[one.name] + one.step.timeout_ms / 1000 < self._call.deadline
            self._give_up(_named(one, endpoint, error, own_time=own))
            return
        if back.endpoint:
            self.degraded[one.name] = error.code
            try:
                self._send(one, back.endpoint)
            except Exception as second:  # noqa: BLE001 - as above
                self._failed(one, failure(second), back.endpoint)
        elif back.step and back.step not in self._values:
            self._wanting[one.name] = (back.step, error)
        else:
            self._stand_in(one, error)

    def _stand_in(self, one: Planned, error: FairleadError) -> None:
        back = one.step.fallback
        assert back is not None  # noqa: S101 - asked before
        self.degraded[one.name] = error.code
        at = self._rows_of(one)
        rows = self._call.rows if at is None else len(at)
        if back.step:
            outputs = {name: Value(pick(self._values[back.step][name], at), at) for name in one.gives}
        else:
            size = (rows,) if self._plan.signature.batched else ()
            outputs = {name: Value(_filled(kind, size, back.value[name]), at) for name, kind in one.gives.items()}
        self._given(one, outputs)

    def _give_up(self, error: FairleadError) -> None:
        if not self._over:
            end = self._end
            self.stop()
            end(error)

    def _finish(self, outputs: Tensors) -> None:
        end = self._end
        self._over, self._end = True, _nobody  # what it ends holds this: nothing is left for the garbage collector
        end(outputs)

    def _value(self, source: Source) -> Value:
        return self._values[source.step][source.name]

    def _has(self, source: Source) -> bool:
        """Only an optional input of the graph may be absent."""
        return source.name in self._values[source.step]

    def _rows_of(self, one: Planned) -> Rows | None:
        """The rows that come to a step: those of what it takes for which its conditions hold."""
        if one.whole:
            return None
        if one.name not in self._rows:
            at = common([self._value(source).at for source in one.take.values() if self._has(source)])
            for condition, source in one.when:
                if source is None:
                    held: Rows | None = others(self._rows_of(self._plan.steps[condition.unless]), self._call.rows)
                else:
                    value = self._value(source)
                    held = np.flatnonzero(condition.holds(value.array))
                    held = held if value.at is None else value.at[held]
                at = common([at, held])
            self._rows[one.name] = None if at is not None and len(at) == self._call.rows else at
        return self._rows[one.name]


def _inner(step: str, degraded: str) -> dict[str, str]:
    """What was degraded of a step's answer: the endpoint's own rung, or steps of a graph."""
    found = {}
    for one in filter(None, degraded.split(", ")):
        name, equals, why = one.partition("=")
        found[f"{step}.{name}" if equals else step] = why if equals else name
    return found


def _nobody(_answer: Tensors | FairleadError) -> None:
    """It is over."""


def _checked(answer: Tensors, name: str, kind: Kind, rows: int) -> np.ndarray[Any, Any]:
    """An output as the plan expects it. ``rows``: -1 where there are none. Raises ModelFailed."""
    array = answer.get(name)
    if array is None:
        raise ModelFailed(f"it gave {', '.join(answer) or 'nothing'}, and no {name}")
    shape = array.shape
    fits = (rows >= 0 and len(shape) > 0 and shape[1:] == kind.shape[1:]) or alike(shape, kind.shape)
    if not fits or array.dtype != kind.datatype.numpy:
        raise ModelFailed(f"{name} came as {array.dtype} {list(array.shape)}; expected {kind}")
    if rows >= 0:
        check_rows({name: array}, rows)
    return array


def _named(one: Planned, endpoint: str, error: FairleadError, *, own_time: bool) -> FairleadError:
    """The same error, saying whose it is. That a step's endpoint is not there is no fault of the caller's.

    ``own_time``: the step's own time ends before the call's deadline.
    """
    who = f"step {one.name!r} (endpoint {endpoint!r})" if endpoint else f"step {one.name!r}"
    kind = Unavailable if isinstance(error, NotFound) else type(error)
    if isinstance(error, DeadlineExceeded) and one.step.timeout_ms and own_time:
        named: FairleadError = kind(f"{who} has not answered within its timeout_ms of {one.step.timeout_ms:g}")
    else:
        named = kind(f"{who}: {error.message}", retry_after=error.retry_after)
    named.__cause__ = error.__cause__
    return named


def _empty(kind: Kind) -> np.ndarray[Any, Any]:
    return np.empty((0, *(max(size, 0) for size in kind.shape[1:])), kind.datatype.numpy)


def _filled(kind: Kind, rows: tuple[int, ...], value: Any) -> np.ndarray[Any, Any]:
    return np.full((*rows, *kind.shape[len(rows) :]), value, kind.datatype.numpy)
