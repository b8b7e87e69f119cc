"""Models in processes of their own, with real processes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isolated_models import NAMES

from fairlead.contracts.errors import BrokenModel, FairleadError, ModelFailed
from fairlead.contracts.runtime import Artefact
from fairlead.contracts.types import DataType, Reply, Tensors
from fairlead.kit.clock import SystemClock
from fairlead.package.bundle import Bundle
from fairlead.serve.endpoint import Live
from fairlead.serve.settings import EndpointSettings
from fairlead.testing.sinks import MemorySink
from fairlead.wiring.loading import live_version

Outcome = Reply | FairleadError


class Bench:
    """One live version of a predictor of ``isolated_models``."""

    def __init__(self, live: Live, sink: MemorySink) -> None:
        self.live = live
        self.sink = sink

    @property
    def pids(self) -> list[int]:
        return [seat.process.pid for seat in self.live.executor._seats.all if seat.process]  # type: ignore[attr-defined]

    async def ask(self, inputs: Tensors, deadline: float = 30.0) -> Outcome:
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        now = SystemClock.now()

        def done(call: Any) -> None:
            answered.set_result(call.outcome)

        self.live.submit(self.live.call(inputs, {}, done, arrived=now, deadline=now + deadline))
        return await asyncio.wait_for(answered, 30)

    async def say(self, *rows: float) -> Outcome:
        return await self.ask({"x": np.array(rows, float).reshape(-1, 1)})


@asynccontextmanager
async def serving(name: str, **settings: Any) -> AsyncIterator[Bench]:
    loop, sink = asyncio.get_running_loop(), MemorySink()
    target = f"isolated_models:{name}"
    bundle = Bundle(name, "1", target, Artefact("python", target=target, trusted=True), "")
    asked = EndpointSettings(**{"executor": "process", **settings})
    live = await loop.run_in_executor(None, live_version, name, bundle, asked, sink, SystemClock(), loop)
    try:
        await asyncio.sleep(0)
        yield Bench(live, sink)
    finally:
        live.close()


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def value(outcome: Outcome) -> list[float]:
    assert isinstance(outcome, Reply), outcome
    return outcome.outputs["y"][:, 0].tolist()


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def written(name: str) -> str:
    return Path(name).read_text()


def forget() -> None:
    Path("loaded-once").unlink()


def everything(rows: int, wide: int) -> Tensors:
    random = np.random.default_rng(7)
    made: Tensors = {}
    texts = ["a", b"\xff", None, float("nan"), "\u00fc"]
    for name in NAMES:
        values = random.integers(0, 2 if name == "BOOL" else 100, (rows, wide))
        if name == "BYTES":
            made[name] = np.array([[texts[one % 5] for one in row] for row in values], object)
        else:
            made[name] = values.astype(DataType(name).numpy)
    made["FP32"][0, 0] = np.nan
    return made


@pytest.mark.parametrize(("rows", "wide"), [(1, 1), (7, 3), (64, 1000)], ids=["small", "odd", "shared"])
async def test_same_answers_as_inline_for_every_datatype(rows: int, wide: int) -> None:
    inputs = everything(rows, wide)
    async with serving("Everything", executor="inline") as here, serving("Everything") as there:
        assert (here.live.executor.kind, there.live.executor.kind) == ("inline", "process")
        assert here.live.signature == there.live.signature
        assert here.live.model.traits == there.live.model.traits
        one, other = await here.ask(inputs), await there.ask(inputs)
        again = await there.ask({name: array[::-1] for name, array in inputs.items()})
    assert isinstance(one, Reply)
    assert isinstance(other, Reply)
    assert isinstance(again, Reply)
    for name in NAMES:
        assert other.outputs[name].dtype == one.outputs[name].dtype
        assert repr(other.outputs[name].tolist()) == repr(one.outputs[name].tolist())
        assert repr(again.outputs[name][::-1].tolist()) == repr(one.outputs[name].tolist())


async def test_a_process_that_is_killed_costs_nobody_an_answer() -> None:
    async with serving("Obedient", processes=2) as bench:
        asking = [asyncio.create_task(bench.say(number)) for number in range(1, 400)]
        for _ in range(3):
            await asyncio.sleep(0.01)
            for pid in bench.pids[:1]:
                os.kill(pid, signal.SIGKILL)
        more = [asyncio.create_task(bench.say(number)) for number in range(1, 100)]
        assert [value(await one) for one in asking] == [[2 * number] for number in range(1, 400)]
        assert [value(await one) for one in more] == [[2 * number] for number in range(1, 100)]
        await until(lambda: len(bench.pids) == 2)
        assert bench.sink.meters["Obedient", "1"].lost["crashed"] >= 1


@pytest.mark.parametrize("row", [-1, -2, -4, -5], ids=["leaves", "segfaults", "raises", "exits"])
async def test_a_row_that_fails_its_process_fails_alone(row: float) -> None:
    async with serving("Obedient", processes=2) as bench:
        asked = [asyncio.create_task(bench.say(one)) for one in (1, row, 3)]
        first, bad, last = [await one for one in asked]
        assert (value(first), value(last)) == ([2], [6])
        assert isinstance(bad, ModelFailed)
        died = bench.sink.meters["Obedient", "1"].lost["crashed"]
        assert died == (3 if row in (-1, -2) else 0)
        if row == -4:
            assert "a row says so" in str(bad.__cause__)


async def test_one_that_hangs_is_killed_and_replaced() -> None:
    async with serving("Obedient", hang_seconds=0.3) as bench:
        (hung,) = bench.pids
        assert isinstance(await bench.say(-3), ModelFailed)
        await until(lambda: gone(hung))
        assert value(await bench.say(4)) == [8]
        assert bench.sink.meters["Obedient", "1"].lost["hung"] == 2


async def test_without_a_limit_of_its_own_the_deadline_ends_one_that_hangs() -> None:
    async with serving("Obedient", deadline_ms=200) as bench:
        outcome = await bench.ask({"x": np.array([[-3.0]])}, deadline=0.2)
        assert isinstance(outcome, FairleadError)
        assert outcome.code == "deadline_exceeded"
        await until(lambda: bench.sink.meters["Obedient", "1"].lost["hung"] == 1)
        assert value(await bench.say(4)) == [8]


@pytest.mark.parametrize("name", ["Unloadable", "Missing"])
async def test_a_model_that_does_not_load_says_the_same_as_here(name: str) -> None:
    told = []
    for executor in ("inline", "process"):
        with pytest.raises(BrokenModel) as caught:
            async with serving(name, executor=executor):
                pass
        told.append(str(caught.value))
    assert told[0] == told[1]


async def test_a_process_that_dies_while_it_loads_is_a_broken_model() -> None:
    with pytest.raises(BrokenModel, match="SIGKILL"):
        async with serving("Fatal"):
            pass


async def test_one_that_cannot_be_started_again_is_tried_later_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving("Once") as bench:
        os.kill(bench.pids[0], signal.SIGKILL)
        await until(lambda: bool(bench.live.executor.troubles()))
        await until(lambda: bench.live.executor._seats.all[0].restarts.crashes >= 2)  # type: ignore[attr-defined]
        forget()
        assert value(await bench.say(4)) == [8]
        assert bench.live.executor.troubles() == []


async def test_n_processes_run_n_batches_at_once() -> None:
    async with serving("Obedient", processes=3, max_rows=1) as bench:
        found = await asyncio.gather(*(bench.say(number) for number in range(60)))
        assert {int(reply.outputs["pid"][0]) for reply in found} == set(bench.pids)  # type: ignore[union-attr]


async def test_auto_takes_a_process_for_what_holds_the_gil_and_for_pickles() -> None:
    async with serving("Holding", executor="auto") as bench:
        assert bench.live.executor.kind == "process"
    async with serving("Obedient", executor="auto") as bench:
        assert bench.live.executor.kind == "inline"


async def test_a_neighbour_does_not_notice_who_holds_the_gil() -> None:
    async with serving("Holding", executor="auto") as slow, serving("Obedient", executor="inline") as quick:
        holding = [asyncio.create_task(slow.say(1)) for _ in range(4)]
        taken = []
        while not all(task.done() for task in holding):
            began = time.perf_counter()
            assert value(await quick.say(2)) == [4]
            taken.append(time.perf_counter() - began)
            await asyncio.sleep(0.002)
        assert [value(await one) for one in holding] == [[2]] * 4
        assert len(taken) > 50
        assert np.quantile(taken, 0.99) < 0.02


async def test_the_model_is_closed_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving("Closing") as bench:
        (pid,) = bench.pids
    await until(lambda: gone(pid))
    assert written("closed") == str(pid)


def held() -> dict[str, int]:
    """What this process has: open files, children, regions, files in shared memory."""
    gc.collect()
    tasks = list(Path("/proc/self/task").iterdir())
    return {
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "children": sum(len((task / "children").read_text().split()) for task in tasks if task.exists()),
        "regions": Path("/proc/self/maps").read_text().count("memfd:fairlead"),
        "shared": len(list(Path("/dev/shm").iterdir())),
    }


async def test_nothing_is_left_behind() -> None:
    before = held()
    large = {"x": np.arange(60_000, dtype=float).reshape(-1, 1)}
    for _ in range(4):
        async with serving("Obedient", processes=2, max_rows=60_000, queue_rows=100_000) as bench:
            reply = await bench.ask(large)
            assert isinstance(reply, Reply)
            os.kill(bench.pids[0], signal.SIGKILL)
            assert value(await bench.say(1)) == [2]
        del reply
    await until(lambda: held() == before)
