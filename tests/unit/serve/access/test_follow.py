from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from fairlead.kit.clock import SystemClock
from fairlead.kit.scopes import scope
from fairlead.serve.access import follow, keys
from fairlead.serve.access.asking import Visit
from fairlead.serve.access.callers import Callers
from fairlead.serve.access.follow import KeyFollower
from fairlead.serve.access.gate import Gate
from fairlead.serve.access.keys import Key
from fairlead.serve.access.rules import Rules

KEY, TEXT = keys.made(Key("web", (scope("churn:predict"),), (), 0), 0)


class Store:
    """Gives keys, or fails."""

    def __init__(self) -> None:
        self.keys: Sequence[Key] = (KEY,)
        self.error: Exception | None = None
        self.broken: Sequence[str] = ()

    def read(self) -> tuple[Sequence[Key], Sequence[str]]:
        if self.error is not None:
            raise self.error
        return self.keys, self.broken


def knows(gate: Gate) -> bool:
    sight = gate.visit(Visit({b"x-api-key": TEXT.encode()}, "/healthz", 0.0, "id"))
    return sight.caller is not None


async def soon(condition: object) -> None:
    for _ in range(500):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come to be")


async def test_it_follows_and_keeps_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.001)
    store, gate = Store(), Gate(Rules(), Callers(SystemClock()))
    follower = KeyFollower(gate, store.read, SystemClock())
    store.error = OSError("the disk is gone")
    await asyncio.get_running_loop().run_in_executor(None, follower.prime, asyncio.get_running_loop())
    assert follower.troubles() == ["keys cannot be read, no key is known yet: the disk is gone"]
    store.error = None
    await soon(lambda: knows(gate))
    assert follower.troubles() == []
    follower.start()  # it follows since it was primed: once is enough
    store.error = RuntimeError()
    await soon(lambda: follower.troubles() == ["keys cannot be read, those that were known hold: RuntimeError"])
    assert knows(gate)
    store.error, store.keys, store.broken = None, (), ("key 'odd' does not hold: why",)
    await soon(lambda: not knows(gate))
    assert follower.troubles() == ["key 'odd' does not hold: why"]
    follower.drain()
    assert not follower.busy()
    await follower.stop()


async def test_it_stops_before_it_began() -> None:
    await KeyFollower(Gate(Rules(), Callers(SystemClock())), Store().read, SystemClock()).stop()


async def test_a_store_that_hangs_is_told_of() -> None:
    class Later(SystemClock):
        ahead = 0.0

        def now(self) -> float:  # type: ignore[override]
            return SystemClock.now() + self.ahead

    clock, hangs = Later(), threading.Event()
    store = Store()

    def read() -> tuple[Sequence[Key], Sequence[str]]:
        if clock.ahead:
            hangs.wait(10)
        return store.read()

    follower = KeyFollower(Gate(Rules(), Callers(clock)), read, clock)
    await asyncio.get_running_loop().run_in_executor(None, follower.prime, asyncio.get_running_loop())
    await asyncio.sleep(0.02)
    assert follower.troubles() == []
    clock.ahead = 7.0
    assert follower.troubles() == [
        "keys were read 7 s ago, those that were known hold: the state store does not answer"
    ]
    hangs.set()
    await follower.stop()


def test_a_store_that_hangs_does_not_hold_up_the_end_of_the_server() -> None:
    hangs = threading.Event()

    def read() -> tuple[Sequence[Key], Sequence[str]]:
        hangs.wait(10)
        return (), ()

    async def serve() -> None:
        follower = KeyFollower(Gate(Rules(), Callers(SystemClock())), read, SystemClock())
        follower.start()
        await asyncio.sleep(0.01)
        await follower.stop()

    began = SystemClock.now()
    asyncio.run(serve())
    assert SystemClock.now() - began < 5
    hangs.set()
