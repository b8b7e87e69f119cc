"""The executor over processes that the test plays: who gets what after an error, a death, a hang."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import FairleadError, ModelFailed, Unavailable
from fairlead.contracts.runtime import Artefact
from fairlead.contracts.types import Tensors
from fairlead.serve.batcher import Part
from fairlead.serve.call import NEVER, Call
from fairlead.serve.executor import Result
from fairlead.serve.isolated.executor import Job, Piece, ProcessExecutor, after_death
from fairlead.serve.isolated.messages import Answer, Message, Raised
from fairlead.serve.isolated.process import Order
from fairlead.serve.isolated.seats import Seats
from fairlead.testing.clock import ManualClock
from fairlead.testing.sinks import MemoryMeter

KILLS, RAISES, HANGS, WRONG = -1.0, -2.0, -3.0, -4.0
"""Values of a row that do this to a process."""


class Played:
    """In place of a process: answers on the next turn of the loop."""

    ending = "SIGKILL"
    resident = 1000

    def __init__(self, place: int, asked: list[list[float]], refuses: Callable[[], bool] = lambda: False) -> None:
        self.place, self.pid, self.open, self.killed = place, 100 + place, True, False
        self._asked, self._refuses = asked, refuses

    def load(self, *, measure: bool) -> None:
        assert not measure
        if self._refuses():
            raise Unavailable("no memory")

    def attach(
        self, loop: asyncio.AbstractEventLoop, received: Callable[[Message, Tensors], None], ended: Callable[[], None]
    ) -> None:
        self._loop, self._received, self._ended = loop, received, ended

    def send(self, message: Message, tensors: Tensors) -> None:
        rows = tensors["x"][:, 0].tolist()
        self._asked.append(rows)
        if KILLS in rows:
            self._loop.call_soon(self._die)
        elif RAISES in rows:
            self._loop.call_soon(self._received, Raised("model_failed", "bad row", "Traceback: bad"), {})
        elif WRONG in rows:
            self._loop.call_soon(self._received, Answer(), {"y": np.zeros(len(rows) + 1)})
        elif HANGS not in rows:
            self._loop.call_soon(self._received, Answer(), {"y": tensors["x"] * 2})

    def answer(self, *rows: float) -> tuple[Message, Tensors]:
        """What it says to these rows when it gets to it."""
        return Answer(), {"y": np.array(rows).reshape(-1, 1) * 2}

    def _die(self) -> None:
        self.open = False
        self._ended()

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        self.open = False


class Table:
    """An executor with ``count`` played processes. ``asked``: the batches that they were given."""

    def __init__(self, count: int = 1, hang: float = 60.0, most: int = 0) -> None:
        self.asked: list[list[float]] = []
        self.begun: list[Played] = []
        self.broken = False
        self.meter = MemoryMeter()
        self.clock = ManualClock()
        order = Order("churn", "1", Artefact("python", target="a:B"), 0, 64, None, 30)
        first = [Played(place, self.asked) for place in range(count)]
        loop = asyncio.get_running_loop()
        seats = Seats(order, first, self.meter, self.clock, loop, self._begin, most)  # type: ignore[arg-type]
        self.executor = ProcessExecutor("churn", seats, batched=True, hang=hang, clock=self.clock, loop=loop)
        self.first = first

    def _begin(self, _: Order, place: int) -> Any:
        self.begun.append(Played(place, self.asked, lambda: self.broken))
        return self.begun[-1]

    async def run(self, *values: float, deadline: float = NEVER) -> dict[float, float | FairleadError]:
        """One batch of one-row calls; the answer of each, by its value."""
        parts = [
            Part(Call({"x": np.array([[value]])}, 1, lambda _: None, arrived=0, deadline=deadline), 0, 1)
            for value in values
        ]
        done: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)  # the seats listen
        self.executor.submit(parts, done.set_result)
        results = await asyncio.wait_for(done, 10)
        told = {float(part.call.inputs["x"][0, 0]): answer for part, answer, *_ in results}
        return {v: a if isinstance(a, FairleadError) else float(a["y"][0, 0]) for v, a in told.items()}


def test_what_is_run_after_a_death() -> None:
    parts = [Part(Call({}, 1, lambda _: None, arrived=0), 0, 1) for _ in range(3)]
    job = Job(lambda _: None)
    (again,) = after_death(Piece(job, parts))
    assert (again.parts, again.deaths) == (parts, 1)
    alone = after_death(again)
    assert [one.parts for one in alone] == [[part] for part in parts]
    assert [after_death(one) for one in alone] == [[], [], []]


async def test_a_batch_crosses_once_and_is_split() -> None:
    table = Table()
    assert await table.run(1, 2, 3) == {1: 2, 2: 4, 3: 6}
    assert table.asked == [[1, 2, 3]]


async def test_a_row_that_raises_fails_alone_with_its_cause() -> None:
    table = Table()
    found = await table.run(1, RAISES, 3, 4)
    assert {value: answer for value, answer in found.items() if value > 0} == {1: 2, 3: 6, 4: 8}
    error = found[RAISES]
    assert isinstance(error, ModelFailed)
    assert "Traceback: bad" in str(error.__cause__)
    assert table.asked == [[1, RAISES, 3, 4], [1, RAISES], [1], [RAISES], [3, 4]]


async def test_an_answer_with_other_rows_is_the_models_failure() -> None:
    found = await Table().run(WRONG, 1)
    assert isinstance(found[WRONG], ModelFailed)
    assert found[1] == 2


async def test_calls_that_are_over_never_reach_a_process() -> None:
    table = Table()
    table.clock.advance(5)
    assert await table.run(1, deadline=5) == {}
    assert table.asked == []


async def test_a_process_that_dies_once_costs_nobody_an_answer() -> None:
    table = Table()
    dying = table.first[0]
    dying.send = lambda _message, _tensors: asyncio.get_running_loop().call_soon(dying._die)  # type: ignore[method-assign,assignment]
    assert await table.run(1, 2) == {1: 2, 2: 4}
    assert table.asked == [[1, 2]]
    assert table.meter.lost == {"crashed": 1}
    table.executor.report()
    assert table.meter.own == (1, 1000)
    assert table.executor.troubles() == []


async def test_a_row_that_kills_fails_alone_after_three_deaths() -> None:
    table = Table(count=4)
    found = await table.run(1, KILLS, 3)
    assert isinstance(found.pop(KILLS), ModelFailed)
    assert found == {1: 2, 3: 6}
    assert table.meter.lost == {"crashed": 3}
    assert table.asked[:2] == [[1, KILLS, 3]] * 2
    assert sorted(table.asked[2:]) == [[KILLS], [1], [3]]
    table.executor.close()


async def test_one_that_hangs_is_killed_and_its_batch_run_again_but_not_for_ever() -> None:
    table = Table(count=3, hang=0.01)
    found = await table.run(HANGS)
    assert isinstance(found[HANGS], ModelFailed)
    assert "hung" in str(found[HANGS])
    assert [one.killed for one in table.first] == [True, True, False]
    assert table.meter.lost == {"hung": 2}
    table.executor.close()


async def test_while_nobody_can_be_started_calls_are_refused_with_the_time() -> None:
    table = Table()
    table.broken = True
    for _ in range(4):  # crashes in a row: the next start is four seconds off
        table.executor._seats.all[0].restarts.crashed()
    found = await table.run(KILLS, 1)
    assert {type(answer) for answer in found.values()} == {Unavailable}
    (refused,) = (await table.run(1)).values()
    assert isinstance(refused, Unavailable)
    assert refused.retry_after == pytest.approx(4)
    assert table.executor.troubles() == ["churn version 1: 1 of its 1 processes ended and are started again"]
    table.executor.close()


async def test_closing_answers_what_runs_and_what_waits() -> None:
    table = Table(hang=0.5)
    running = asyncio.create_task(table.run(HANGS))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(table.run(1))
    await asyncio.sleep(0.01)
    table.executor.close()
    for found in (await running, await waiting):
        assert {type(answer) for answer in found.values()} == {Unavailable}
    assert not table.first[0].open
    assert table.begun == []
