"""One live version under every kind of trouble: nobody is hurt by a neighbour.

For every position in a batch and every phase of a call (queued, forming, running, splitting) one call is cancelled,
times out or makes the model raise. All others must answer, with their own rows.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import Cancelled, DeadlineExceeded, FairleadError, ModelFailed, QueueFull, Unavailable
from fairlead.contracts.runtime import Traits
from fairlead.contracts.types import DataType, Parameters, Reply, Signature, Tensors, TensorSpec
from fairlead.kit.clock import SystemClock
from fairlead.serve.batcher import Policy
from fairlead.serve.call import Call
from fairlead.serve.endpoint import Live, Placement

POISON = -1.0
SIGNATURE = Signature(
    inputs=(TensorSpec("x", DataType.FP64, (-1, 1)),), outputs=(TensorSpec("y", DataType.FP64, (-1, 1)),)
)


class Meter:
    """Remembers the sizes of batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []

    def answered(self, seconds: float, rows: int, queue: float, compute: float) -> None: ...
    def failed(self, code: str, seconds: float) -> None: ...
    def queue(self, rows: int, calls: int) -> None: ...
    def shed(self, reason: str, lane: str) -> None: ...
    def batch(self, rows: int, calls: int, seconds: float) -> None:
        self.batches.append((rows, calls))


class Doubler:
    """Doubles; raises when a poisoned row is in the batch; waits at the gate; remembers the rows that it saw."""

    signature = SIGNATURE
    traits = Traits()

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.seen: list[float] = []
        self.closed = False

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        self.seen.extend(inputs["x"][:, 0].tolist())
        self.entered.set()
        assert self.gate.wait(10)
        if (inputs["x"] == POISON).any():
            raise ValueError("poisoned row")
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        self.closed = True


class Bench:
    """A live version and the calls sent to it."""

    def __init__(self, model: Any, policy: Policy, *, inline: bool, workers: int = 1) -> None:
        self.model = model
        self.meter = Meter()
        self.live = Live(
            "bench",
            "1",
            model,
            policy=policy,
            placement=Placement(inline, workers),
            meter=self.meter,
            clock=SystemClock(),
            loop=asyncio.get_running_loop(),
        )
        self.outcomes: dict[int, list[Reply | FairleadError]] = {}

    def send(self, *values: float, deadline: float | None = None, parameters: Parameters | None = None) -> Call:
        now = SystemClock.now()
        number = len(self.outcomes)
        self.outcomes[number] = []

        def done(call: Call) -> None:
            assert call.outcome is not None
            self.outcomes[number].append(call.outcome)

        rows = np.array(values, float).reshape(-1, 1)
        limit = None if deadline is None else now + deadline
        call = self.live.call({"x": rows}, parameters or {}, done, arrived=now, deadline=limit)
        self.live.submit(call)
        return call

    async def settle(self) -> None:
        async with asyncio.timeout(10):
            while not all(self.outcomes.values()):
                await asyncio.sleep(0.001)

    def check(self, number: int, *values: float) -> None:
        (outcome,) = self.outcomes[number]
        assert isinstance(outcome, Reply), outcome
        assert outcome.outputs["y"][:, 0].tolist() == [2 * value for value in values]

    def failed(self, number: int) -> FairleadError:
        (outcome,) = self.outcomes[number]
        assert isinstance(outcome, FairleadError)
        return outcome


Spoil = Callable[[Bench, Call], None]


def cancel(bench: Bench, call: Call) -> None:
    bench.live.cancel(call)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 11])
@pytest.mark.parametrize("position", range(5))
async def test_a_call_that_makes_the_model_raise_fails_alone(position: int, rows: int, inline: bool) -> None:
    bench = Bench(Doubler(), Policy(max_rows=4 if rows != 3 else 64), inline=inline)
    sent = []
    for i in range(5):
        values = [float(i * 100 + r) for r in range(rows)]
        if i == position:
            values[rows // 2] = POISON
        sent.append(values)
        bench.send(*values)
    await bench.settle()
    for i, values in enumerate(sent):
        if i == position:
            error = bench.failed(i)
            assert isinstance(error, ModelFailed)
            assert "ValueError" in str(error)
            assert isinstance(error.__cause__, ValueError)
        else:
            bench.check(i, *values)


@pytest.mark.parametrize("phase", ["forming", "queued", "running", "splitting"])
@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_a_call_that_leaves_hurts_nobody(phase: str, position: int, how: str) -> None:
    model = Doubler()
    bench = Bench(model, Policy(max_rows=4), inline=False)
    rows = 11 if phase == "splitting" else 1
    if phase != "forming":
        model.gate.clear()
    if phase == "queued":
        bench.send(1000.0)  # occupies the model while the others wait
        await asyncio.to_thread(model.entered.wait, 10)
    first = len(bench.outcomes)
    calls, sent = [], []
    for i in range(4):
        values = [float(i * 100 + r) for r in range(rows)]
        leaves = how == "timeout" and i == position
        calls.append(bench.send(*values, deadline=0.02 if leaves else None))
        sent.append(values)
    if phase in ("running", "splitting"):
        await asyncio.to_thread(model.entered.wait, 10)
    if how == "cancel":
        bench.live.cancel(calls[position])
    elif phase != "forming":
        while not calls[position].finished:
            await asyncio.sleep(0.001)
    if phase == "forming" and how == "timeout":
        return  # it may well be answered in time: covered by the expired-before-it-was-queued test
    assert calls[position].finished, "a call that leaves is told at once, not when the batch is done"
    model.gate.set()
    await bench.settle()
    for i, values in enumerate(sent):
        if i == position:
            assert isinstance(bench.failed(first + i), Cancelled if how == "cancel" else DeadlineExceeded)
        else:
            bench.check(first + i, *values)
    if phase in ("forming", "queued"):
        assert sent[position][0] not in model.seen, "its rows reached the model although it was gone"
    await bench.settle()


async def test_an_expired_call_never_reaches_the_model() -> None:
    bench = Bench(Doubler(), Policy(), inline=True)
    bench.send(7.0, deadline=-0.001)
    bench.send(8.0)
    await bench.settle()
    assert isinstance(bench.failed(0), DeadlineExceeded)
    bench.check(1, 8.0)
    assert bench.model.seen == [8.0]


async def test_calls_of_one_turn_ride_together_and_the_next_batch_gathers_while_one_runs() -> None:
    model = Doubler()
    bench = Bench(model, Policy(max_rows=64), inline=False)
    model.gate.clear()
    bench.send(0.0)
    bench.send(1.0)
    await asyncio.to_thread(model.entered.wait, 10)
    for i in range(2, 10):
        bench.send(float(i))
        await asyncio.sleep(0)
    model.gate.set()
    await bench.settle()
    assert bench.meter.batches == [(2, 2), (8, 8)]


async def test_split_calls_come_back_whole_and_in_order() -> None:
    bench = Bench(Doubler(), Policy(max_rows=7), inline=False, workers=3)
    sent = [[float(i * 1000 + r) for r in range(n)] for i, n in enumerate((1, 50, 3, 23, 7, 8))]
    for values in sent:
        bench.send(*values)
    await bench.settle()
    for i, values in enumerate(sent):
        bench.check(i, *values)


async def test_parameters_keep_calls_apart() -> None:
    bench = Bench(Doubler(), Policy(), inline=True)
    for i in range(6):
        bench.send(float(i), parameters={"temperature": i % 2})
    await bench.settle()
    assert bench.meter.batches == [(3, 3), (3, 3)]


async def test_zero_rows_are_answered_without_the_model() -> None:
    bench = Bench(Doubler(), Policy(), inline=True)
    bench.send()
    await bench.settle()
    bench.check(0)
    assert bench.model.seen == []


async def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    model = Doubler()
    model.gate.clear()
    bench = Bench(model, Policy(max_rows=1, queue_calls=2), inline=False)
    bench.send(0.0)
    await asyncio.to_thread(model.entered.wait, 10)
    for i in range(1, 5):
        bench.send(float(i))
    refused = [bench.failed(i) for i in (3, 4)]
    assert all(isinstance(error, QueueFull) and (error.retry_after or 0) >= 1 for error in refused)
    model.gate.set()
    await bench.settle()
    for i in range(3):
        bench.check(i, float(i))


async def test_a_wrong_output_shape_is_the_models_failure() -> None:
    class Shrinks(Doubler):
        def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
            return {"y": inputs["x"][:1]}

    bench = Bench(Shrinks(), Policy(), inline=True)
    bench.send(1.0, 2.0)
    await bench.settle()
    assert "first dimension must be 2" in str(bench.failed(0))


async def test_free_dimensions_are_never_mixed_and_may_not_change_inside_a_split_call() -> None:
    class Free(Doubler):
        signature = Signature(
            inputs=(TensorSpec("x", DataType.FP64, (-1, -1)),), outputs=(TensorSpec("y", DataType.FP64, (-1, -1)),)
        )

        def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
            return {"y": inputs["x"][:, : int(inputs["x"][0, 0])]}

    bench = Bench(Free(), Policy(max_rows=2), inline=True)
    now = SystemClock.now()
    outcomes: list[Any] = []
    for rows in (np.ones((1, 2)), np.ones((1, 3)), np.ones((1, 2)), np.array([[1, 1], [1, 1], [2, 2.0]])):
        bench.live.submit(bench.live.call({"x": rows}, {}, lambda call: outcomes.append(call.outcome), arrived=now))
    while len(outcomes) < 4:
        await asyncio.sleep(0)
    assert bench.meter.batches[0] == (2, 2)
    broken = [outcome for outcome in outcomes if isinstance(outcome, ModelFailed)]
    assert len(broken) == 1
    assert "changed its shape" in str(broken[0])


async def test_a_slow_inline_batch_moves_the_endpoint_to_a_thread() -> None:
    class Slow(Doubler):
        def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
            threading.Event().wait(0.01)
            return super().predict(inputs, parameters)

    bench = Bench(Slow(), Policy(), inline=True)
    for i in range(3):
        assert bench.live.executor.kind == "inline", "one slow batch decides nothing"
        bench.send(float(i))
        await bench.settle()
    assert bench.live.executor.kind == "thread"
    bench.send(7.0)
    await bench.settle()
    bench.check(3, 7.0)


async def test_waiting_for_company_ends_when_asked() -> None:
    bench = Bench(Doubler(), Policy(max_rows=4, max_wait=0.02), inline=True)
    bench.send(1.0)
    await asyncio.sleep(0.001)
    assert not bench.outcomes[0]
    for i in range(3):
        bench.send(float(i))
    await bench.settle()
    assert bench.meter.batches == [(4, 4)]
    bench.send(9.0)
    await bench.settle()
    assert bench.meter.batches[-1] == (1, 1)


async def test_a_model_without_a_row_dimension_runs_every_call_alone() -> None:
    class Whole(Doubler):
        signature = Signature(inputs=(TensorSpec("x", DataType.FP64, (1,)),), outputs=(), batched=False)

        def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
            return {"y": inputs["x"].sum()}

    bench = Bench(Whole(), Policy(), inline=True)
    for i in range(3):
        bench.send(float(i))
    await bench.settle()
    assert [float(bench.outcomes[i][0].outputs["y"]) for i in range(3)] == [0, 1, 2]  # type: ignore[union-attr]
    assert bench.meter.batches == [(1, 1)] * 3


async def test_closing_refuses_what_waits() -> None:
    model = Doubler()
    model.gate.clear()
    bench = Bench(model, Policy(max_rows=1), inline=False)
    bench.send(0.0)
    await asyncio.to_thread(model.entered.wait, 10)
    bench.send(1.0)
    bench.live.close()
    bench.send(2.0)
    assert isinstance(bench.failed(1), Unavailable)
    assert isinstance(bench.failed(2), Unavailable)
    model.gate.set()
    await bench.settle()
    bench.check(0, 0.0)
    assert model.closed


class Adder(Doubler):
    """``x`` plus ``o``, which may be left out."""

    signature = Signature(
        (
            TensorSpec("x", DataType.INT64, (-1, 1), column=True),
            TensorSpec("o", DataType.INT64, (-1, 1), column=True, required=False),
        ),
        (TensorSpec("y", DataType.INT64, (-1, 1)),),
    )

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        return {"y": inputs["x"] + inputs.get("o", np.zeros_like(inputs["x"]))}


@pytest.mark.parametrize("first", ["with", "without"])
async def test_a_column_that_one_call_leaves_out_is_not_lost_for_another(first: str) -> None:
    bench = Bench(Adder(), Policy(), inline=True)
    given = {"with": {"x": np.array([[1]]), "o": np.array([[100]])}, "without": {"x": np.array([[1]])}}
    answers: dict[str, Any] = {}
    for name in sorted(given, key=lambda name: name != first):
        bench.live.submit(
            bench.live.call(
                given[name], {}, lambda call, name=name: answers.update({name: call.outcome}), arrived=SystemClock.now()
            )
        )
    for _ in range(20):
        await asyncio.sleep(0)
    assert {name: reply.outputs["y"].tolist() for name, reply in answers.items()} == {"with": [[101]], "without": [[1]]}


async def test_true_and_one_are_not_the_same_parameter() -> None:
    class Names(Doubler):
        def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
            return {"y": np.full_like(inputs["x"], len(type(parameters["flag"]).__name__))}

    bench = Bench(Names(), Policy(), inline=True)
    flags = (True, 1, 1.0)
    for flag in flags:
        bench.send(0.0, parameters={"flag": flag})
    await bench.settle()
    for number, flag in enumerate(flags):
        (reply,) = bench.outcomes[number]
        assert isinstance(reply, Reply)
        assert reply.outputs["y"][0, 0] == len(type(flag).__name__)


async def test_outputs_that_change_within_a_split_call_fail_that_call_alone() -> None:
    class Moody(Doubler):
        signature = Signature(SIGNATURE.inputs)

        def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
            name = "y" if inputs["x"][0, 0] == 0 else "z"
            return {name: inputs["x"] * 2}

    bench = Bench(Moody(), Policy(max_rows=4), inline=False)
    bench.send(*range(6))
    bench.send(7.0)
    await bench.settle()
    (split,), (mate,) = bench.outcomes[0], bench.outcomes[1]
    assert isinstance(split, ModelFailed)
    assert "other outputs" in str(split)
    assert isinstance(mate, Reply)


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
async def test_a_model_that_wants_to_end_the_process_fails_its_call(inline: bool, kind: type[BaseException]) -> None:
    class Leaves(Doubler):
        def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
            if (inputs["x"] == POISON).any():
                raise kind
            return super().predict(inputs, parameters)

    bench = Bench(Leaves(), Policy(max_rows=4), inline=inline)
    for value in (POISON, 1.0, 2.0):
        bench.send(value)
    await bench.settle()
    bench.send(3.0)
    await bench.settle()
    (left,) = bench.outcomes[0]
    assert isinstance(left, ModelFailed)
    assert kind.__name__ in str(left)
    for number, value in ((1, 1.0), (2, 2.0), (3, 3.0)):
        bench.check(number, value)
