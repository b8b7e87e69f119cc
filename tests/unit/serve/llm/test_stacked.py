"""All stages on top of one another, over engines that fail, refuse and tell before they return."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import pytest

from fairlead.contracts.engine import Event, Running
from fairlead.contracts.errors import ContextTooLong, EngineLost, QueueFull, Unavailable
from fairlead.contracts.generation import Begun, Generation, Message, Sampling
from fairlead.serve.llm.ask import Ask, Enter, last, line, over
from fairlead.serve.llm.cascade.settings import Climbing, Step
from fairlead.serve.llm.cascade.stage import Cascade
from fairlead.serve.llm.chats import Chat, Chats
from fairlead.serve.llm.fair.settings import Sharing
from fairlead.serve.llm.fair.stage import Fair
from fairlead.serve.llm.route.settings import Routing
from fairlead.serve.llm.route.stage import Routes
from fairlead.testing.clock import ManualClock
from fairlead.testing.scripted import ScriptedEngine, said
from fairlead.testing.timers import ManualTimers


@dataclass
class One:
    """A request and what it was told. ``cut``: events at its cancellation; -1: it was not cancelled."""

    told: list[Event] = field(default_factory=list)
    running: Running | None = None
    cut: int = -1

    def cancel(self) -> None:
        if self.running is not None and self.cut < 0:
            self.cut = len(self.told)
            self.running.cancel()


class House:
    """``assistant``: a cascade of ``small`` and ``chat``, which is routed over ``a`` and ``b``."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.clock = chance, ManualClock()
        self.timers = ManualTimers(self.clock)
        chats = Chats()
        self.engines = [
            ScriptedEngine(self.script, self.timers, most=2, parallel=chance.choice([1, 2, 3])) for _ in "123"
        ]
        self.fairs = []
        for name, engine in zip(("small", "a", "b"), self.engines, strict=True):
            fair = Fair(name, Sharing(queue=6), lambda one=engine: one.traits.parallel, self.clock, self.timers)
            self.fairs.append(fair)
            chats.put(Chat(name, engine, line([fair], engine)))
        routing = Routing(("a", "b"), continues=chance.random() < 0.5, wake=chance.choice([0.0, 2.0]))
        self.routes = Routes("chat", routing, chats.resolve, self.clock, self.timers)
        chats.put(Chat("chat", self.engines[1], self.routes.stage(last(self.engines[1]))))
        climbing = Climbing((Step("small", 0.8),), "chat", audit=chance.choice([0.0, 0.5]))
        self.cascade = Cascade(
            "assistant", climbing, chats.resolve, self.clock, chance.random, lambda _alarm: None, self.timers
        )
        self.line: Enter = self.cascade.stage(last(self.engines[2]))
        self.every: list[One] = []

    def script(self, _asked: Generation) -> list[Event | float]:
        chance = self.chance
        sure = chance.choice([math.log(0.95), math.log(0.4), None])
        made = said("a few words of an answer", delay=chance.choice([0.0, 0.05, 0.3]), logprob=sure)
        if chance.random() < 0.3:
            error = chance.choice(
                [EngineLost("x"), QueueFull("x"), Unavailable("x", retry_after=1), ContextTooLong("x")]
            )
            return [*made[: chance.randrange(len(made))], error]
        return made

    def ask(self) -> None:
        chance, one = self.chance, One()
        self.every.append(one)

        def tell(event: Event) -> None:
            one.told.append(event)
            if chance.random() < 0.03:
                one.cancel()
            if chance.random() < 0.03:
                chance.choice(self.every).cancel()
            if chance.random() < 0.01 and len(self.every) < 150:
                self.ask()

        asked = Generation(
            str(len(self.every)), "assistant", (Message("user", "hello " * chance.choice([1, 200])),),
            Sampling(most=chance.choice([None, 4])), tenant=chance.choice("tu"), lane=chance.randrange(3),
            deadline=self.clock.now() + chance.choice([0.2, 2.0, math.inf]),
        )  # fmt: skip
        one.running = self.line(Ask(asked, self.clock.now(), "r"), tell)


@pytest.mark.parametrize("seed", range(60))
def test_each_ends_once_or_is_cancelled_and_nothing_is_left(seed: int) -> None:
    house = House(random.Random(seed))
    for _ in range(80):
        house.ask()
        if house.chance.random() < 0.1:
            house.chance.choice(house.every).cancel()
        house.timers.run(house.chance.choice([0.0, 0.05, 0.5]))
    house.timers.run(500)
    for one in house.every:
        assert sum(isinstance(event, Begun) for event in one.told) <= 1
        if one.cut >= 0:
            assert len(one.told) == one.cut
        else:
            assert [at for at, event in enumerate(one.told) if over(event)] == [len(one.told) - 1]
    assert house.routes.choosing.loads == [0, 0]
    for fair, engine in zip(house.fairs, house.engines, strict=True):
        assert (fair.queue.requests, fair.slots.running, engine.running) == (0, 0, 0)
        assert not fair._requests
    assert not house.timers.waiting
    assert not house.cascade._again.busy
