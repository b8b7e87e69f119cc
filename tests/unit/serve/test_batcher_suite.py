"""The acceptance test of the batcher: every position, every phase, every way for one call to go wrong.

Phases: *queued* (the model runs something else), *forming* (sent, and the loop has not turned since), *running* (its
rows are in the model, with those of the others), *splitting* (some of its rows are answered or in the model, others
wait). Ways: the caller hangs up, its time is over, the model raises at one of its rows. The others answer, with their
own rows, and after it all nothing waits, runs or is counted.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import Cancelled, DeadlineExceeded, FairleadError, ModelFailed
from fairlead.contracts.runtime import Traits
from fairlead.contracts.types import DataType, Parameters, Reply, Signature, Tensors, TensorSpec
from fairlead.kit.clock import SystemClock
from fairlead.serve.batcher import Policy
from fairlead.serve.call import Call
from fairlead.serve.endpoint import Live, Placement

MATES, MAX_ROWS = 4, 4
SOON = {"queued": 0.05, "forming": 0.02, "running": 0.1, "splitting": 0.4}
"""Seconds that a call has which is to time out: enough to come to its phase on a busy machine."""
ERRORS = {"cancel": Cancelled, "timeout": DeadlineExceeded, "fail": ModelFailed}
Rows = list[float]


class Meter:
    def answered(self, seconds: float, rows: int, queue: float, compute: float) -> None: ...
    def failed(self, code: str, seconds: float) -> None: ...
    def batch(self, rows: int, calls: int, seconds: float) -> None: ...
    def queue(self, rows: int, calls: int) -> None: ...
    def shed(self, reason: str, lane: str) -> None: ...


class Stepper:
    """Doubles, one batch for each ``step``; raises at a negative row; remembers the rows that it was given."""

    signature = Signature((TensorSpec("x", DataType.FP64, (-1, 1)),), (TensorSpec("y", DataType.FP64, (-1, 1)),))
    traits = Traits()

    def __init__(self) -> None:
        self.seen: Rows = []
        self.steps = threading.Semaphore(0)
        self.taken: list[None] = []

    def predict(self, inputs: Tensors, parameters: Parameters) -> Tensors:
        self.seen.extend(inputs["x"][:, 0].tolist())
        assert self.steps.acquire(timeout=10)
        self.taken.append(None)
        if (inputs["x"] < 0).any():
            raise ValueError("a row that the model does not take")
        return {"y": inputs["x"] * 2}

    def close(self) -> None: ...


class Scene:
    """Calls on one live version, and what became of them."""

    def __init__(self, workers: int) -> None:
        self.model = Stepper()
        self.live = Live(
            "bench", "1", self.model, policy=Policy(max_rows=MAX_ROWS), placement=Placement(False, workers),
            meter=Meter(), clock=SystemClock(), loop=asyncio.get_running_loop(),
        )  # fmt: skip
        self.outcomes: list[list[Reply | FairleadError]] = []

    def send(self, rows: Rows, seconds: float | None = None) -> Call:
        outcomes: list[Any] = []
        self.outcomes.append(outcomes)
        now = SystemClock.now()
        deadline = None if seconds is None else now + seconds
        call = self.live.call(
            {"x": np.array(rows).reshape(-1, 1)}, {}, lambda call: outcomes.append(call.outcome), arrived=now,
            deadline=deadline,
        )  # fmt: skip
        self.live.submit(call)
        return call

    async def step_until(self, there: Any) -> None:
        """Let the model run batch by batch until ``there()``; no step is given before the last one was taken."""
        given = 0
        for _ in range(5000):
            if there():
                return
            await asyncio.sleep(0.001)
            if len(self.model.taken) == given and not there():
                self.model.steps.release()
                given += 1
        pytest.fail("it did not come to that")

    async def settle(self) -> None:
        self.model.steps.release(1000)
        async with asyncio.timeout(10):
            while not all(self.outcomes):
                await asyncio.sleep(0.001)


def rows_of(position: int, count: int) -> Rows:
    return [position * 100.0 + at for at in range(1, count + 1)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("how", ["cancel", "timeout", "fail"])
@pytest.mark.parametrize("phase", ["queued", "forming", "running", "splitting"])
@pytest.mark.parametrize("position", range(MATES))
async def test_one_goes_wrong_and_all_others_answer(position: int, phase: str, how: str, workers: int) -> None:
    scene = Scene(workers)
    busy = [rows_of(9 + at, MAX_ROWS) for at in range(workers)] if phase == "queued" else []
    for rows in busy:
        scene.send(rows)
    if busy:
        await until(lambda: len(scene.model.seen) == workers * MAX_ROWS)
    sent = [rows_of(at, 11 if phase == "splitting" else 1) for at in range(MATES)]
    if how == "fail":
        sent[position][-1] *= -1
    calls = [
        scene.send(rows, SOON[phase] if how == "timeout" and at == position else None) for at, rows in enumerate(sent)
    ]
    victim, first = calls[position], sent[position][0]
    await bring_about(scene, phase, lambda: first in scene.model.seen)
    if how == "cancel":
        scene.live.cancel(victim)
        assert victim.finished, "a call that leaves is told at once"
    elif how == "timeout":
        if phase == "forming":
            time.sleep(SOON[phase])  # noqa: ASYNC251 - the loop must not turn before the time is over
        else:
            await until(lambda: victim.finished)  # although no batch ends meanwhile
    if victim.finished:
        assert victim not in scene.live.batcher.waiting(), "it still takes a place in the queue"
    seen_before = len(scene.model.seen)
    await scene.settle()
    expected = [*busy, *sent]
    for at, (rows, outcomes) in enumerate(zip(expected, scene.outcomes, strict=True)):
        (outcome,) = outcomes
        if at == len(busy) + position:
            assert isinstance(outcome, ERRORS[how])
        else:
            assert isinstance(outcome, Reply), outcome
            assert outcome.outputs["y"][:, 0].tolist() == [2 * value for value in rows]
    if how != "fail":
        late = set(scene.model.seen[seen_before:]) & set(sent[position])
        assert not late, "rows of a call that was gone reached the model"
    await idle(scene)


async def bring_about(scene: Scene, phase: str, reached: Any) -> None:
    """``reached``: the first row of the call that will go wrong has been given to the model."""
    match phase:
        case "queued":
            await asyncio.sleep(0)
            assert not reached()
        case "running":
            await until(reached)
        case "splitting":
            await scene.step_until(reached)
        case _:
            assert not reached()


async def until(there: Any) -> None:
    async with asyncio.timeout(5):
        while not there():
            await asyncio.sleep(0.001)


async def idle(scene: Scene) -> None:
    """Nothing is left behind: the next call is answered, and nothing is counted as waiting."""
    call = scene.send([5.0])
    await until(lambda: call.finished)
    assert isinstance(call.outcome, Reply)
    # A call that left may still be in the model of another thread.
    await until(lambda: next(iter(scene.live._outstanding()), None) is None)
    assert (scene.live.batcher.rows, scene.live.batcher.calls) == (0, 0)


@pytest.mark.parametrize("pair", [*itertools.combinations(range(MATES), 2)], ids=str)
async def test_two_go_wrong_in_two_ways(pair: tuple[int, int]) -> None:
    scene = Scene(workers=1)
    sent = [rows_of(at, 1) for at in range(MATES)]
    sent[pair[0]][0] *= -1
    calls = [scene.send(rows) for rows in sent]
    await until(lambda: len(scene.model.seen) == MATES)
    scene.live.cancel(calls[pair[1]])
    await scene.settle()
    for at, (outcome,) in enumerate(scene.outcomes):
        wanted = {pair[0]: ModelFailed, pair[1]: Cancelled}.get(at, Reply)
        assert isinstance(outcome, wanted), (at, outcome)
