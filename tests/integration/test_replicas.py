"""Replicas and models that come and go, with real processes and real models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import FairleadError, Unavailable, UsageError
from fairlead.contracts.runtime import Artefact
from fairlead.contracts.scaling import Scaling
from fairlead.contracts.types import Reply
from fairlead.kit.clock import SystemClock
from fairlead.package.bundle import Bundle
from fairlead.serve import replicas as module
from fairlead.serve.endpoint import Live
from fairlead.serve.leaving import let_go
from fairlead.serve.residency import Residency
from fairlead.serve.settings import EndpointSettings
from fairlead.testing.sinks import MemoryMeter, MemorySink
from fairlead.wiring.loading import live_version

Outcome = Reply | FairleadError

SOURCE = """
import os, time
from pathlib import Path

FILES = Path({folder!r})

class Doubling:
    inputs = (("x", "FP64", (-1, 1)),)
    outputs = (("y", "FP64", (-1, 1)), ("pid", "INT64", (-1,)))

    def load(self, path):
        if (FILES / "broken").exists():
            raise RuntimeError("the weights are gone")
        with (FILES / "loads").open("a") as file:
            file.write(f"{{os.getpid()}}\\n")

    def predict(self, inputs):
        import numpy as np
        time.sleep(float(inputs["x"].max()) if (FILES / "slow").exists() else 0.0)
        return {{"y": inputs["x"] * 2, "pid": np.full(len(inputs["x"]), os.getpid())}}
"""


class Stand:
    """One live version. ``loads``: how often its model was loaded."""

    def __init__(self, live: Live, meter: MemoryMeter, folder: Path) -> None:
        self.live, self.meter, self.folder = live, meter, folder

    async def ask(self, value: float = 1.0, seconds: float | None = None) -> Outcome:
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        now = SystemClock.now()
        deadline = None if seconds is None else now + seconds
        inputs = {"x": np.array([[value]])}
        call = self.live.call(
            inputs, {}, lambda call: answered.set_result(call.outcome), arrived=now, deadline=deadline
        )
        self.live.enter(call)
        return await asyncio.wait_for(answered, 30)

    @property
    def loads(self) -> int:
        return len((self.folder / "loads").read_text().splitlines())


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "coming.py").write_text(SOURCE.format(folder=str(tmp_path)))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "coming", raising=False)
    monkeypatch.setattr(module, "LOOK", 0.01)

    @asynccontextmanager
    async def begin(residency: Residency | None = None, name: str = "x", **settings: Any) -> AsyncIterator[Stand]:
        loop, sink = asyncio.get_running_loop(), MemorySink()
        bundle = Bundle(name, "1", "coming:Doubling", Artefact("python", target="coming:Doubling", trusted=True), "")
        residency = residency or Residency(0, SystemClock())
        asked = EndpointSettings(**{"deadline_ms": 5000.0, **settings})
        live = await loop.run_in_executor(None, live_version, name, bundle, asked, sink, SystemClock(), loop, residency)
        await asyncio.sleep(0.01)
        try:
            yield Stand(live, sink.meters[(name, "1")], tmp_path)
        finally:
            live.close()

    return begin


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def value(outcome: Outcome) -> float:
    assert isinstance(outcome, Reply), outcome
    return float(outcome.outputs["y"][0, 0])


ZERO = Scaling(0, 3, target=1, idle=0.3, wake=10)


async def test_at_none_the_first_calls_wake_one_and_are_all_answered(stand) -> None:
    async with stand(replicas=ZERO) as here:
        await until(lambda: here.meter.replicas[-1] == 0)
        assert here.live.executor.ready == 0
        answers = await asyncio.gather(*(here.ask(number) for number in range(20)))
        assert [value(one) for one in answers] == [2.0 * number for number in range(20)]
        assert here.meter.replicas[:3] == [1, 0, 1]
        (took,) = here.meter.wakes
        assert 0 < took < 10
        await until(lambda: here.meter.replicas[-1] == 0)
        assert here.live.executor.ready == 0


async def test_under_load_there_are_more_and_afterwards_none(stand) -> None:
    async with stand(replicas=ZERO, max_rows=1) as here:
        (here.folder / "slow").touch()
        pids: set[int] = set()
        stop = asyncio.Event()

        async def call() -> None:
            while not stop.is_set():
                outcome = await here.ask(0.02)
                assert value(outcome) == pytest.approx(0.04)
                pids.add(int(outcome.outputs["pid"][0]))

        callers = [asyncio.create_task(call()) for _ in range(6)]
        await until(lambda: len(pids) >= 3)
        stop.set()
        await asyncio.gather(*callers)
        assert max(here.meter.replicas) == 3
        await until(lambda: here.meter.replicas[-1] == 0)


async def test_who_cannot_wait_for_the_waking_is_told_how_long_it_takes(stand) -> None:
    async with stand(replicas=ZERO) as here:
        await until(lambda: here.meter.replicas[-1] == 0)
        value(await here.ask())
        await until(lambda: here.meter.replicas[-1] == 0)
        hasty = await here.ask(seconds=0.01)
        assert isinstance(hasty, Unavailable)
        assert hasty.retry_after is not None
        assert "waking takes" in str(hasty)
        value(await here.ask())  # it was woken all the same


async def test_a_model_that_does_not_load_any_more_fails_its_calls_with_the_reason(stand) -> None:
    async with stand(replicas=ZERO) as here:
        await until(lambda: here.meter.replicas[-1] == 0)
        (here.folder / "broken").touch()
        refused = await here.ask()
        assert isinstance(refused, Unavailable)
        assert "could be started" in str(refused)
        assert here.live.executor.troubles() == ["x version 1: 1 of its 1 processes ended and are started again"]
        (here.folder / "broken").unlink()
        async with asyncio.timeout(20):
            while not isinstance(await here.ask(), Reply):
                await asyncio.sleep(0.05)
        assert here.live.executor.troubles() == []


async def test_a_replica_that_is_killed_while_calls_run_costs_none_of_them(stand) -> None:
    async with stand(replicas=Scaling(1, 2, target=100)) as here:
        first = await here.ask()
        assert isinstance(first, Reply)
        (here.folder / "slow").touch()
        calls = [asyncio.create_task(here.ask(0.2)) for _ in range(4)]
        await asyncio.sleep(0.05)
        here.live.executor._seats.all[0].process.kill()
        assert [value(one) for one in await asyncio.gather(*calls)] == [0.4] * 4


async def test_closed_while_it_wakes_nobody_is_left_waiting(stand) -> None:
    async with stand(replicas=ZERO) as here:
        await until(lambda: here.meter.replicas[-1] == 0)
        waiting = asyncio.create_task(here.ask())
        await asyncio.sleep(0.01)
        here.live.close()
        assert isinstance(await waiting, Unavailable)


async def test_one_that_leaves_while_it_wakes_answers_first_who_waits_for_it(stand) -> None:
    async with stand(replicas=ZERO) as here:
        await until(lambda: here.meter.replicas[-1] == 0)
        waiting = [asyncio.create_task(here.ask(number)) for number in range(3)]
        await asyncio.sleep(0.01)
        await let_go(here.live, SystemClock(), lambda _tape: None)
        assert [value(one) for one in await asyncio.gather(*waiting)] == [0.0, 2.0, 4.0]
        assert here.live.closed


IDLE = Scaling(0, 1, idle=0.2, wake=10)


async def test_a_model_of_this_process_sleeps_and_comes_back_for_all_at_once(stand) -> None:
    residency = Residency(0, SystemClock())
    async with stand(residency, replicas=IDLE, executor="thread") as here:
        assert here.live.executor.kind == "thread"
        await asyncio.sleep(0.25)
        residency.look()
        assert here.meter.replicas == [1, 0]
        answers = await asyncio.gather(*(here.ask(number) for number in range(10)))
        assert [value(one) for one in answers] == [2.0 * number for number in range(10)]
        assert here.loads == 2
        assert here.meter.replicas == [1, 0, 1]


async def test_one_that_is_busy_does_not_sleep(stand) -> None:
    residency = Residency(0, SystemClock())
    async with stand(residency, replicas=IDLE, executor="thread") as here:
        (here.folder / "slow").touch()
        running = asyncio.create_task(here.ask(0.5))
        await asyncio.sleep(0.3)
        residency.look()
        assert value(await running) == 1.0
        assert here.meter.replicas == [1]


async def test_a_model_that_is_gone_when_it_is_called_again_is_the_callers_error_until_it_is_back(stand) -> None:
    residency = Residency(0, SystemClock())
    async with stand(residency, replicas=IDLE, executor="inline") as here:
        await asyncio.sleep(0.25)
        residency.look()
        (here.folder / "broken").touch()
        for _ in range(2):
            refused = await here.ask()
            assert isinstance(refused, Unavailable)
            assert "could not be loaded again" in str(refused)
        (told,) = here.live.executor.troubles()
        assert "the weights are gone" in told
        (here.folder / "broken").unlink()
        value(await here.ask())
        assert here.live.executor.troubles() == []


async def test_two_models_with_room_for_one_take_turns_and_every_call_is_answered(stand) -> None:
    residency = Residency(100 * 2**20, SystemClock())
    async with stand(residency, name="a", executor="inline") as a, stand(residency, name="b", executor="inline") as b:
        for one in (a, b):
            one.live.executor._size = 60 * 2**20  # as if it were so large
        residency.look()
        assert [here.live.executor.awake for here in (a, b)] == [False, True]
        for number in range(3):
            assert value(await a.ask(number)) == 2.0 * number
            assert [here.live.executor.awake for here in (a, b)] == [True, False]
            assert value(await b.ask(number)) == 2.0 * number
            assert [here.live.executor.awake for here in (a, b)] == [False, True]


async def test_there_is_no_room_beside_one_that_is_pinned(stand) -> None:
    residency = Residency(100 * 2**20, SystemClock())
    pinned = Scaling(1, 1)
    async with (
        stand(residency, name="a", executor="inline", replicas=pinned) as a,
        stand(residency, name="b", executor="inline") as b,
    ):
        for one in (a, b):
            one.live.executor._size = 60 * 2**20
        residency.look()
        assert [here.live.executor.awake for here in (a, b)] == [True, False]
        refused = await b.ask()
        assert isinstance(refused, Unavailable)
        assert "60 MiB are pinned or in use" in str(refused)
        value(await a.ask())


@pytest.mark.parametrize("executor", ["inline", "process"])
async def test_one_that_is_larger_than_all_the_memory_is_refused_when_it_is_loaded(stand, executor: str) -> None:
    residency = Residency(1, SystemClock())
    with pytest.raises(UsageError, match="allow more memory"):
        async with stand(residency, executor=executor):
            pass


async def test_one_that_was_sent_to_sleep_for_memory_stays_asleep_until_it_is_called(stand, monkeypatch) -> None:
    monkeypatch.setattr(module, "LOOKS", 1)
    residency = Residency(2**40, SystemClock())
    async with stand(residency, executor="process", processes=1) as here:
        await asyncio.sleep(0.05)
        residency.budget = 1
        residency.look()
        residency.budget = 2**40
        assert here.live.executor.ready == 0
        await asyncio.sleep(0.2)  # many looks
        assert here.meter.replicas == [1, 0]
        assert value(await here.ask()) == 2.0
        assert here.meter.replicas == [1, 0, 1]
