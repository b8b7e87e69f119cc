from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from fairlead.contracts.errors import Unavailable
from fairlead.contracts.limits import Charge, Period, Quota, Rate, Verdict
from fairlead.serve.limits import sharing as module
from fairlead.serve.limits.sharing import Sharing

LET_IN = Verdict(0.0, -1, ())


class Store:
    """``state``: up, down or slow."""

    def __init__(self) -> None:
        self.state = "up"
        self.questions: list[int] = []
        self.added: list[Charge] = []
        self.closed = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def _answers(self) -> None:
        await self.gate.wait()
        await asyncio.sleep(10 if self.state == "slow" else 0)
        if self.state == "down":
            raise Unavailable("redis://r cannot count limits: ConnectionError")

    async def take(self, calls: Sequence[Sequence[Charge]]) -> list[Verdict]:
        self.questions.append(len(calls))
        await self._answers()
        return [LET_IN for _ in calls]

    async def add(self, charges: Sequence[Charge]) -> None:
        await self._answers()
        self.added += charges

    async def close(self) -> None:
        self.closed = True


def charges(cost: int = 1, key: str = "k") -> list[Charge]:
    return [Charge(f"{key}-rate", Rate(1, 1), cost), Charge(key, Quota(5, Period.DAY), cost)]


class Shared:
    def __init__(self, budget: float = 0.03) -> None:
        self.store, self.told = Store(), Counter[str]()
        self.sharing = Sharing(self.store, "redis://r", self._told, budget)

    def _told(self, counted: str, calls: int) -> None:
        self.told[counted] += calls


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)


async def test_calls_of_one_turn_and_those_that_wait_are_one_question() -> None:
    shared = Shared(5)
    shared.store.gate.clear()
    first = [shared.sharing.take(charges()) for _ in range(3)]
    await asyncio.sleep(0.01)
    then = [shared.sharing.take(charges()) for _ in range(200)]
    shared.store.gate.set()
    assert [await one for one in (*first, *then) if one is not None] == [LET_IN] * 203
    assert shared.store.questions == [3, module.AT_ONCE, 200 - module.AT_ONCE]
    assert shared.told == {"asked": 203}
    await shared.sharing.stop()
    assert shared.store.closed


@pytest.mark.parametrize("state", ["down", "slow"])
async def test_while_it_is_away_nobody_waits_and_when_it_is_back_it_hears_what_is_owed(state: str) -> None:
    shared = Shared()
    shared.store.state = state
    began = asyncio.get_running_loop().time()
    waiting = [shared.sharing.take(charges()) for _ in range(3)]
    assert [await one for one in waiting if one is not None] == [None] * 3
    assert asyncio.get_running_loop().time() - began < 0.5
    assert shared.sharing.take(charges()) is None
    assert shared.told == {"alone": 4}
    (trouble,) = shared.sharing.troubles()
    assert trouble.startswith("limits are not shared with other servers now: redis://r does not answer (")
    for _ in range(4):
        shared.sharing.owe(charges(2))
    shared.sharing.owe(charges(0, "nothing"))
    await asyncio.sleep(0.1)
    assert shared.sharing.troubles()
    shared.store.state = "up"
    while shared.sharing.troubles():
        await asyncio.sleep(0.005)
    assert shared.store.added == [Charge("k", Quota(5, Period.DAY), 8)]
    again = shared.sharing.take(charges())
    assert again is not None
    assert await again == LET_IN
    await shared.sharing.stop()


async def test_who_hangs_up_holds_nobody_else_up() -> None:
    shared = Shared(5)
    one, other = shared.sharing.take(charges()), shared.sharing.take(charges())
    assert one is not None
    assert other is not None
    one.cancel()
    assert await other == LET_IN
    await shared.sharing.stop()


async def test_a_stop_leaves_nobody_waiting() -> None:
    shared = Shared(5)
    shared.store.gate.clear()
    first = shared.sharing.take(charges())
    await asyncio.sleep(0.01)
    second = shared.sharing.take(charges())
    assert first is not None
    assert second is not None
    await shared.sharing.stop()
    assert await asyncio.wait_for(asyncio.gather(first, second), 1) == [None, None]


@pytest.mark.parametrize("answer", ["raises", "too few"])
async def test_a_store_that_answers_nonsense_is_away_and_no_call_waits_for_it(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Shared(5)

    async def take(calls: Sequence[Sequence[Charge]]) -> list[Verdict]:
        if answer == "raises":
            raise ValueError("no msgpack")
        return [LET_IN] * (len(calls) - 1)

    monkeypatch.setattr(shared.store, "take", take)
    waiting = [shared.sharing.take(charges()) for _ in range(2)]
    answered = [await asyncio.wait_for(one, 1) for one in waiting if one is not None]
    assert answered[-1] is None
    assert shared.sharing.troubles()
    await shared.sharing.stop()


async def test_it_hears_also_what_was_let_in_while_it_was_told() -> None:
    shared = Shared(5)
    shared.store.state = "down"
    waiting = shared.sharing.take(charges())
    assert waiting is not None
    assert await waiting is None
    shared.sharing.owe(charges())
    shared.store.state = "up"
    shared.store.gate.clear()
    await asyncio.sleep(0.05)  # it is being told
    shared.sharing.owe(charges(3))
    shared.store.gate.set()
    while len(shared.store.added) < 2:
        await asyncio.sleep(0.005)
    assert [one.cost for one in shared.store.added] == [1, 3]
    assert shared.sharing.troubles() == []
    await shared.sharing.stop()


async def test_a_store_that_goes_away_again_at_once_is_looked_for_again() -> None:
    shared = Shared()
    shared.store.state = "down"
    for _ in range(3):
        waiting = shared.sharing.take(charges())
        assert waiting is not None
        assert await waiting is None
        shared.sharing.owe(charges())
        shared.store.state = "up"
        while shared.sharing.troubles():
            await asyncio.sleep(0)
        shared.store.state = "down"
    waiting = shared.sharing.take(charges())
    assert waiting is not None
    assert await waiting is None
    shared.store.state = "up"
    async with asyncio.timeout(2):
        while shared.sharing.troubles():
            await asyncio.sleep(0.005)
    await shared.sharing.stop()
