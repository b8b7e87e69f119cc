"""One live version of an endpoint: its queue, its executor and the thin loop that joins them.

Everything here runs on the event loop; only ``executor.run`` runs elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fairlead.contracts.errors import DeadlineExceeded, FairleadError, QueueFull, Refused, Unavailable
from fairlead.contracts.runtime import LoadedModel
from fairlead.contracts.sink import EndpointMeter
from fairlead.contracts.types import Parameters, Reply, Signature, Tensors
from fairlead.kit.clock import Clock
from fairlead.serve.batcher import Batcher, Part, Policy
from fairlead.serve.call import NEVER, STANDARD, Call
from fairlead.serve.deadlines import Alarm, too_late
from fairlead.serve.executor import (
    Elsewhere,
    Executor,
    InlineExecutor,
    Result,
    ThreadExecutor,
    failure,
    run,
)
from fairlead.serve.line import Stage, compiled
from fairlead.serve.pace import Pace
from fairlead.serve.recording import Tape
from fairlead.serve.resilience.concurrency import Limiter

log = logging.getLogger("fairlead.serve")


@dataclass(frozen=True, slots=True)
class Placement:
    """``inline``: start on the event loop.  ``workers``: batches that run at once, in threads or elsewhere.

    ``fixed``: inline they stay, however long they take.  ``limiter``: finds out how many of ``workers`` are best.
    """

    inline: bool = False
    workers: int = 1
    fixed: bool = False
    limiter: Limiter | None = None


class Live:
    """A loaded version that answers calls."""

    def __init__(
        self,
        endpoint: str,
        version: str,
        model: LoadedModel | Elsewhere,
        *,
        policy: Policy,
        placement: Placement,
        meter: EndpointMeter,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        deadline: float = NEVER,
        example: Tensors | None = None,
        notes: tuple[str, ...] = (),
        stages: Sequence[Stage] = (),
        pace: Pace | None = None,
    ) -> None:
        self.endpoint, self.version, self.model = endpoint, version, model
        self.signature: Signature = model.signature
        self.deadline = deadline
        """Seconds that a call has when its caller names none."""
        self.example, self.notes, self.meter = example, notes, meter
        self.tape: Tape | None = None
        self._clock, self._loop = clock, loop
        self.batcher = Batcher(policy, pace, placement.workers, meter.shed, placement.limiter)
        self.executor = executor_of(model, placement, clock, loop, endpoint)
        self._running: dict[int, list[Part]] = {}
        self._serial, self._armed = 0, False
        self._alarm = Alarm(loop, clock, self._outstanding, self._fail)
        self.closed = False
        self._group = grouping(self.signature)
        self.straight, held = compiled(stages, self.submit, loop, clock)
        self.enter, self.held = self.straight, [held]
        """Sends a call down the line, never raises: ``enter`` by way of what stands around it (``serve.ladder``)."""

    @property
    def calls(self) -> int:
        """Calls that wait or run."""
        return self.batcher.calls + sum(map(len, self._running.values()))

    @property
    def idle(self) -> bool:
        return not self._running and not self.batcher.calls and not any(self.held)

    def call(
        self,
        inputs: Tensors,
        parameters: Parameters,
        done: Callable[[Call], None],
        *,
        arrived: float,
        deadline: float | None = None,
        lane: int = STANDARD,
    ) -> Call:
        """A call for this version. ``deadline``: absolute, monotonic; None takes the endpoint's. ``lane``: of LANES."""
        rows = next(iter(inputs.values())).shape[0] if self.signature.batched and inputs else 1
        return Call(
            inputs,
            rows,
            done,
            arrived=arrived,
            deadline=arrived + self.deadline if deadline is None else deadline,
            parameters=parameters,
            group=self._group(inputs, parameters),
            lane=lane,
        )

    def submit(self, call: Call) -> None:
        """Queue the call. Never raises: a refusal is the call's outcome."""
        now = self._clock.now()
        if self.closed:
            call.finish(Unavailable(f"version {self.version} of {self.endpoint!r} is being unloaded", retry_after=1))
        elif call.deadline <= now:
            call.finish(too_late(call, "before it was queued"))
        elif call.rows == 0:  # no model is asked
            call.finish(Reply(_no_rows(self.signature), self.endpoint, self.version, call.timing()))
        else:
            try:
                gone = self.batcher.offer(call, now)
            except Refused as error:
                call.finish(error)
                return
            _displace(gone)
            self._alarm.watch(call.deadline, now)
            self._arm()

    def cancel(self, call: Call) -> None:
        """The caller hung up."""
        if call.cancel():
            self.batcher.discard(call)

    def at_once(self, batches: int) -> None:
        """Run so many batches at a time from now on."""
        self.batcher.workers = batches
        self._arm()

    def report(self) -> None:
        """Measure what changes by itself."""
        self.meter.queue(self.batcher.rows, self.batcher.calls)
        self.meter.pressure(self.batcher.wait(STANDARD, self._clock.now()), self.batcher.workers)
        self.executor.report()

    def close(self) -> None:
        """Refuse what waits and let the model go. What runs is answered first by whoever drains."""
        self.closed = True
        gone = Unavailable(f"version {self.version} of {self.endpoint!r} was unloaded; try again", retry_after=1)
        for call in list(self.batcher.waiting()):
            self._fail(call, gone)
        self._alarm.stop()
        self.executor.close()
        self.model.close()

    def _arm(self, delay: float = 0.0) -> None:
        if self._armed or len(self._running) >= self.batcher.workers:
            return
        self._armed = True
        if delay:
            self._loop.call_later(delay, self._flush)
        else:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Start the next batch, unless the policy holds it back or every worker is busy."""
        self._armed = False
        if self.closed:
            return
        while len(self._running) < self.batcher.workers:
            wait = self.batcher.hold(self._clock.now())
            if wait:
                self._arm(wait)
                return
            parts = self.batcher.take(self._clock.now())
            if not parts:
                return
            self._start(parts)
            if self.executor.kind == "inline":
                break  # let the sockets have a turn
        if self.batcher.calls:
            self._arm()

    def _start(self, parts: list[Part]) -> None:
        self._serial = serial = self._serial + 1
        now = self._clock.now()
        for part in parts:
            if not part.call.started:
                part.call.started = now
        self._running[serial] = parts
        self.executor.submit(parts, partial(self._finish, serial))

    def _finish(self, serial: int, results: list[Result]) -> None:
        parts = self._running.pop(serial)
        longest, rows = max([result[2] for result in results], default=0.0), sum([part.rows for part in parts])
        whole = bool(results) and results[0][3] == rows  # it was not halved
        well = self.batcher.limiter is None or _well(parts, results)
        self.batcher.ended(parts, longest, whole, self._clock.now(), well)
        if results:
            self.meter.batch(rows, len(parts), longest)
            if (other := self.executor.outgrown(longest)) is not None:
                log.info("batches moved to a thread", extra={"fields": {"endpoint": self.endpoint, "seconds": longest}})
                self.executor = other
        for result in results:
            self._settle(result)
        for part in parts if len(results) < len(parts) else ():  # left out by the executor: expired meanwhile
            if not part.call.finished and part.call.deadline <= self._clock.now():
                self._fail(part.call, too_late(part.call, "while it waited"))
        if self.batcher.calls:
            self._arm()

    def _settle(self, settled: Result) -> None:
        part, result, seconds, rows, ride, place = settled
        call = part.call
        if part.rows == call.rows:
            call.ride, call.place = ride, place
        call.compute += seconds
        call.ridden = rows
        if isinstance(result, FairleadError):
            self._fail(call, result)
            return
        if call.finished:
            return
        try:
            outputs = call.give(part.start, part.rows, result)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one answer is that call's alone
            self._fail(call, failure(error))
            return
        if outputs is not None:
            call.finish(Reply(outputs, self.endpoint, self.version, call.timing(), call.degraded))

    def _fail(self, call: Call, error: FairleadError) -> None:
        if call.finish(error):
            self.batcher.discard(call)

    def _outstanding(self) -> Iterator[Call]:
        yield from self.batcher.waiting()
        yield from (part.call for parts in self._running.values() for part in parts)


def executor_of(
    model: LoadedModel | Elsewhere, placement: Placement, clock: Clock, loop: asyncio.AbstractEventLoop, name: str
) -> Executor:
    """What runs the batches of a model that is placed so."""
    if isinstance(model, Elsewhere):
        return model.executor
    work = partial(run, model, now=clock.now, batched=model.signature.batched)
    threads = partial(ThreadExecutor, work, loop.call_soon_threadsafe, placement.workers, name)
    if not placement.inline:
        return threads()
    return InlineExecutor(work, None if placement.fixed else threads)


def grouping(signature: Signature) -> Callable[[Tensors, Parameters], Hashable]:
    """Which calls may share a batch: the same inputs, the same parameters, and the same shape behind the rows.

    Decided once a model: where every shape is fixed, no input may be left out and a call has no parameters, its group
    is the empty tuple. ``true``, ``1`` and ``1.0`` are three parameters, though Python says that they are equal.
    """
    if not signature.batched:
        return lambda _inputs, _parameters: object()
    fixed = bool(signature.inputs) and all(
        spec.required and all(size >= 0 for size in spec.shape[1:]) for spec in signature.inputs
    )

    def shapes(inputs: Tensors) -> Hashable:
        return tuple(sorted((name, array.shape[1:], array.dtype.str) for name, array in inputs.items()))

    def group(inputs: Tensors, parameters: Parameters) -> Hashable:
        free = () if fixed else shapes(inputs)
        if not parameters:
            return free
        return (free, tuple(sorted((name, type(value).__name__, value) for name, value in parameters.items())))

    return group


def _well(parts: Sequence[Part], results: Sequence[Result]) -> bool:
    """Whether nothing of a batch was refused, lost or late."""
    if results:
        return not any(isinstance(result[1], Refused | DeadlineExceeded) for result in results)
    return not any(isinstance(part.call.outcome, DeadlineExceeded) for part in parts)


def _displace(calls: Sequence[Call]) -> None:
    for call in calls:
        call.finish(QueueFull("the queue is full, and an urgent call took this one's place", retry_after=1))


def _no_rows(signature: Signature) -> Tensors:
    return {
        spec.name: np.empty((0, *(max(size, 0) for size in spec.shape[1:])), spec.datatype.numpy)
        for spec in signature.outputs
    }
