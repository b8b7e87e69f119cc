"""Faults around an executor, and how they come and go."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest

from fairlead.contracts.errors import DeadlineExceeded, FairleadError, ModelFailed, NotFound, Unavailable
from fairlead.contracts.types import Reply
from fairlead.kit.clock import SystemClock
from fairlead.serve.batcher import Policy
from fairlead.serve.call import Call, Dropped
from fairlead.serve.catalog import Catalog
from fairlead.serve.chaos.executor import Faulty, Mortal
from fairlead.serve.chaos.faults import Injection
from fairlead.serve.chaos.injector import Injector
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.isolated.executor import ProcessExecutor
from fairlead.testing.models import EchoModel
from fairlead.testing.sinks import MemorySink


def test_an_executor_with_processes_can_lose_one() -> None:
    assert issubclass(ProcessExecutor, Mortal)


class House:
    """One endpoint with an injector; ``inline`` False: batches run in a thread."""

    def __init__(self, *, inline: bool = True) -> None:
        self.loop = asyncio.get_running_loop()
        self.catalog, self.sink, self.clock = Catalog(), MemorySink(), SystemClock()
        self.live = self.version("1", inline=inline)
        self.catalog.put(self.live)
        self.injector = Injector(self.catalog, self.sink, self.clock)

    def version(self, version: str, *, inline: bool = True) -> Live:
        return Live(
            "echo",
            version,
            EchoModel(),
            policy=Policy(coalesce=False),
            placement=Placement(inline=inline, fixed=True),
            meter=self.sink.endpoint("echo", version),
            clock=self.clock,
            loop=self.loop,
        )

    async def ask(self, seconds: float = 5.0) -> Reply | FairleadError:
        ended: asyncio.Future[Call] = self.loop.create_future()
        inputs = {spec.name: np.ones((2, 1), spec.datatype.numpy) for spec in self.live.signature.inputs}
        now = self.clock.now()
        self.live.enter(self.live.call(inputs, {}, ended.set_result, arrived=now, deadline=now + seconds))
        outcome = (await asyncio.wait_for(ended, 5)).outcome
        assert outcome is not None
        return outcome

    async def inject(self, *faults: str, seconds: float = 60.0, id: str = "a") -> None:  # noqa: A002 - the field's name
        await self.injector.inject("echo", Injection(id, list(faults), self.clock.now() + seconds))


async def test_every_kind_is_what_it_says_and_is_counted() -> None:
    house = House()
    plain = await house.ask()
    assert isinstance(plain, Reply)
    for fault, wanted in {"error:100%": ModelFailed, "shape:100%": ModelFailed, "drop:100%": Dropped}.items():
        await house.inject(fault)
        outcome = await house.ask()
        assert type(outcome) is wanted
        assert "injected by fairlead chaos" in str(outcome)
        await house.injector.calm("echo")
    await house.inject("nan:100%")
    outcome = await house.ask()
    assert isinstance(outcome, Reply)
    assert all(np.isnan(array).all() for array in outcome.outputs.values() if array.dtype.kind == "f")
    assert [array.shape for array in outcome.outputs.values()] == [array.shape for array in plain.outputs.values()]
    await house.injector.calm("echo")
    assert isinstance(await house.ask(), Reply)
    assert house.sink.faults == {("echo", kind): 1 for kind in ("error", "shape", "drop", "nan")}


@pytest.mark.parametrize("inline", [True, False])
async def test_slow_waits_and_does_not_hold_the_loop(inline: bool) -> None:
    house = House(inline=inline)
    await house.inject("slow:200ms:100%")
    began, turns = house.loop.time(), 0
    asked = asyncio.ensure_future(house.ask())
    while not asked.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert isinstance(asked.result(), Reply)
    assert 0.19 < house.loop.time() - began < 2
    assert turns > 10


async def test_what_hangs_ends_at_its_deadline_and_goes_on_when_the_faults_end() -> None:
    house = House()
    await house.inject("hang:100%")
    assert isinstance(await house.ask(0.1), DeadlineExceeded)
    asked = asyncio.ensure_future(house.ask(5.0))
    await asyncio.sleep(0.1)
    assert not asked.done()
    await house.injector.calm("echo")
    assert isinstance(await asked, Reply)
    assert house.live.idle


async def test_off_there_is_nothing_between_and_on_it_is_taken_away_by_itself() -> None:
    house = House()
    own = house.live.executor
    house.injector.start()
    await house.inject("error:100%", seconds=0.3)
    assert isinstance(house.live.executor, Faulty)
    assert "faults are injected (error:100%)" in house.injector.troubles()[1]
    ends = house.loop.time() + 3
    while house.live.executor is not own:
        assert house.loop.time() < ends
        await asyncio.sleep(0.02)
    assert house.injector.active("echo") == ""
    assert len(house.injector.troubles()) == 1
    await house.injector.stop()


async def test_versions_that_come_later_have_the_faults_too(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.injector.start()
    with caplog.at_level(logging.WARNING, "fairlead.serve"):
        await house.inject("error:100%")
        later = house.version("2")
        house.catalog.replace(later)
        await asyncio.sleep(0.5)
        assert isinstance(later.executor, Faulty)
        house.live = later
        assert isinstance(await house.ask(), ModelFailed)
        await house.injector.stop()
    assert not isinstance(later.executor, Faulty)
    assert [record.message for record in caplog.records if "chaos" in record.message] == [
        "chaos is allowed",
        "chaos begins",
        "chaos ends",
    ]


async def test_one_command_at_a_time_and_the_same_one_for_longer() -> None:
    house = House()
    await house.inject("error:1%", seconds=1)
    before = house.live.executor
    await house.inject("error:1%", seconds=60)
    assert house.live.executor is before
    with pytest.raises(Unavailable, match="--stop"):
        await house.inject("error:1%", id="b")
    await house.injector.calm("echo")
    await house.inject("error:1%", id="b")
    with pytest.raises(NotFound):
        await house.injector.calm("nobody")
    await house.injector.stop()


async def test_what_was_over_when_it_came_is_not_begun() -> None:
    house = House()
    own = house.live.executor
    await house.inject("error:100%", seconds=-1)
    assert house.live.executor is own


async def test_a_version_that_is_closed_ends_what_it_holds() -> None:
    house = House()
    await house.inject("hang:100%")
    asked = asyncio.ensure_future(house.ask())
    await asyncio.sleep(0.05)
    house.live.close()
    assert isinstance(await asked, Unavailable)
