"""Where the ledger stands in a line: an answer is paid for once, by the endpoint whose engine made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairlead.contracts.engine import EngineOptions, Event
from fairlead.contracts.generation import Ended, Generation, Sampling
from fairlead.contracts.ledger import Budget, Window
from fairlead.kit import config
from fairlead.kit.spec.route import Route
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
from fairlead.wiring.llm.wanted import Building, Surroundings, Wanted


class Server:
    def __init__(self, tmp_path: Path) -> None:
        self.store, self.chats = MemoryLedger(), Chats()
        clock, sink = ManualClock(), MemorySink()
        books = Books([Budget("e", 10**6, Window.DAY, endpoint="*")])
        ledger = Ledger(self.store, PriceBook(), books, clock, sink)
        self._around = Surroundings(config.home(tmp_path, environ={}), sink, clock, self.chats, ledger=ledger)

    async def put(self, name: str, **parts: Any) -> None:
        engine = EchoEngine(EngineOptions(name, ""))
        await engine.start()
        wanted = Wanted(name, "echo", parts=parts)
        self.chats.put(Chat(name, engine, lines.built(Building(wanted, engine, self._around))))

    def ask(self, name: str) -> list[Event]:
        told: list[Event] = []
        asked = Generation("1", name, "one two three", Sampling(most=9), deadline=float("inf"))
        self.chats.resolve(name).enter(Ask(asked, 0.0, "r"), told.append)
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
