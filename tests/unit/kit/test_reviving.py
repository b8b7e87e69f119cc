"""A process that is needed: started again when it ends by itself, and not when it was ended."""

from __future__ import annotations

import asyncio

import pytest

from fairlead.contracts.errors import BrokenModel, Unavailable
from fairlead.kit.reviving import Reviving


class Fake:
    """A process that ends when it is told."""

    def __init__(self) -> None:
        self.over: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self.over)

    def end(self, code: int) -> None:
        if not self.over.done():
            self.over.set_result(code)


class Engine(Reviving):
    """``fails``: what its next beginnings end with; None: it begins."""

    def __init__(self, *fails: Exception | None) -> None:
        super().__init__("fake")
        self.fails = list(fails)
        self.did: list[str] = []
        self.made: list[Fake] = []

    async def _begin(self) -> None:
        self.did.append("begin")
        self.made.append(found := Fake())
        self._process = found  # type: ignore[assignment]
        if self.fails and (error := self.fails.pop(0)) is not None:
            raise error

    async def _lost(self) -> None:
        self.did.append("lost")

    async def _end(self) -> None:
        self.did.append("end")
        if self.made:
            self.made[-1].end(-9)

    def _told(self, code: int) -> str:
        return f"it ended with {code}"


async def until(engine: Engine, made: int) -> None:
    async with asyncio.timeout(5):
        while len(engine.made) < made:
            await asyncio.sleep(0)


async def test_what_does_not_begin_is_ended_and_told() -> None:
    engine = Engine(BrokenModel("no"))
    with pytest.raises(BrokenModel, match="no"):
        await engine.start()
    assert engine.did == ["begin", "end"]
    await engine.stop()


async def test_it_begins_again_at_once_when_it_ends_by_itself() -> None:
    engine = Engine()
    await engine.start()
    assert engine.troubles() == []
    engine.made[0].end(3)
    await until(engine, 2)
    assert engine.did == ["begin", "lost", "begin"]
    await asyncio.sleep(0)
    assert engine.troubles() == []
    await engine.stop()
    assert engine.did == ["begin", "lost", "begin", "end"]
    assert len(engine.made) == 2


async def test_one_that_keeps_failing_waits_longer_and_says_why() -> None:
    engine = Engine(None, Unavailable("no room", retry_after=1))
    await engine.start()
    engine.made[0].end(3)
    await until(engine, 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert engine.did[:4] == ["begin", "lost", "begin", "end"]
    (told,) = engine.troubles()
    assert told == "it ended with -9, and is started again in 0.5 seconds"
    await engine.stop()
    assert len(engine.made) == 2  # nothing is started while it waits


async def test_what_a_library_raises_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.kit.restarts.FIRST", 0.0)
    engine = Engine(None, RuntimeError("socket of a library"), ValueError("again"))
    await engine.start()
    engine.made[0].end(3)
    await until(engine, 4)
    assert engine.did == ["begin", "lost", *("begin", "end", "lost") * 2, "begin"]
    await asyncio.sleep(0)
    assert engine.troubles() == []
    await engine.stop()


class Stubborn(Engine):
    """Cannot tell those who wait, nor let go of what did not begin."""

    async def _lost(self) -> None:
        await super()._lost()
        raise RuntimeError("no transport")

    async def _end(self) -> None:
        await super()._end()
        if len(self.made) == 2:
            raise RuntimeError("no process")


async def test_nor_does_what_is_raised_while_it_is_cleared_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.kit.restarts.FIRST", 0.0)
    engine = Stubborn(None, RuntimeError("first"))
    await engine.start()
    engine.made[0].end(3)
    await until(engine, 3)
    await asyncio.sleep(0)
    assert engine.troubles() == []
    await engine.stop()
