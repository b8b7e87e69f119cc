"""What stands around a version: every call has exactly one outcome, whatever happens in whichever phase."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import (
    Cancelled,
    CircuitOpen,
    DeadlineExceeded,
    FairleadError,
    InvalidTensor,
    ModelFailed,
    Overloaded,
    QueueFull,
    RateLimited,
    Unavailable,
)
from fairlead.contracts.types import DataType, Reply, Signature, Tensors, TensorSpec
from fairlead.kit.clock import SystemClock
from fairlead.serve.batcher import Policy
from fairlead.serve.call import Call
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.ladder import Ladder, around
from fairlead.serve.line import Stage
from fairlead.serve.resilience.answers import Answers
from fairlead.serve.resilience.backoff import Backoff
from fairlead.serve.resilience.breaker import BreakerPolicy, State
from fairlead.serve.resilience.policy import Safety
from fairlead.serve.rungs import FromAnother, FromCache, FromConstant, Rung
from fairlead.testing.models import Model
from fairlead.testing.sinks import MemoryMeter

SIGNATURE = Signature((TensorSpec("x", DataType.FP64, (-1, 1)),), (TensorSpec("y", DataType.FP64, (-1, 1)),))
FALLS = (ModelFailed, Unavailable, QueueFull, Overloaded, CircuitOpen, DeadlineExceeded)


class Scripted:
    """Doubles, or does what it is told first. ``gate``: it waits there."""

    def __init__(self) -> None:
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.errors: list[Exception] = []
        self.broken: Exception | None = None
        self.calls = 0

    def __call__(self, inputs: Tensors) -> Tensors:
        self.calls += 1
        self.entered.set()
        assert self.gate.wait(10)
        if self.errors:
            raise self.errors.pop(0)
        if self.broken is not None:
            raise self.broken
        return {"y": inputs["x"] * 2}


def version(
    name: str, model: Scripted, *, inline: bool = False, stages: tuple[Stage, ...] = (), queue_calls: int = 64
) -> tuple[Live, MemoryMeter]:
    meter = MemoryMeter()
    live = Live(
        name,
        "1",
        Model(model, SIGNATURE),
        policy=Policy(max_rows=1, queue_calls=queue_calls),
        placement=Placement(inline, fixed=True),
        meter=meter,
        clock=SystemClock(),
        loop=asyncio.get_running_loop(),
        stages=stages,
    )
    return live, meter


@dataclass
class Bench:
    """An endpoint with a ladder, another one to fall back to, and the calls sent."""

    safety: Safety = field(default_factory=Safety)
    kinds: tuple[str, ...] = ()
    inline: bool = False
    stages: tuple[Stage, ...] = ()
    queue_calls: int = 64
    outcomes: list[list[Reply | FairleadError]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.main, self.other = Scripted(), Scripted()
        self.live, self.meter = version(
            "main", self.main, inline=self.inline, stages=self.stages, queue_calls=self.queue_calls
        )
        self.second, self.second_meter = version("other", self.other)
        made: dict[str, Callable[[], Rung]] = {
            "cache": lambda: FromCache("cache", "main", "1", Answers(60, 10_000)),
            "other": lambda: FromAnother("endpoint:other", "main", lambda: self.second, lambda _: "", ("y",), clock),
            "value": lambda: FromConstant("value", "main", "1", {"y": np.array([0.5])}, batched=True),
        }
        clock, loop = SystemClock(), asyncio.get_running_loop()
        rungs = [made[kind]() for kind in self.kinds]
        self.ladder: Ladder = around(self.live, self.safety, rungs, clock=clock, loop=loop, draw=lambda: 0.5)

    def send(self, value: float = 1.0, deadline: float | None = None, caller: Caller | None = None) -> Call:
        now, kept = SystemClock.now(), list[Reply | FairleadError]()
        self.outcomes.append(kept)

        def done(call: Call) -> None:
            assert call.outcome is not None
            kept.append(call.outcome)

        limit = None if deadline is None else now + deadline
        call = self.live.call({"x": np.array([[value]])}, {}, done, arrived=now, deadline=limit)
        call.caller = caller
        self.live.enter(call)
        return call

    async def settle(self) -> None:
        async with asyncio.timeout(10):
            while not all(self.outcomes) or self.ladder.flights:
                await asyncio.sleep(0.001)
        assert all(len(one) == 1 for one in self.outcomes), "exactly one outcome"

    async def ask(self, value: float = 1.0, **more: Any) -> Reply | FairleadError:
        self.send(value, **more)
        await self.settle()
        return self.outcomes[-1][0]

    def close(self) -> None:
        self.main.gate.set()
        self.other.gate.set()
        self.live.close()
        self.second.close()


def answer(outcome: Reply | FairleadError) -> tuple[float, str]:
    assert isinstance(outcome, Reply), outcome
    return outcome.outputs["y"].item(), outcome.degraded


# The rungs, in order.


@pytest.mark.parametrize("inline", [True, False])
async def test_each_rung_answers_when_those_before_cannot_and_is_counted(inline: bool) -> None:
    bench = Bench(kinds=("cache", "other", "value"), inline=inline)
    assert answer(await bench.ask(3)) == (6.0, "")
    bench.main.broken = ValueError("x")
    assert answer(await bench.ask(3)) == (6.0, "cache")
    assert answer(await bench.ask(4)) == (8.0, "endpoint:other")
    bench.other.broken = ValueError("y")
    assert answer(await bench.ask(5)) == (0.5, "value")
    assert bench.meter.fallbacks == {
        ("cache", "model_failed"): 1,
        ("endpoint:other", "model_failed"): 1,
        ("value", "model_failed"): 1,
    }
    assert bench.second_meter.outcomes == {"ok": 1, "model_failed": 1}
    bench.main.broken = None
    assert answer(await bench.ask(5)) == (10.0, ""), "a rung is asked only where the model has no answer"
    bench.close()


async def test_where_no_rung_answers_the_error_is_the_models() -> None:
    bench = Bench(kinds=("cache", "other"))
    bench.main.broken, bench.other.broken = KeyError("a"), ValueError("b")
    outcome = await bench.ask()
    assert isinstance(outcome, ModelFailed)
    assert isinstance(outcome.__cause__, KeyError)
    bench.close()


@pytest.mark.parametrize("error", [InvalidTensor("x"), RateLimited("x", retry_after=1)])
async def test_what_is_the_callers_own_is_told_and_counts_for_nothing(error: FairleadError) -> None:
    bench = Bench(Safety(BreakerPolicy(fail_max=1)), kinds=("cache", "other", "value"))
    bench.main.broken = error
    for _ in range(3):
        assert await bench.ask() is error
    assert bench.ladder.breaker is not None
    assert bench.ladder.breaker.state is State.CLOSED
    assert not bench.meter.fallbacks
    bench.close()


@pytest.mark.parametrize("error", [kind("x", retry_after=1) for kind in FALLS])
async def test_a_stage_that_refuses_is_stood_in_for_and_opens_no_breaker(error: FairleadError) -> None:
    def refuse(_call: Call) -> None:
        raise error

    bench = Bench(Safety(BreakerPolicy(fail_max=1)), kinds=("value",), stages=(refuse,))
    for _ in range(3):
        assert answer(await bench.ask()) == (0.5, "value")
    assert bench.main.calls == 0
    assert bench.meter.breakers == []
    bench.close()


async def test_a_full_queue_is_stood_in_for() -> None:
    bench = Bench(Safety(BreakerPolicy(fail_max=1)), kinds=("value",), queue_calls=1)
    bench.main.gate.clear()
    bench.send(1)
    await asyncio.to_thread(bench.main.entered.wait, 5)
    bench.send(2)  # waits
    bench.send(3)  # one too many
    assert answer(bench.outcomes[2][0]) == (0.5, "value")
    bench.main.gate.set()
    await bench.settle()
    assert [answer(one[0])[0] for one in bench.outcomes] == [2.0, 4.0, 0.5]
    assert bench.meter.fallbacks == {("value", "queue_full"): 1}
    assert bench.meter.breakers == []
    bench.close()


async def test_one_tenant_never_gets_what_was_kept_for_another() -> None:
    bench = Bench(kinds=("cache",))
    acme, other = Caller("a", "key", (), tenant="acme"), Caller("b", "key", (), tenant="acme")
    rival, alone = Caller("c", "key", (), tenant="rival"), Caller("acme", "key", ())
    assert answer(await bench.ask(3, caller=acme)) == (6.0, "")
    bench.main.broken = ValueError("x")
    assert answer(await bench.ask(3, caller=other)) == (6.0, "cache"), "of the same tenant"
    for caller in (rival, alone, None):
        assert isinstance(await bench.ask(3, caller=caller), ModelFailed)
    bench.close()


async def test_a_degraded_answer_is_not_kept_as_the_models() -> None:
    bench = Bench(kinds=("cache", "value"))
    bench.main.broken = ValueError("x")
    assert answer(await bench.ask(3)) == (0.5, "value")
    assert answer(await bench.ask(3)) == (0.5, "value"), "not from the cache"
    bench.close()


async def test_a_rung_that_no_longer_fits_is_passed_over() -> None:
    bench = Bench(kinds=("value",))
    misfit = FromAnother("endpoint:other", "main", lambda: bench.second, lambda _: "it is odd", ("y",), SystemClock())
    bench.ladder.rungs = [misfit, *bench.ladder.rungs]
    bench.main.broken = ValueError("x")
    assert answer(await bench.ask()) == (0.5, "value")
    assert bench.other.calls == 0
    bench.close()


# The breaker.


async def test_while_it_is_open_nobody_reaches_the_model_but_probes() -> None:
    bench = Bench(Safety(BreakerPolicy(fail_max=2, cooldown=1.0)))
    bench.main.broken = ValueError("x")
    assert [type(await bench.ask()) for _ in range(5)] == [ModelFailed, ModelFailed, *[CircuitOpen] * 3]
    refused = bench.outcomes[-1][0]
    assert isinstance(refused, CircuitOpen)
    assert refused.retry_after is not None
    assert 0 < refused.retry_after <= 1.0
    assert bench.main.calls == 2
    (trouble,) = bench.ladder.troubles()
    assert "'main'" in trouble
    assert "open" in trouble
    await asyncio.sleep(1.01)
    bench.main.gate.clear()
    bench.main.broken = None
    for _ in range(4):
        bench.send()
    assert [type(one[0]) for one in bench.outcomes[-3:]] == [CircuitOpen] * 3, "one probe at a time"
    bench.main.gate.set()
    await bench.settle()
    assert answer(bench.outcomes[-4][0])[0] == 2.0
    assert bench.meter.breakers == ["open", "half_open", "closed"]
    assert bench.ladder.troubles() == []
    bench.close()


async def test_a_probe_whose_caller_hangs_up_makes_room_for_another() -> None:
    bench = Bench(Safety(BreakerPolicy(fail_max=1, cooldown=0.05)))
    bench.main.errors = [ValueError("x")]
    await bench.ask()
    await asyncio.sleep(0.06)
    bench.main.gate.clear()
    probe = bench.send()
    bench.live.cancel(probe)
    bench.main.gate.set()
    await asyncio.sleep(0.02)
    assert answer(await bench.ask())[0] == 2.0
    bench.close()


async def test_a_caller_without_patience_opens_no_breaker_and_a_model_that_hangs_does() -> None:
    bench = Bench(Safety(BreakerPolicy(fail_max=2, cooldown=30)))
    bench.ladder._usual = 0.3
    bench.main.gate.clear()
    for _ in range(5):
        assert isinstance(await bench.ask(deadline=0.005), DeadlineExceeded)
    assert bench.meter.breakers == []
    assert isinstance(await bench.ask(deadline=0.4), DeadlineExceeded)
    assert isinstance(await bench.ask(deadline=0.4), DeadlineExceeded), "it waits behind what hangs"
    assert isinstance(await bench.ask(deadline=0.4), CircuitOpen)
    bench.close()


async def test_calls_that_expire_behind_others_that_are_answered_open_no_breaker() -> None:
    bench = Bench(Safety(BreakerPolicy(fail_max=2, cooldown=30)))

    def slowly(_inputs: Tensors) -> Tensors:
        threading.Event().wait(0.02)
        return {"y": _inputs["x"]}

    bench.live.model._function = slowly  # type: ignore[union-attr]  # the fake's own
    for _ in range(40):
        bench.send(deadline=0.2)
    await bench.settle()
    kinds = {type(one[0]) for one in bench.outcomes}
    assert kinds == {Reply, DeadlineExceeded}, "too many calls, and a model that is well"
    assert bench.meter.breakers == []
    bench.close()


# Another try.


def unavailable() -> Unavailable:
    return Unavailable("not there", retry_after=0.0)


async def test_what_was_not_there_is_tried_again() -> None:
    bench = Bench(Safety(retries=2, backoff=Backoff(0.01, 1, 0)))
    bench.main.errors = [unavailable(), unavailable()]
    assert answer(await bench.ask()) == (2.0, "")
    assert bench.meter.retries == {"sent": 2}
    bench.main.errors = [unavailable(), unavailable(), unavailable()]
    assert isinstance(await bench.ask(), Unavailable)
    bench.main.errors = [ValueError("x")]
    assert isinstance(await bench.ask(), ModelFailed), "a model that raised is not asked again"
    bench.close()


async def test_a_model_that_raised_is_tried_again_where_that_is_said() -> None:
    bench = Bench(Safety(retries=1, retry_failed=True, backoff=Backoff(0.01, 1, 0)))
    bench.main.errors = [ValueError("x")]
    assert answer(await bench.ask()) == (2.0, "")
    bench.close()


async def test_tries_end_with_the_budget_and_with_the_deadline() -> None:
    bench = Bench(Safety(retries=3, backoff=Backoff(0.005, 1, 0), retry_budget=0.1))
    bench.main.broken = unavailable()
    for _ in range(20):
        assert isinstance(await bench.ask(), Unavailable)
    assert bench.meter.retries["sent"] <= 11, "one a second of the window of ten, or a tenth of the calls"
    assert bench.meter.retries["budget"] > 0
    assert bench.main.calls <= 31
    late = Bench(Safety(retries=3, backoff=Backoff(0.5, 1, 0)))
    late.main.broken = unavailable()
    assert isinstance(await late.ask(deadline=0.1), Unavailable), "the pause would outlast the deadline"
    assert late.meter.retries == {"deadline": 1}
    bench.close()
    late.close()


# Time: what is kept for the fallbacks.


async def test_a_part_of_the_deadline_is_kept_for_the_rungs() -> None:
    bench = Bench(kinds=("value",))
    bench.main.gate.clear()
    began = SystemClock.now()
    assert answer(await bench.ask(deadline=2.0)) == (0.5, "value")
    assert 1.58 < SystemClock.now() - began < 2.0
    bench.close()


async def test_where_the_rungs_are_late_too_the_deadline_is_the_answer() -> None:
    bench = Bench(kinds=("other", "cache"))
    bench.main.gate.clear()
    bench.other.gate.clear()
    began = SystemClock.now()
    outcome = await bench.ask(deadline=0.2)
    assert isinstance(outcome, DeadlineExceeded)
    assert "kept for the fallbacks" in str(outcome)
    assert SystemClock.now() - began < 0.4
    bench.close()


# Every phase, and what may happen in it.

PHASES = ("queued", "running", "pause", "stage", "rung queued", "rung running")


async def reach(phase: str) -> tuple[Bench, Call]:
    """A bench with a call that stands in this phase."""
    waiting = asyncio.Event()

    def hold(_call: Call) -> Any:
        return waiting.wait()

    stages = (hold,) if phase == "stage" else ()
    safety = Safety(retries=1, backoff=Backoff(5, 5, 0)) if phase == "pause" else Safety()
    bench = Bench(safety, kinds=("other",), stages=stages)
    if phase in ("queued", "running"):
        bench.main.gate.clear()
        first = bench.send(8)
        await asyncio.to_thread(bench.main.entered.wait, 5)
        if phase == "running":
            return bench, first
        return bench, bench.send(9)
    if phase == "stage":
        return bench, bench.send(9)
    bench.main.errors = [unavailable()]
    if phase == "pause":
        call = bench.send(9)
        async with asyncio.timeout(5):
            while not bench.meter.retries:
                await asyncio.sleep(0.001)
        return bench, call
    bench.other.gate.clear()
    if phase == "rung queued":
        bench.main.errors.append(unavailable())
        bench.send(8)
        await asyncio.to_thread(bench.other.entered.wait, 5)
        call = bench.send(9)
        async with asyncio.timeout(5):
            while not bench.second.batcher.calls:
                await asyncio.sleep(0.001)
        return bench, call
    call = bench.send(9)
    await asyncio.to_thread(bench.other.entered.wait, 5)
    return bench, call


@pytest.mark.parametrize("phase", PHASES)
async def test_a_caller_who_hangs_up_has_one_outcome_and_costs_nobody(phase: str) -> None:
    bench, call = await reach(phase)
    calls = bench.main.calls + bench.other.calls
    bench.live.cancel(call)
    place = next(at for at, kept in enumerate(bench.outcomes) if kept and isinstance(kept[0], Cancelled))
    assert call.waiting is None
    assert not [flight for flight in bench.ladder.flights if flight._call is call]
    for gate in (bench.main.gate, bench.other.gate):
        gate.set()
    await bench.settle()
    assert all(isinstance(kept[0], Reply) for at, kept in enumerate(bench.outcomes) if at != place)
    assert bench.main.calls + bench.other.calls == calls, "what it had not begun is never run"
    if phase != "stage":
        bench.main.errors.clear()
        assert answer(await bench.ask(7))[0] == 14.0, "others are answered as before"
    bench.close()


@pytest.mark.parametrize("phase", PHASES)
async def test_a_version_that_is_closed_leaves_nobody_waiting(phase: str) -> None:
    bench, call = await reach(phase)
    if phase == "pause":
        bench.live.close()
        bench.live.cancel(call)  # a drain ends connections that outlast it
    elif phase == "stage":
        bench.live.cancel(call)
        bench.live.close()
    else:
        for gate in (bench.main.gate, bench.other.gate):
            gate.set()
        await bench.settle()
        bench.live.close()
        outcome = await bench.ask(3)
        assert answer(outcome) == (6.0, "endpoint:other")
    await bench.settle()
    await asyncio.sleep(0.01)  # a stage that is cancelled has a turn to end
    assert bench.live.idle
    bench.second.close()


@pytest.mark.parametrize("phase", ["queued", "running", "stage", "rung queued", "rung running"])
async def test_a_deadline_has_one_outcome_in_every_phase(phase: str) -> None:
    bench, _ = await reach(phase)
    bench.other.gate.clear()
    if phase.startswith("rung"):
        bench.main.broken = unavailable()
    late = [bench.send(5, deadline=0.05) for _ in range(3)]
    async with asyncio.timeout(5):
        while not all(call.finished for call in late):
            await asyncio.sleep(0.001)
    kind = Unavailable if phase.startswith("rung") else DeadlineExceeded
    assert all(isinstance(call.outcome, kind) for call in late), "of the model, where a fallback was too late"
    for flight in list(bench.ladder.flights):
        bench.live.cancel(flight._call)
    for gate in (bench.main.gate, bench.other.gate):
        gate.set()
    await bench.settle()
    bench.close()


async def test_a_flight_keeps_its_version_from_being_idle() -> None:
    bench, call = await reach("pause")
    assert not bench.live.batcher.calls
    assert not bench.live.idle, "a version that leaves answers it first"
    bench.live.cancel(call)
    assert bench.live.idle
    bench.close()


async def test_a_rung_that_raises_something_strange_is_passed_over() -> None:
    class Odd:
        name = "odd"

        def ask(self, call: Call, now: float, answered: Any) -> Any:
            raise RuntimeError("odd")

    bench = Bench(kinds=("value",))
    bench.ladder.rungs = [Odd(), *bench.ladder.rungs]
    bench.main.broken = ValueError("x")
    assert answer(await bench.ask()) == (0.5, "value")
    bench.close()


async def test_what_a_fallback_hides_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(kinds=("value",))
    bench.main.broken = KeyError("the cause")
    await bench.ask()
    (record,) = [one for one in caplog.records if one.message == "model failed, a fallback answers"]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
    bench.close()


async def test_a_reply_rides_as_it_did_without_a_ladder() -> None:
    bench = Bench(Safety(BreakerPolicy()))
    call = bench.send(3)
    await bench.settle()
    assert call.ride is not None
    assert call.ride[1]["y"].item() == 6.0
    assert isinstance(call.outcome, Reply)
    assert call.outcome.timing.compute > 0
    assert call.outcome.timing.rows == 1
    bench.close()
