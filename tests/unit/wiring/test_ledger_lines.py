"""Where the ledger stands in a line: an answer is paid for once, by the endpoint whose engine made it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contracts.access import Caller
from fairlead.contracts.engine import EngineOptions, Event
from fairlead.contracts.errors import OverBudget, RateLimited
from fairlead.contracts.generation import Ended, Generation, Sampling, Tool
from fairlead.contracts.ledger import Budget, Window
from fairlead.contracts.limits import Limits, Measure, Rate
from fairlead.kit import config
from fairlead.kit.spec.cache import Cache, Semantic
from fairlead.kit.spec.cascade import Cascade
from fairlead.kit.spec.route import Route
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.limits.rules import EndpointLimits, Rules
from fairlead.serve.llm.ask import Ask
from fairlead.serve.llm.chats import Chat, Chats
from fairlead.serve.llm.ledger.books import Books
from fairlead.serve.llm.ledger.ledger import Ledger
from fairlead.serve.llm.ledger.prices import PriceBook
from fairlead.testing.clock import ManualClock
from fairlead.testing.engines import EchoEngine
from fairlead.testing.ledgers import MemoryLedger
from fairlead.testing.sinks import MemorySink
from fairlead.wiring.llm import lines
from fairlead.wiring.llm.around import Building, Surroundings
from fairlead.wiring.llm.wanted import Wanted

SHOP = Caller("shop", "key", ())
LOOK: dict[str, Any] = {"tools": (Tool("look"),), "choose": "required"}
"""An answer without log probabilities: no cascade is sure of it."""


async def _same(_endpoint: str, _text: str) -> np.ndarray:
    return np.ones(4, np.float32)


class Server:
    def __init__(self, tmp_path: Path) -> None:
        self.store, self.chats = MemoryLedger(), Chats()
        clock, sink = ManualClock(), MemorySink()
        books = Books([Budget("e", 10**6, Window.DAY, endpoint="*"), Budget("none", 1, Window.DAY, endpoint="limited")])
        ledger = Ledger(self.store, PriceBook(), books, clock, sink)
        minute = Limits((Rate(100.0, 60.0, Measure.TOKENS, 100.0),))
        rules = Rules(endpoints={"limited": EndpointLimits(either=minute)})
        self._around = Surroundings(
            config.home(tmp_path, environ={}),
            sink,
            clock,
            self.chats,
            Limiter(rules, clock, lambda *_: None),
            embed=_same,
            ledger=ledger,
        )

    async def put(self, name: str, engine: Any = None, **parts: Any) -> None:
        engine = engine or EchoEngine(EngineOptions(name, ""))
        await engine.start()
        wanted = Wanted(name, "echo", parts=parts)
        self.chats.put(Chat(name, engine, lines.built(Building(wanted, engine, self._around))))

    def ask(self, name: str, **more: Any) -> list[Event]:
        told: list[Event] = []
        asked = Generation("1", name, "one two three", Sampling(most=9), deadline=float("inf"), **more)
        self.last = Ask(asked, 0.0, "r", SHOP)
        self.chats.resolve(name).enter(self.last, told.append)
        return told

    def spent(self) -> dict[str, int]:
        assert all(one.reserved == 0 for one in self.store.balances())
        return {one.key: one.answers for one in self.store.balances() if one.answers}


async def test_an_answer_is_paid_for_once(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.put("small")
    await server.put("chat")
    await server.put("routed", route=Route(replicas=("small",)))
    assert isinstance(server.ask("chat")[-1], Ended)
    assert server.spent() == {"e@chat/tokens/day": 1}
    for _ in range(10):
        assert isinstance(server.ask("routed")[-1], Ended)
    spent = server.spent()
    assert spent.get("e@routed/tokens/day", 0) + spent.get("e@small/tokens/day", 0) == 10


async def test_what_was_kept_of_a_first_step_makes_the_second_no_cheaper(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.put("small", cache=Cache(exact="1h"))
    await server.put("big")
    await server.put("both", cascade=Cascade(steps=("small", "big"), threshold=0.5, audit=0))
    for _ in range(3):
        assert isinstance(server.ask("both", **LOOK)[-1], Ended)
    assert server.spent() == {"e@small/tokens/day": 1, "e@big/tokens/day": 3}
    assert "fairlead-cache" not in server.last.notes.headers


async def test_a_cheaper_endpoint_is_no_way_around_a_limit(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.put("small")
    await server.put("limited", route=Route(cheaper="small"))
    ends = [server.ask("limited")[-1] for _ in range(40)]
    assert not any(isinstance(one, OverBudget) for one in ends)
    answered = sum(isinstance(one, Ended) for one in ends)
    assert 100 // 6 - 2 <= answered <= 100 // 6, answered
    assert all(isinstance(one, RateLimited) for one in ends[answered:])


async def test_no_caller_pays_for_an_audit_of_the_cache(tmp_path: Path) -> None:
    server = Server(tmp_path)
    await server.put("small")
    semantic = Semantic(embedding="e", audit=1.0)
    await server.put("front", route=Route(replicas=("small",)), cache=Cache(exact="1h", semantic=semantic))
    for text in ("how do I reset it", "how can I reset it"):
        asked = Generation("1", "front", text, Sampling(most=9), deadline=float("inf"))
        ask = Ask(asked, 0.0, "r", SHOP)
        server.chats.resolve("front").enter(ask, lambda _event: None)
        for _ in range(50):
            await asyncio.sleep(0)
    assert ask.notes.facts["cache"] == "semantic"
    assert [one.account.key for one in server.store.spends()] == ["shop", ""]
