"""Who is asked, who waits and who is left out, with transports in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

import numpy as np
import pytest

from fairlead.contracts.errors import FairleadError, Unavailable
from fairlead.contracts.types import DataType, Parameters, Signature, Tensors, TensorSpec
from fairlead.contracts.upstream import Address, Described, Place, Unreached
from fairlead.kit.clock import SystemClock
from fairlead.serve.remote.asking import Asked
from fairlead.serve.remote.balance import Balance, State
from fairlead.serve.remote.fleet import Fleet, Persistence
from fairlead.serve.remote.left_out import Member
from fairlead.serve.resilience.backoff import Backoff
from fairlead.testing.models import EchoModel
from fairlead.testing.sinks import MemoryMeter
from fairlead.testing.upstreams import MemoryTransport

ONE = {"x": np.ones((1, 2))}


class Held(MemoryTransport):
    """Answers when ``release`` is set."""

    release: asyncio.Event

    async def infer(
        self, inputs: Tensors, datatypes: Mapping[str, DataType], parameters: Parameters, seconds: float
    ) -> Tensors:
        await self.release.wait()
        return await super().infer(inputs, datatypes, parameters, seconds)


def fleet_of(members: list[Member], balance: Balance, how: Persistence) -> Fleet:
    return Fleet("m", members, balance, how, meter=MemoryMeter(), clock=SystemClock(), chance=random.Random(1))


def made(count: int = 1, limit: int = 1, failures: int = 1, retries: int = 1) -> tuple[Fleet, list[Held], Balance]:
    balance = Balance(count, limit, failures, 1000.0, random.Random(1))
    transports = [Held(Place(Address("memory", str(at), 0), "m"), {"m": EchoModel()}) for at in range(count)]
    for one in transports:
        one.release = asyncio.Event()
        one.release.set()
    members = [Member(f"memory://{at}", one) for at, one in enumerate(transports)]
    how = Persistence(retries, Backoff(0.001, 0.001, 0.0))
    return fleet_of(members, balance, how), transports, balance


def ask(fleet: Fleet) -> asyncio.Task[Tensors]:
    return asyncio.ensure_future(fleet.infer(Asked(ONE, {}, 1, SystemClock.now() + 60)))


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_gives_up_waiting_as_a_place_is_freed_takes_it_from_nobody() -> None:
    for late in range(4):  # turns of the loop between the two
        fleet, (there,), balance = made()
        await fleet.open()
        there.release.clear()
        running, waiting, next_ = ask(fleet), ask(fleet), ask(fleet)
        await turns()
        there.release.set()
        await turns(late)
        waiting.cancel()
        assert (await asyncio.wait_for(running, 5))["y"].tolist() == [[1.0, 1.0]]
        assert (await asyncio.wait_for(next_, 5))["y"].tolist() == [[1.0, 1.0]]
        await asyncio.gather(waiting, return_exceptions=True)
        assert balance.seats[0].in_flight == 0
        fleet.close()


async def test_who_gives_up_first_and_then_a_place_is_freed() -> None:
    fleet, (there,), balance = made()
    await fleet.open()
    there.release.clear()
    running, waiting, next_ = ask(fleet), ask(fleet), ask(fleet)
    await turns()
    waiting.cancel()
    there.release.set()  # in the same turn: the one that gave up is still in the queue
    await asyncio.wait_for(asyncio.gather(running, next_), 5)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert balance.seats[0].in_flight == 0
    fleet.close()


async def test_those_who_wait_for_the_one_that_goes_out_are_sent_to_another() -> None:
    fleet, (one, other), balance = made(2)
    await fleet.open()
    one.release.clear()
    other.release.clear()
    begun = [ask(fleet) for _ in range(4)]
    await turns()
    one.down = "it is gone"
    one.release.set()
    other.release.set()
    await asyncio.wait_for(asyncio.gather(*begun), 5)
    assert balance.seats[0].state is State.OUT
    assert [len(one.asked), len(other.asked)] == [0, 4]
    assert fleet.troubles() == ["upstream memory://0 of 'm' is left out for 1000 seconds: it is gone"]
    fleet.close()
    assert one.closed == other.closed == 1


@pytest.mark.parametrize(("retries", "asked"), [(0, 1), (1, 2), (2, 3), (5, 6)])
async def test_a_request_is_sent_so_often_to_others_first_and_then_to_the_same(retries: int, asked: int) -> None:
    fleet, all_, balance = made(3, failures=100, retries=retries)
    await fleet.open()
    for one in all_:
        one.down = "it is gone"
    with pytest.raises(Unavailable, match="does not answer: it is gone") as raised:
        await ask(fleet)
    counts = [seat.failures for seat in balance.seats]
    assert sum(counts) == asked
    assert max(counts) - min(counts) <= 1
    assert raised.value.retry_after == 1
    fleet.close()


async def test_when_all_of_them_serve_another_model_it_is_said() -> None:
    fleet, (there,), _ = made()
    await fleet.open()
    other = Signature((TensorSpec("z", DataType.FP64, (-1, 2)),), (TensorSpec("y", DataType.FP64, (-1, 2)),))
    there._models = {"m": EchoModel(other)}
    fleet._balance.eject(0, SystemClock.now(), "failures")
    await fleet._left_out.probe(0)
    assert "serves another model and is left out until it agrees: its inputs are z, not x" in fleet.troubles()[0]
    with pytest.raises(Unavailable, match="every address of 'm' serves another model now"):
        await ask(fleet)
    there._models = {"m": EchoModel()}
    await fleet._left_out.probe(0)
    await ask(fleet)
    assert fleet.troubles() == []
    fleet.close()


async def test_one_that_is_still_down_when_it_is_asked_is_left_out_for_longer() -> None:
    fleet, (there,), balance = made()
    await fleet.open()
    there.down = "it is gone"
    with pytest.raises(FairleadError):
        await ask(fleet)
    there.down = "it is still gone"
    await fleet._left_out.probe(0)
    assert fleet.troubles() == ["upstream memory://0 of 'm' is left out for 100 seconds: it is still gone"]
    assert balance.seats[0].ejections == 2
    with pytest.raises(Unreached):
        await there.describe()
    fleet.close()


async def test_once_its_trial_is_over_all_who_waited_are_sent() -> None:
    fleet, (there,), balance = made(limit=4)
    await fleet.open()
    balance.eject(0, SystemClock.now(), "failures")
    balance.well(0)
    there.release.clear()
    begun = [ask(fleet) for _ in range(5)]
    await turns()
    assert balance.seats[0].in_flight == 1
    there.release.set()
    there.release.clear()  # lets those go that wait now
    await turns(10)
    assert balance.seats[0].in_flight == 4
    there.release.set()
    await asyncio.wait_for(asyncio.gather(*begun), 5)
    fleet.close()


class Odd(Held):
    """Breaks its contract when it is asked what its model takes, so often."""

    times = 0

    async def describe(self) -> Described:
        if self.times:
            self.times -= 1
            raise RecursionError("too deep")
        return await super().describe()


async def test_one_that_breaks_what_asks_it_is_asked_again() -> None:
    balance = Balance(1, 1, 1, 0.01, random.Random(1))
    there = Odd(Place(Address("memory", "0", 0), "m"), {"m": EchoModel()})
    fleet = fleet_of([Member("memory://0", there)], balance, Persistence())
    await fleet.open()
    there.release = asyncio.Event()
    there.release.set()
    there.down, there.times = "gone", 2
    with pytest.raises(Unavailable):
        await ask(fleet)
    there.down = ""
    async with asyncio.timeout(5):
        while balance.seats[0].state is State.OUT:
            await asyncio.sleep(0.01)
    assert there.times == 0
    fleet.close()
