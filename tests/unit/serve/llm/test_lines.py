"""Lines of every kind of stage in every combination: one end or none, and nothing is left, whatever happens when."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.engine import EngineTraits, Event, Running
from fairlead.contracts.errors import ContextTooLong, EngineLost, FairleadError, ModelFailed, QueueFull, Unavailable
from fairlead.contracts.generation import Begun, Generation, Message, Sampling
from fairlead.contracts.guardrail import Action, Channel, DetectorOptions, Finding
from fairlead.contracts.ledger import Budget, Price, Window
from fairlead.contracts.limits import Charge, Limits, Measure, Period, Quota, Rate, Verdict
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.limits.rules import EndpointLimits, Rules
from fairlead.serve.limits.sharing import Sharing as SharedLimits
from fairlead.serve.llm.ask import Ask, Enter, Stage, line, over
from fairlead.serve.llm.cache.meaning import Meaning
from fairlead.serve.llm.cache.shelf import Shelf
from fairlead.serve.llm.cache.stage import Caching
from fairlead.serve.llm.cache.stage import Rules as CacheRules
from fairlead.serve.llm.cache.trial import Trial
from fairlead.serve.llm.cascade.settings import Climbing, Step
from fairlead.serve.llm.cascade.stage import Cascade
from fairlead.serve.llm.chats import Chat, Chats
from fairlead.serve.llm.fair.settings import Sharing
from fairlead.serve.llm.fair.stage import Fair
from fairlead.serve.llm.guard.answered import AnsweredGuard
from fairlead.serve.llm.guard.asked import AskedGuard
from fairlead.serve.llm.guard.examine import Examiner
from fairlead.serve.llm.guard.pii.detector import Pii
from fairlead.serve.llm.guard.rules import Rule
from fairlead.serve.llm.ledger.books import Books
from fairlead.serve.llm.ledger.ledger import Ledger
from fairlead.serve.llm.ledger.prices import PriceBook
from fairlead.serve.llm.ledger.stage import LedgerStage
from fairlead.serve.llm.limiting import LimitStage
from fairlead.serve.llm.measuring import Measuring
from fairlead.serve.llm.route.settings import Routing
from fairlead.serve.llm.route.stage import Routes
from fairlead.testing.clock import ManualClock
from fairlead.testing.ledgers import MemoryLedger
from fairlead.testing.scripted import ScriptedEngine, said
from fairlead.testing.sinks import MemorySink
from fairlead.testing.timers import ManualTimers
from fairlead.testing.vectors import BruteIndex

NAMES = ("measuring", "limiting", "spending", "asking", "caching", "answering", "cascade", "route", "fair")
TEXTS = ("hello there", "write to bo@example.com please", "this is evil", "hello " * 200)


class Engine(ScriptedEngine):
    """Counts later, as real ones do, and fails to at times."""

    chance: random.Random

    @property
    def traits(self) -> EngineTraits:
        return EngineTraits("scripted", context=300, parallel=self._parallel, resumes=self.resumes)

    async def count(self, asked: Generation) -> int:
        await asyncio.sleep(0)
        if self.chance.random() < 0.2:
            raise self.chance.choice([Unavailable("no"), ContextTooLong("long"), ValueError("x")])
        return 2


class Elsewhere:
    """A guardrail of another server."""

    name, cost = "remote", 0.05

    def __init__(self, chance: random.Random, reach: int) -> None:
        self.chance, self.reach = chance, reach

    async def ask(self, text: str, channel: Channel, seconds: float) -> Sequence[Finding]:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)
        if self.chance.random() < 0.1:
            raise self.chance.choice([Unavailable("away"), ValueError("x")])
        at = text.find("evil")
        return [Finding("bad", at, at + 4, 1.0)] if at >= 0 else []

    async def close(self) -> None: ...


class Store:
    """Limits that several servers share."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    async def take(self, calls: Sequence[Sequence[Charge]]) -> list[Verdict]:
        await asyncio.sleep(0)
        if self.chance.random() < 0.1:
            raise Unavailable("away")
        if self.chance.random() < 0.1:
            return [Verdict(2.0, 0, tuple((0, 2.0) for _ in call)) for call in calls]
        return [Verdict(0.0, -1, tuple((5, 1.0) for _ in call)) for call in calls]

    async def add(self, charges: Sequence[Charge]) -> None: ...

    async def close(self) -> None: ...


@dataclass
class One:
    """A request and what it was told. ``cut``: events at its cancellation; -1: it was not cancelled."""

    told: list[Event] = field(default_factory=list)
    running: Running | None = None
    cut: int = -1

    def cancel(self) -> None:
        if self.running is not None:
            if self.cut < 0:
                self.cut = len(self.told)
            self.running.cancel()


class House:
    """``chat``, with ``small``, ``a`` and ``b`` behind it; each has stages of its own, drawn by lot."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.clock = chance, ManualClock()
        self.timers = ManualTimers(self.clock)
        self.chats, self.sink = Chats(), MemorySink()
        self.engines: list[Engine] = []
        self.fairs: list[Fair] = []
        self.routes: list[Routes] = []
        self.cascades: list[Cascade] = []
        self.caches: list[Caching] = []
        self.limiters: list[Limiter] = []
        self.every: list[One] = []
        self.callers = [Caller("shop", "key", (), "acme"), Caller("till", "key", (), "acme"), None]
        budgets = [Budget("t", chance.choice([400, 4000, 10**6]), Window.TOTAL), Budget("m", 10**9, Window.DAY, "USD")]
        self.store = MemoryLedger()
        prices = PriceBook([Price(name, 0, "USD", 10**6, 10**6, 10**6, 10**6) for name in ("chat", "small", "a", "b")])
        self.ledger = Ledger(self.store, prices, Books(budgets), self.clock, self.sink, project="p", closed=True)
        for name in ("small", "a", "b"):
            self.endpoint(name, [one for one in NAMES if one not in ("cascade", "route") and chance.random() < 0.4])
        self.wanted = [one for one in NAMES if chance.random() < 0.6]
        self.line = self.endpoint("chat", self.wanted)

    def endpoint(self, name: str, wanted: list[str]) -> Enter:
        engine = Engine(self.script, self.timers, most=self.chance.choice([2, 1000]), parallel=2)
        engine.chance = self.chance
        self.engines.append(engine)
        made: list[Stage] = [getattr(self, one)(name, engine) for one in wanted]
        enter = line(made, engine)
        self.chats.put(Chat(name, engine, enter))
        return enter

    def measuring(self, name: str, _engine: Engine) -> Stage:
        return Measuring(self.sink.chat(name), self.clock)

    def limiting(self, name: str, engine: Engine) -> Stage:
        rated = Limits((Rate(60_000, 60.0, Measure.TOKENS, 6000),), (Quota(10**6, Period.DAY, Measure.TOKENS),), 4)
        others = SharedLimits(Store(self.chance), "redis", lambda *_: None) if self.chance.random() < 0.5 else None
        rules = Rules(endpoints={name: EndpointLimits(either=rated)})
        limiter = Limiter(rules, self.clock, lambda *_: None, None, others)
        self.limiters.append(limiter)
        return LimitStage(limiter, name, engine)

    def spending(self, name: str, engine: Engine) -> Stage:
        return LedgerStage(self.ledger, name, (name,), engine)

    def rules(self) -> Examiner:
        chance = self.chance
        found = [Rule("pii", Action.MASK, Pii(DetectorOptions("pii")))]
        if chance.random() < 0.5:  # alone: the others would be asked in threads
            found = [Rule("remote", Action.BLOCK, None, Elsewhere(chance, 0), opens=chance.random() < 0.5)]
        return Examiner(found, 5.0, self.clock.now)

    def asking(self, name: str, _engine: Engine) -> Stage:
        return AskedGuard(self.rules(), self.sink.guards(name), self.clock.now, self.chance.random() < 0.5)

    def answering(self, name: str, _engine: Engine) -> Stage:
        quick = [Rule("pii", Action.MASK, Pii(DetectorOptions("pii")))]
        none = Examiner([], 5.0, self.clock.now)
        judges = self.rules() if self.chance.random() < 0.5 else none
        return AnsweredGuard(quick, none, judges, none, self.sink.guards(name), self.clock.now)

    def caching(self, _name: str, _engine: Engine) -> Stage:
        shelf = Shelf(2**20, 5.0)
        told = lambda _outcome: None  # noqa: E731
        if self.chance.random() < 0.5:
            made = Caching(shelf, self.clock, CacheRules(), told)
        else:
            meaning = Meaning(shelf, BruteIndex, Trial(0.9, 0.01))
            made = Caching(shelf, self.clock, CacheRules(audit=0.5), told, meaning, self.embed, self.chance)
        self.caches.append(made)
        return made

    async def embed(self, text: str):
        await asyncio.sleep(0)
        if self.chance.random() < 0.1:
            raise self.chance.choice([Unavailable("no"), ValueError("x")])
        vector = np.ones(8 if self.chance.random() < 0.95 else 4, np.float32)
        vector[0] = len(text) % 7
        return vector

    def cascade(self, name: str, _engine: Engine) -> Stage:
        climbing = Climbing((Step("small", 0.8),), name, audit=self.chance.choice([0.0, 0.5]))
        made = Cascade(name, climbing, self.chats.resolve, self.clock, self.chance.random, lambda _: None, self.timers)
        self.cascades.append(made)
        return made

    def route(self, name: str, _engine: Engine) -> Stage:
        settings = Routing(
            ("a", "b"), own=self.chance.random() < 0.5, continues=self.chance.random() < 0.5,
            wake=self.chance.choice([0.0, 2.0]),
        )  # fmt: skip
        made = Routes(name, settings, self.chats.resolve, self.clock, self.timers)
        self.routes.append(made)
        return made

    def fair(self, name: str, engine: Engine) -> Stage:
        made = Fair(name, Sharing(queue=6), lambda: engine.traits.parallel, self.clock, self.timers)
        self.fairs.append(made)
        return made

    def script(self, _asked: Generation) -> list[Event | float]:
        chance = self.chance
        sure = chance.choice([math.log(0.95), math.log(0.4), None])
        text = chance.choice(["a few words. Of an answer.", "evil words of it", "mail bo@example.com <EMAIL_1> now"])
        made = said(text, delay=chance.choice([0.0, 0.0, 0.05, 0.3]), logprob=sure)
        if chance.random() < 0.3:
            errors: list[FairleadError] = [
                EngineLost("x"), QueueFull("x"), Unavailable("x", retry_after=1), ContextTooLong("x"), ModelFailed("x"),
            ]  # fmt: skip
            return [*made[: chance.randrange(len(made))], chance.choice(errors)]
        return made

    def ask(self) -> None:
        chance, one = self.chance, One()
        self.every.append(one)

        def tell(event: Event) -> None:
            one.told.append(event)
            if chance.random() < 0.05:
                one.cancel()
            if chance.random() < 0.05:
                chance.choice(self.every).cancel()
            if chance.random() < 0.01 and len(self.every) < 100:
                self.ask()

        asked = Generation(
            str(len(self.every)), "chat", (Message("user", chance.choice(TEXTS)),),
            Sampling(temperature=0.0, most=chance.choice([None, 4])), tenant=chance.choice("tu"),
            lane=chance.randrange(3), deadline=self.clock.now() + chance.choice([0.2, 2.0, math.inf]),
        )  # fmt: skip
        caller = chance.choice(self.callers)
        one.running = self.line(
            Ask(asked, self.clock.now(), "r", caller, prompt=chance.choice([-1, 2]), streams=chance.random() < 0.5),
            tell,
        )

    async def pause(self) -> None:
        for _ in range(self.chance.randrange(6)):
            await asyncio.sleep(0)
        self.timers.run(self.chance.choice([0.0, 0.05, 0.5]))

    async def settle(self) -> None:
        for _ in range(30):
            for _ in range(30):
                await asyncio.sleep(0)
            self.timers.run(20)


@pytest.mark.parametrize("seed", range(40))
async def test_each_ends_once_or_is_cancelled_and_nothing_is_left(seed: int) -> None:
    house = House(random.Random(seed))
    for _ in range(50):
        house.ask()
        if house.chance.random() < 0.2:
            house.chance.choice(house.every).cancel()
        await house.pause()
    await house.settle()
    for one in house.every:
        if one.cut >= 0:
            assert len(one.told) == one.cut, (house.wanted, one)
            assert sum(map(over, one.told)) <= 1
        else:
            ends = [at for at, event in enumerate(one.told) if over(event)]
            assert ends == [len(one.told) - 1], (house.wanted, one)
        assert sum(isinstance(event, Begun) for event in one.told) <= 1
    assert [engine.running for engine in house.engines] == [0, 0, 0, 0], house.wanted
    for fair in house.fairs:
        assert (fair.queue.requests, fair.slots.running, fair._requests) == (0, 0, {}), house.wanted
    assert all(not any(one.choosing.loads) for one in house.routes)
    assert not any(one._again.busy for one in house.cascades)
    assert all(one.settled for one in house.caches)
    assert not house.timers.waiting
    assert not house.store._held, house.wanted
    assert all(not one.reserved for one in house.store.balances())
    for meter in house.sink.chats.values():
        assert meter.questions == len(meter.told)
    for limiter in house.limiters:
        flying = [one for accounts in limiter._accounts.values() for found in accounts.values() for one in found.flying]
        assert all(not one.value for one in flying), house.wanted
