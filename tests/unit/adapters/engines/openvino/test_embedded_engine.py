"""The embedded engine as the server sees it, with a process that a test plays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fairlead.adapters.engines.openvino.engine import EmbeddedTokens
from fairlead.adapters.engines.openvino.frames import framed
from fairlead.adapters.engines.openvino.messages import Ask, Drop, Failed, Load, Loaded, Made, Over, Stepped, ToServer
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import (
    BrokenModel,
    EngineLost,
    InvalidParameter,
    MissingExtra,
    QueueFull,
    Unavailable,
    UnknownFormat,
    UsageError,
)
from fairlead.contracts.generation import Usage
from fairlead.contracts.tokens import TokenEvent, Tokens, TokensBegun, TokensEnded
from fairlead.kit import plugins
from fairlead.testing.token_engine_suite import Heard, asked, begin

LOADED = Loaded(100, 1000, grammars=False)


class Played:
    """A process: what it was told, and a way to say something."""

    def __init__(self, first: ToServer | None) -> None:
        self.pid = 1
        self.ending = "SIGKILL"
        self.told: list[msgspec.Struct] = []
        self.killed = self.closed = False
        self._first = first

    def attach(
        self, loop: asyncio.AbstractEventLoop, received: Callable[[ToServer], None], ended: Callable[[], None]
    ) -> None:
        self.say, self.end = received, ended
        if self._first is not None:
            loop.call_soon(received, self._first)

    def send(self, message: msgspec.Struct) -> None:
        self.told.append(message)

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        self.closed = True

    def step(self, *made: Made, begun: list[tuple[int, int]] | None = None, over: list[Over] | None = None) -> None:
        self.say(Stepped(begun or [], list(made), over or [], 0.5))


class Players:
    """Starts one process after another."""

    def __init__(self, *firsts: ToServer | None) -> None:
        self._firsts = list(firsts)
        self.all: list[Played] = []

    def __call__(self) -> Played:
        self.all.append(Played(self._firsts.pop(0) if self._firsts else LOADED))
        return self.all[-1]

    @property
    def one(self) -> Played:
        return self.all[-1]


def engine(players: Players, **options: Any) -> EmbeddedTokens:
    return EmbeddedTokens(EngineOptions("name", "model", folder="f", options=options), players)


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "installed", lambda *_: True)


async def settle() -> None:
    for _ in range(200):
        await asyncio.sleep(0.001)


class TestAnswers:
    async def test_one_is_told_what_its_steps_bring(self) -> None:
        players = Players()
        made = engine(players)
        await made.start()
        heard = begin(made, asked((1, 2, 3)))
        load, ask = players.one.told
        assert isinstance(load, Load)
        assert isinstance(ask, Ask)
        assert (load.endpoint, load.precision) == ("name", "int8")
        assert (made.load().waiting, made.load().running) == (1, 0)
        players.one.step(begun=[(ask.number, 2)])
        assert (made.load().waiting, made.load().running, made.load().memory) == (0, 1, 0.5)
        players.one.step(Made(ask.number, [5, 6], []))
        players.one.step(Made(ask.number, [7], []), over=[Over(ask.number, stopped=True)])
        assert heard.events == [
            TokensBegun(Usage(1, 2)),
            Tokens((5, 6)),
            Tokens((7,)),
            TokensEnded(True, Usage(1, 2, 3)),
        ]
        assert (made.load().waiting, made.load().running, made.load().memory) == (0, 0, 0.0)
        players.one.step(Made(ask.number, [8], []), over=[Over(ask.number, stopped=False)])
        assert len(heard.events) == 4
        await made.stop()

    async def test_what_the_process_refuses_is_the_error_that_it_named(self) -> None:
        players = Players()
        made = engine(players)
        await made.start()
        heard = begin(made, asked((1,)))
        players.one.step(over=[Over(1, stopped=False, code="invalid_parameter", message="no such token")])
        assert [type(event) for event in heard.events] == [InvalidParameter]
        full = begin(made, asked((1,)))
        players.one.step(over=[Over(2, stopped=False, code="unavailable", message="full")])
        assert isinstance(full.last, Unavailable)
        assert full.last.retry_after
        await made.stop()

    async def test_what_cannot_cross_is_refused(self) -> None:
        players = Players()
        made = engine(players)
        await made.start()
        players.one.send = lambda _message: framed(_message) and None  # type: ignore[assignment, method-assign]
        heard = begin(made, asked((1,), ends=(1 << 70,)))
        assert [type(event) for event in heard.events] == [InvalidParameter]
        assert made.load().waiting == 0
        await made.stop()

    async def test_cancelling_tells_the_process_once(self) -> None:
        players = Players()
        made = engine(players)
        await made.start()
        heard = begin(made, asked((1,)))
        assert heard.running is not None
        heard.running.cancel()
        heard.running.cancel()
        assert [one for one in players.one.told if isinstance(one, Drop)] == [Drop(1)]
        players.one.step(Made(1, [5], []), begun=[(1, 0)], over=[Over(1, stopped=False)])
        assert heard.events == []
        assert made.load().running == 0
        await made.stop()

    async def test_one_that_cancels_others_from_inside_hurts_nobody(self) -> None:
        players = Players()
        made = engine(players)
        await made.start()
        second = Heard()

        def stop(_event: TokenEvent) -> None:
            assert second.running is not None
            second.running.cancel()

        first = begin(made, asked((1,)), stop)
        second.running = made.generate(asked((1,)), second.tell)
        third = begin(made, asked((1,)))
        numbers = (1, 2, 3)
        players.one.step(*(Made(one, [5], []) for one in numbers), begun=[(one, 0) for one in numbers])
        assert len(first.events) == len(third.events) == 2
        assert second.events == []
        await made.stop()

    async def test_one_that_listens_badly_hurts_nobody(self) -> None:
        players = Players()
        made = engine(players)
        await made.start()

        def bad(_event: TokenEvent) -> None:
            raise RuntimeError("no")

        begin(made, asked((1,)), bad)
        good = begin(made, asked((1,)))
        players.one.step(over=[Over(1, stopped=True), Over(2, stopped=True)])
        assert isinstance(good.last, TokensEnded)
        await made.stop()

    async def test_no_more_wait_than_may(self) -> None:
        made = engine(Players(), parallel=2, queue=1)
        await made.start()
        many = [begin(made, asked((1,))) for _ in range(4)]
        assert [type(event) for event in many[3].events] == [QueueFull]
        assert made.load().waiting == 3
        await made.stop()
        assert all(isinstance(one.last, Unavailable) for one in many[:3])


class TestLives:
    async def test_what_does_not_load_says_why(self) -> None:
        players = Players(Failed("unknown_format", "a mixture of experts"))
        made = engine(players)
        with pytest.raises(UnknownFormat, match="experts"):
            await made.start()
        assert players.one.killed
        assert players.one.closed
        assert isinstance(begin(made, asked((1,))).last, Unavailable)

    async def test_one_that_ends_as_it_loads_is_a_broken_model(self) -> None:
        players = Players(None)
        made = engine(players)
        starting = asyncio.ensure_future(made.start())
        await settle()
        players.one.end()
        with pytest.raises(BrokenModel, match="ended \\(SIGKILL\\)"):
            await starting

    async def test_one_that_ends_is_replaced_and_everybody_told(self) -> None:
        players = Players()
        made = engine(players)
        await made.start()
        many = [begin(made, asked((1,))) for _ in range(3)]
        players.one.step(Made(1, [5], []), begun=[(1, 0)])
        players.one.end()
        assert all(isinstance(one.last, EngineLost) and one.last.retry_after for one in many)
        assert [len(one.events) for one in many] == [3, 1, 1]
        late = begin(made, asked((1,)))
        assert type(late.last) is Unavailable
        assert made.troubles()
        await settle()
        assert len(players.all) == 2
        assert made.troubles() == []
        again = begin(made, asked((1,)))
        players.one.step(over=[Over(again.running.number, stopped=True)])  # type: ignore[union-attr]
        assert isinstance(again.last, TokensEnded)
        await made.stop()

    async def test_it_does_not_give_up(self) -> None:
        players = Players(LOADED, Failed("broken_model", "gone"), LOADED)
        made = engine(players)
        await made.start()
        players.one.end()
        async with asyncio.timeout(5):
            while len(players.all) < 3 or made.troubles():
                await asyncio.sleep(0.01)
        await made.stop()

    async def test_stopping_while_another_is_started_leaves_none(self) -> None:
        players = Players(LOADED, None)
        made = engine(players)
        await made.start()
        players.one.end()
        await settle()
        assert len(players.all) == 2
        await made.stop()
        await settle()
        assert players.one.killed
        assert players.one.closed

    async def test_one_that_says_nothing_while_there_is_work_is_killed(self) -> None:
        players = Players()
        made = engine(players, hang_seconds=0.1)
        await made.start()
        await asyncio.sleep(0.2)  # without work it may be silent
        assert not players.one.killed
        heard = begin(made, asked((1,)))
        for _ in range(4):
            await asyncio.sleep(0.05)
            players.one.step()
        assert not players.one.killed
        await asyncio.sleep(0.2)
        assert players.one.killed
        players.one.end()
        assert isinstance(heard.last, EngineLost)
        await made.stop()

    async def test_one_that_takes_too_long_to_load(self) -> None:
        players = Players(None)
        made = engine(players, load_seconds=0.1)
        with pytest.raises(Unavailable, match="load_seconds"):
            await made.start()
        assert players.one.killed


class TestMaking:
    def test_it_needs_a_model(self) -> None:
        with pytest.raises(UsageError, match="needs a model"):
            EmbeddedTokens(EngineOptions("name", ""))

    async def test_it_needs_its_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plugins, "installed", lambda *_: False)
        with pytest.raises(MissingExtra, match="fairlead\\[llm\\]"):
            await engine(Players()).start()
