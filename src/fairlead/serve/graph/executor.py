"""Runs the calls of a graph: many at once, each through the pipelines of its steps' endpoints."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import DeadlineExceeded, FairleadError, ModelFailed, Unavailable
from fairlead.contracts.sink import EndpointMeter
from fairlead.contracts.types import Reply, Signature, Tensors
from fairlead.kit.threads import Threads
from fairlead.serve.batcher import Part
from fairlead.serve.call import NEVER, Call
from fairlead.serve.endpoint import Live
from fairlead.serve.executor import Done, failure
from fairlead.serve.graph.plan import Plan, Planned, misfit
from fairlead.serve.graph.run import Answered, Cancel, Run
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.validate import validate

log = logging.getLogger("fairlead.serve")

Function = Callable[..., Any]

THREADS: Final = 4
"""In which the functions of one graph run."""

_SIGNATURES_KEPT: Final = 256


class GraphExecutor:
    """``functions``: by step.  A step's endpoint is looked up when it is called: reloads and rollouts are followed."""

    kind = "graph"

    def __init__(
        self,
        name: str,
        plan: Plan,
        functions: Mapping[str, Function],
        pipeline: Pipeline,
        meter: EndpointMeter,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._name, self._plan, self._functions = name, plan, functions
        self._pipeline, self._clock, self._meter, self._loop = pipeline, pipeline.clock, meter, loop
        self._threads = Threads(THREADS, f"fairlead-{name}")
        self._fitting: dict[tuple[str, str, int], Signature] = {}
        """Signatures that were found to fit, by step, endpoint and id; kept, so that no id is used again."""
        self._runs: dict[asyncio.Future[None], tuple[Run, Part, Done]] = {}

    def submit(self, parts: list[Part], done: Done) -> None:
        part, call = parts[0], parts[0].call  # its policy lets every call run alone and whole
        began = self._clock.now()
        if call.finished or call.deadline <= began:
            done([])
            return
        watch: asyncio.Future[None] = self._loop.create_future()

        def end(answer: Tensors | FairleadError) -> None:
            if self._runs.pop(watch, None) is None:
                return
            seconds = self._clock.now() - began
            if not call.finished:
                call.waiting = None
                call.steps, call.degraded = tuple(run.times), _told(run.degraded)
            if isinstance(answer, FairleadError):
                done([(part, answer, seconds, part.rows, None, 0)])
            else:
                done([(part, answer, seconds, part.rows, (call.inputs, answer), 0)])

        run = Run(self._plan, call, self._ask, self._meter, self._clock, end)
        self._runs[watch] = (run, part, done)
        call.waiting = watch  # cancelled when the call ends before its graph does
        watch.add_done_callback(self._left)
        run.begin()

    def outgrown(self, seconds: float) -> None:
        """It runs nothing itself."""

    def report(self) -> None:
        """Nothing changes by itself."""

    def troubles(self) -> list[str]:
        """Steps that nobody could answer now."""
        found = []
        for one in self._plan.steps.values():
            if one.step.endpoint:
                try:
                    self._resolved(one, one.step.endpoint, {})
                except FairleadError as error:
                    found.append(f"endpoint {self._name!r}, step {one.name!r}: {error}")
        return found

    def close(self) -> None:
        for watch, (run, part, done) in list(self._runs.items()):
            del self._runs[watch]
            part.call.waiting = None
            run.stop()
            error = Unavailable(f"this version of {self._name!r} was unloaded; try again", retry_after=1)
            done([(part, error, 0.0, part.rows, None, 0)])
        self._threads.close()

    def _left(self, watch: asyncio.Future[None]) -> None:
        """The call ended before its graph: hung up, or its deadline passed."""
        if (left := self._runs.pop(watch, None)) is not None:
            run, _, done = left
            run.stop()
            done([])

    def _ask(
        self, one: Planned, endpoint: str, inputs: Tensors, call: Call, deadline: float, answered: Answered
    ) -> Cancel:
        if not endpoint:
            return self._work(one, inputs, deadline if one.step.timeout_ms else NEVER, answered)
        live, unit = self._resolved(one, endpoint, inputs)
        pipeline, split = self._pipeline, self._pipeline.catalog.splits.get(endpoint)

        def done(asked: Call) -> None:
            outcome = asked.outcome
            pipeline.emit(live, asked, {}, unit)
            if isinstance(outcome, ModelFailed) and one.step.fallback is not None:  # nobody else hears of it
                said = {"graph": self._name, "step": one.name, "endpoint": endpoint, "version": live.version}
                log.error("step failed", exc_info=outcome.__cause__, extra={"fields": {**said, "error": str(outcome)}})
            assert outcome is not None  # noqa: S101 - it is done
            answered(outcome)
            if split is not None and isinstance(outcome, Reply):
                split.after(asked, self._clock.now() - asked.arrived)

        asked = live.call(
            validate(inputs, live.signature), call.parameters, done,
            arrived=self._clock.now(), deadline=deadline, lane=call.lane,
        )  # fmt: skip
        asked.behalf = call.caller or call.behalf
        pipeline.submit(live, asked)
        return lambda: live.cancel(asked)

    def _resolved(self, one: Planned, endpoint: str, inputs: Tensors) -> tuple[Live, str]:
        """The version that answers a step now. Raises NotFound, and Unavailable for one that no longer fits."""
        catalog = self._pipeline.catalog
        live, unit = catalog.resolve(endpoint), ""
        if inputs and endpoint in catalog.splits:
            live, unit = catalog.splits[endpoint].choose({}, inputs)
        key = (one.name, endpoint, id(live.signature))
        if key not in self._fitting:
            if why := misfit(one, endpoint, live.signature):
                raise Unavailable(f"version {live.version} of {endpoint!r} does not fit into the graph: {why}")
            if len(self._fitting) >= _SIGNATURES_KEPT:
                self._fitting.clear()
            self._fitting[key] = live.signature
        return live, unit

    def _work(self, one: Planned, inputs: Tensors, deadline: float, answered: Answered) -> Cancel:
        """Run a step's function in a thread. One that is given up goes on there, and nobody hears of it."""
        function, over = self._functions[one.name], False
        timer: asyncio.TimerHandle | None = None
        for name, array in inputs.items():
            inputs[name] = array.view()
            inputs[name].flags.writeable = False  # other steps take the same array

        def settle(answer: Reply | FairleadError) -> None:
            nonlocal over
            if not over:
                over = True
                if timer is not None:
                    timer.cancel()
                answered(answer)

        def work() -> None:
            if over:  # given up before its turn
                return
            try:
                answer: Reply | FairleadError = Reply(_arrays(function(**inputs), one), "", "")
            except BaseException as error:  # noqa: BLE001 - a function may raise anything
                answer = failure(error)
            try:
                self._loop.call_soon_threadsafe(settle, answer)
            except RuntimeError:  # the loop is closed: nobody is left to be told
                log.debug("a graph's function ended after the loop closed")

        def stop() -> None:
            nonlocal over
            over = True
            if timer is not None:
                timer.cancel()

        if deadline != NEVER:
            late = DeadlineExceeded("its time is over")
            timer = self._loop.call_later(max(0.0, deadline - self._clock.now()), settle, late)
        self._threads.submit(work)
        return stop


def _arrays(given: Any, one: Planned) -> Tensors:
    """What a function gave: a dict of arrays, or one array where it gives one. Raises ModelFailed."""
    names = [spec.name for spec in one.step.gives]
    if isinstance(given, np.ndarray) and len(names) == 1:
        return {names[0]: given}
    if not isinstance(given, dict) or not all(isinstance(array, np.ndarray) for array in given.values()):
        raise ModelFailed(f"the function gave {type(given).__name__}; expected a dict of arrays: {', '.join(names)}")
    return given


def _told(degraded: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={code}" for name, code in degraded.items())
