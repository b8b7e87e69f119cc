"""Graphs over live endpoints: what is answered, what rides together, and what happens when a step does not answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from graphs import BOTH, RISK, SCALED, A, B, back, spec

from fairlead.contracts.errors import (
    Cancelled,
    DeadlineExceeded,
    FairleadError,
    InvalidTensor,
    ModelFailed,
    Unavailable,
)
from fairlead.contracts.graph import Fallback, Graph, Step
from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.contracts.runtime import Traits
from fairlead.contracts.types import DataType, Reply, Signature, Tensors
from fairlead.kit.clock import SystemClock
from fairlead.serve.batcher import Policy
from fairlead.serve.call import BATCH, Call
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.executor import Elsewhere
from fairlead.serve.graph.executor import GraphExecutor
from fairlead.serve.graph.plan import plan
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.split import Split
from fairlead.testing.models import Model
from fairlead.testing.sinks import MemorySink

SCALER = Signature((spec("X", shape=(-1, 2)),), (spec("Y", shape=(-1, 2)),))
SCORER = Signature((spec("X", shape=(-1, 2)),), (spec("score"), spec("label", DataType.INT64)))
ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)


def scaled(inputs: Tensors) -> Tensors:
    return {"Y": inputs["X"] * 2}


def scored(weight: float) -> Callable[[Tensors], Tensors]:
    def run(inputs: Tensors) -> Tensors:
        score = (inputs["X"].sum(axis=1) * weight).astype(np.float32)
        return {"score": score, "label": (score > 10).astype(np.int64)}

    return run


class Bench:
    """Endpoints ``scaler`` (doubles), ``risk-a`` (1 x sum), ``risk-b`` (3 x sum), and a graph over them."""

    def __init__(self, graph: Graph = RISK, functions: Mapping[str, Any] | None = None, **models: Model) -> None:
        self.catalog, self.sink = Catalog(), MemorySink()
        self.pipeline = Pipeline(self.catalog, SystemClock())
        self.loop = asyncio.get_running_loop()
        given = {
            "scaler": Model(scaled, SCALER),
            "risk-a": Model(scored(1), SCORER),
            "risk-b": Model(scored(3), SCORER),
        }
        for name, model in {**given, **{name.replace("_", "-"): model for name, model in models.items()}}.items():
            self.put(name, model)
        made = plan(graph, lambda name: self.catalog.resolve(name).signature)
        meter = self.sink.endpoint("risk", "1")
        executor = GraphExecutor("risk", made, functions or {}, self.pipeline, meter, self.loop)
        self.live = Live(
            "risk", "1", Elsewhere(made.signature, Traits(), executor), policy=Policy(2**31, coalesce=False),
            placement=Placement(workers=256), meter=meter, clock=SystemClock(), loop=self.loop,
        )  # fmt: skip
        self.outcomes: list[Reply | FairleadError] = []

    def put(self, name: str, model: Model, version: str = "1") -> Live:
        live = Live(
            name, version, model, policy=Policy(64), placement=Placement(), meter=self.sink.endpoint(name, version),
            clock=SystemClock(), loop=self.loop,
        )  # fmt: skip
        self.catalog.put(live)
        return live

    def send(self, rows: np.ndarray[Any, Any] = ROWS, seconds: float = 30.0, **more: Any) -> Call:
        def done(call: Call) -> None:
            assert call.outcome is not None
            self.pipeline.emit(self.live, call, {})
            self.outcomes.append(call.outcome)

        now = SystemClock.now()
        call = self.live.call({"features": rows}, {}, done, arrived=now, deadline=now + seconds, **more)
        self.pipeline.submit(self.live, call)
        return call

    async def settle(self, calls: int = 1) -> None:
        async with asyncio.timeout(10):
            while len(self.outcomes) < calls or self.pipeline.in_flight:
                await asyncio.sleep(0.001)
        assert self.live.idle

    async def ask(self, rows: np.ndarray[Any, Any] = ROWS, **more: Any) -> Reply | FairleadError:
        """The outcome; afterwards nothing runs any more."""
        self.send(rows, **more)
        await self.settle()
        return self.outcomes.pop()

    def close(self) -> None:
        for live in (self.live, *self.catalog.all()):
            live.close()


class Gated(Model):
    """A scorer that answers when it is let."""

    def __init__(self) -> None:
        super().__init__(scored(1), SCORER)
        self.gate, self.entered = threading.Event(), threading.Event()

    def predict(self, inputs: Tensors, parameters: Any) -> Tensors:
        self.entered.set()
        assert self.gate.wait(10)
        return super().predict(inputs, parameters)


def broken(_inputs: Tensors) -> Tensors:
    raise ValueError("secret")


def outputs(answer: Reply | FairleadError) -> dict[str, list[Any]]:
    assert isinstance(answer, Reply), answer
    return {name: array.tolist() for name, array in answer.outputs.items()}


async def test_a_call_goes_through_every_step() -> None:
    bench = Bench()
    answer = await bench.ask()
    assert outputs(answer) == {"score": [12.0, 28.0, 44.0]}  # mean of 1 x and 3 x the doubled sums
    assert isinstance(answer, Reply)
    assert {name for name, _ in answer.timing.steps} == {"scaled", "a", "b"}
    assert answer.degraded == ""
    assert bench.sink.meters["risk", "1"].steps == {("scaled", "ok"): 1, ("a", "ok"): 1, ("b", "ok"): 1}
    assert bench.sink.meters["risk-a", "1"].outcomes == {"ok": 1}  # a step's call is a call of its endpoint
    assert outputs(await bench.ask(ROWS[:0])) == {"score": []}
    bench.close()


async def test_calls_of_many_graph_calls_ride_together_in_each_step() -> None:
    bench = Bench()
    for _ in range(20):
        bench.send()
    await bench.settle(20)
    assert all(outputs(answer) == {"score": [12.0, 28.0, 44.0]} for answer in bench.outcomes)
    for name in ("scaler", "risk-a", "risk-b"):
        assert len(bench.sink.meters[name, "1"].batches) < 20, name
    bench.close()


async def test_steps_that_need_nothing_of_each_other_run_at_the_same_time() -> None:
    slow, slower = Gated(), Gated()
    bench = Bench(risk_a=slow, risk_b=slower)
    bench.send()
    async with asyncio.timeout(10):
        while not (slow.entered.is_set() and slower.entered.is_set()):
            await asyncio.sleep(0.001)
    slow.gate.set()
    slower.gate.set()
    await bench.settle()
    bench.close()


@pytest.mark.parametrize(
    ("fallback", "score"),
    [
        (back(score=8.0), [13.0, 25.0, 37.0]),
        (Fallback(step="b"), [18.0, 42.0, 66.0]),
        (Fallback(endpoint="risk-b"), [18.0, 42.0, 66.0]),
    ],
)
async def test_a_fallback_stands_in_for_a_step_that_fails_and_the_reply_says_so(
    fallback: Fallback, score: list[float]
) -> None:
    graph = replace(RISK, steps=(SCALED, replace(A, fallback=fallback), B, BOTH))
    bench = Bench(graph, risk_a=Model(broken, SCORER))
    answer = await bench.ask()
    assert outputs(answer) == {"score": score}
    assert isinstance(answer, Reply)
    assert answer.degraded == "a=model_failed"
    assert bench.sink.meters["risk", "1"].steps["a", "model_failed"] == 1
    bench.close()


async def test_without_a_fallback_the_call_fails_with_the_step_named_and_the_cause_kept() -> None:
    bench = Bench(risk_a=Model(broken, SCORER))
    answer = await bench.ask()
    assert isinstance(answer, ModelFailed)
    assert str(answer).startswith("step 'a' (endpoint 'risk-a'): the model raised ValueError")
    assert isinstance(answer.__cause__, ValueError)
    both = replace(RISK, steps=(SCALED, replace(A, fallback=Fallback(endpoint="risk-b")), B, BOTH))
    bench.close()
    bench = Bench(both, risk_a=Model(broken, SCORER), risk_b=Model(broken, SCORER))
    assert isinstance(await bench.ask(), ModelFailed)
    bench.close()


async def test_a_step_has_a_time_of_its_own() -> None:
    slow = Gated()
    timed = replace(A, timeout_ms=30)
    bench = Bench(replace(RISK, steps=(SCALED, timed, B, BOTH)), risk_a=slow)
    answer = await bench.ask()
    assert isinstance(answer, DeadlineExceeded)
    assert str(answer) == "step 'a' (endpoint 'risk-a') has not answered within its timeout_ms of 30"
    slow.gate.set()
    bench.close()
    slow = Gated()
    bench = Bench(replace(RISK, steps=(SCALED, replace(timed, fallback=back(score=8)), B, BOTH)), risk_a=slow)
    answer = await bench.ask()
    assert outputs(answer) == {"score": [13.0, 25.0, 37.0]}
    assert isinstance(answer, Reply)
    assert answer.degraded == "a=deadline_exceeded"
    slow.gate.set()
    bench.close()


async def test_the_time_of_a_step_is_blamed_only_where_it_ends_before_the_calls() -> None:
    def late(_inputs: Tensors) -> Tensors:
        raise DeadlineExceeded("no upstream answered in time")

    timed = replace(A, timeout_ms=20_000)
    for seconds, said in ((10.0, ": no upstream answered in time"), (30.0, "within its timeout_ms of 20000")):
        bench = Bench(replace(RISK, steps=(SCALED, timed, B, BOTH)), risk_a=Model(late, SCORER))
        answer = await bench.ask(seconds=seconds)
        assert isinstance(answer, DeadlineExceeded)
        assert str(answer).endswith(said)
        bench.close()


async def test_the_calls_deadline_is_that_of_every_step_and_no_fallback_outlives_it() -> None:
    slow = Gated()
    bench = Bench(replace(RISK, steps=(SCALED, replace(A, fallback=back(score=8)), B, BOTH)), risk_a=slow)
    answer = await bench.ask(seconds=0.05)
    assert isinstance(answer, DeadlineExceeded)
    slow.gate.set()
    bench.close()


async def test_who_hangs_up_cancels_the_steps_and_hurts_nobody() -> None:
    slow = Gated()
    bench = Bench(risk_a=slow)
    other = bench.send()
    async with asyncio.timeout(10):
        while not slow.entered.is_set():
            await asyncio.sleep(0.001)
    call = bench.send()
    await asyncio.sleep(0.02)  # it waits behind the first in risk-a
    bench.live.cancel(call)
    assert isinstance(call.outcome, Cancelled)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.sink.meters["risk-a", "1"].outcomes["cancelled"] == 1
    slow.gate.set()
    await bench.settle(2)
    assert outputs(other.outcome) == {"score": [12.0, 28.0, 44.0]}  # type: ignore[arg-type]  # it has one
    bench.close()


async def test_a_graph_that_is_unloaded_answers_what_it_has() -> None:
    slow = Gated()
    bench = Bench(risk_a=slow)
    call = bench.send()
    async with asyncio.timeout(10):
        while not slow.entered.is_set():
            await asyncio.sleep(0.001)
    bench.live.close()
    assert isinstance(call.outcome, Unavailable)
    slow.gate.set()
    await bench.settle()
    assert len(bench.outcomes) == 1
    bench.close()


async def test_a_step_whose_endpoint_is_gone_is_named() -> None:
    bench = Bench()
    bench.catalog.remove("risk-a", "1").close()
    answer = await bench.ask()
    assert isinstance(answer, Unavailable)
    assert "step 'a' (endpoint 'risk-a'): there is no endpoint 'risk-a'" in str(answer)
    (trouble,) = bench.live.executor.troubles()
    assert trouble.startswith("endpoint 'risk', step 'a': there is no endpoint 'risk-a'")
    bench.close()


async def test_a_version_that_came_later_is_asked_and_one_that_does_not_fit_is_not() -> None:
    bench = Bench()
    bench.put("risk-a", Model(scored(5), SCORER), "2")
    bench.catalog.switch("risk-a", "2")
    assert outputs(await bench.ask()) == {"score": [24.0, 56.0, 88.0]}
    other = replace(SCORER, outputs=(spec("score", DataType.FP64),))
    bench.put("risk-a", Model(scored(5), other), "3")
    bench.catalog.switch("risk-a", "3")
    answer = await bench.ask()
    assert isinstance(answer, Unavailable)
    assert "version 3 of 'risk-a' does not fit into the graph: score of 'risk-a' is FP64 [-1], and FP32 [-1]" in str(
        answer
    )
    bench.close()


async def test_a_split_of_a_steps_endpoint_is_followed() -> None:
    bench = Bench()
    lives = {"1": bench.catalog.resolve("risk-a"), "2": bench.put("risk-a", Model(scored(5), SCORER), "2")}
    shares = (Share("1", "champion", 50), Share("2", "challenger", 50))
    bench.catalog.splits["risk-a"] = Split(TrafficSplit("risk-a", "m", shares, salt="s"), lives, None, SystemClock())
    for _ in range(60):
        bench.send()
    await bench.settle(60)
    told = {tuple(outputs(answer)["score"]) for answer in bench.outcomes}
    assert told == {(12.0, 28.0, 44.0), (24.0, 56.0, 88.0)}
    assert sum(bench.sink.meters["risk-a", version].outcomes["ok"] for version in ("1", "2")) == 60
    bench.close()


async def test_an_answer_that_is_not_what_the_signature_said_is_no_answer() -> None:
    def lies(inputs: Tensors) -> Tensors:
        return {"score": inputs["X"], "label": np.zeros(len(inputs["X"]), np.int64)}

    bench = Bench(risk_a=Model(lies, SCORER))
    answer = await bench.ask()
    assert isinstance(answer, ModelFailed)
    assert "score came as float32 [3, 2]; expected FP32 [-1]" in str(answer)
    bench.close()


async def test_rows_go_where_the_conditions_say_and_come_back_in_their_places() -> None:
    graph = Graph(
        (
            Step("base", "risk-a", {"X": "features"}),
            Step("high", "risk-b", {"X": "features"}, when=("base.score > 6",)),
            Step("low", "scaler", {"X": "features"}, when=("not high", "base.score > 0")),
            Step("rest", "scaler", {"X": "features"}, when=("not high", "not low")),
            Step("back", "risk-a", {"X": "low.Y"}),
            Step("back-rest", "risk-a", {"X": "rest.Y"}),
            Step("joined", combine="first", of=("high.score", "back.score", "base.score")),
            Step("labels", combine="first", of=("back-rest.label", "base.label")),
        ),
        outputs={"score": "joined", "label": "labels"},
    )
    bench = Bench(graph)
    rows = np.array([[1, 1], [5, 5], [-1, -1], [2, 2], [9, 9]], np.float32)
    assert outputs(await bench.ask(rows)) == {"score": [4.0, 30.0, -2.0, 8.0, 54.0], "label": [0, 0, 0, 0, 1]}
    assert sorted(rows for rows, _ in bench.sink.meters["risk-b", "1"].batches) == [2]
    assert outputs(await bench.ask(rows[:1])) == {"score": [4.0], "label": [0]}
    assert bench.sink.meters["risk-b", "1"].rows == 2  # nobody went there
    bench.close()


async def test_the_lane_goes_with_the_call() -> None:
    slow = Gated()
    bench = Bench(risk_a=slow)
    bench.send()
    async with asyncio.timeout(10):
        while not slow.entered.is_set():
            await asyncio.sleep(0.001)
    bench.send(lane=BATCH)
    await asyncio.sleep(0.02)
    (waits,) = bench.catalog.resolve("risk-a").batcher.waiting()
    assert waits.lane == BATCH
    slow.gate.set()
    await bench.settle(2)
    bench.close()


def cleaned(raw: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    return {"x": np.clip(raw, 0, 4)}


def spoils(raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    raw[0] = 0
    return raw


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (cleaned, ""),
        (lambda raw: np.clip(raw, 0, 4), ""),
        (spoils, "step 'clean': the model raised ValueError"),
        (lambda raw: {"x": raw.tolist()}, "the function gave dict; expected a dict of arrays: x"),
        (lambda raw: {"y": raw}, "it gave y, and no x"),
        (lambda raw: raw.astype(float), "x came as float64 [3, 2]; expected FP32 [-1, 2]"),
        (lambda raw: raw[:1], "output 'x' has shape (1, 2) for 3 rows"),
    ],
)
async def test_a_function_is_a_step(function: Any, said: str) -> None:
    step = Step("clean", function="mine:cleaned", take={"raw": "features"}, gives=(spec("x", shape=(-1, 2)),))
    graph = Graph(
        (step, Step("a", "risk-a", {"X": "clean.x"})), (spec("features", shape=(-1, 2)),), {"score": "a.score"}
    )
    bench = Bench(graph, {"clean": function})
    answer = await bench.ask()
    if said:
        assert isinstance(answer, ModelFailed)
        assert said in str(answer)
    else:
        assert outputs(answer) == {"score": [3.0, 7.0, 8.0]}
    bench.close()


async def test_a_function_that_takes_too_long_is_left_behind() -> None:
    gate = threading.Event()

    def slow(raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        gate.wait(10)
        return raw

    step = Step(
        "clean", function="m:slow", take={"raw": "features"}, gives=(spec("x"),), timeout_ms=20, fallback=back(x=1)
    )
    bench = Bench(Graph((step,), (spec("features", shape=(-1, 2)),)), {"clean": slow})
    assert outputs(await bench.ask()) == {"x": [1.0, 1.0, 1.0]}
    gate.set()
    bench.close()


async def test_an_input_that_a_model_refuses_is_the_callers_and_no_fallbacks() -> None:
    free = Signature((spec("X", shape=(-1, -1)),), SCALER.outputs)
    graph = Graph((Step("scaled", "scaler", {"X": "features"}, fallback=Fallback(endpoint="other")),))
    bench = Bench(graph, scaler=Model(scaled, free), other=Model(scaled, free))
    bench.put("scaler", Model(scaled, SCALER), "1")
    answer = await bench.ask(np.ones((2, 3), np.float32))
    assert isinstance(answer, InvalidTensor)
    assert "step 'scaled' (endpoint 'scaler'): tensor 'X': expected shape [-1, 2], found [2, 3]" in str(answer)
    bench.close()


async def test_a_graph_is_a_step_of_another_and_says_what_stood_in_for_its_steps() -> None:
    inner = Bench(
        replace(RISK, steps=(SCALED, replace(A, fallback=back(score=8)), B, BOTH)), risk_a=Model(broken, SCORER)
    )
    inner.catalog.put(inner.live)
    made = plan(Graph((Step("all", "risk", {"features": "x"}),)), lambda name: inner.catalog.resolve(name).signature)
    executor = GraphExecutor("outer", made, {}, inner.pipeline, inner.sink.endpoint("outer", "1"), inner.loop)
    outer = Live(
        "outer", "1", Elsewhere(made.signature, Traits(), executor), policy=Policy(2**31, coalesce=False),
        placement=Placement(workers=256), meter=inner.sink.endpoint("outer", "1"), clock=SystemClock(), loop=inner.loop,
    )  # fmt: skip
    ended = asyncio.Event()
    call = outer.call({"x": ROWS}, {}, lambda _call: ended.set(), arrived=SystemClock.now())
    outer.enter(call)
    await asyncio.wait_for(ended.wait(), 10)
    assert isinstance(call.outcome, Reply)
    assert outputs(call.outcome) == {"score": [13.0, 25.0, 37.0]}
    assert call.outcome.degraded == "all.a=model_failed"
    outer.close()
    inner.close()


async def test_a_long_chain_of_steps_that_answer_at_once() -> None:
    first = Step("s0", combine="mean", of=("scaled.Y", "scaled.Y"))
    chain = [Step(f"s{at}", combine="mean", of=(f"s{at - 1}", f"s{at - 1}")) for at in range(1, 1000)]
    bench = Bench(Graph((SCALED, first, *chain), outputs={"y": "s999"}))
    assert outputs(await bench.ask()) == {"y": (ROWS * 2).tolist()}
    bench.close()
