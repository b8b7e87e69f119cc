"""Failover, continuation and waiting: one Begun, pieces in order, one end."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from fairlead.contracts.engine import Event, Running
from fairlead.contracts.errors import (
    CircuitOpen,
    ContextTooLong,
    DeadlineExceeded,
    EngineLost,
    OverBudget,
    QueueFull,
    Unavailable,
    UsageError,
)
from fairlead.contracts.generation import Begun, Ended, Generation, Message, Piece, Sampling, Usage
from fairlead.serve.llm.ask import Ask, last, over
from fairlead.serve.llm.chats import Chat, Chats
from fairlead.serve.llm.route.cheaper import Cheaper
from fairlead.serve.llm.route.settings import Routing
from fairlead.serve.llm.route.stage import Routes
from fairlead.serve.resilience.breaker import BreakerPolicy
from fairlead.testing.clock import ManualClock
from fairlead.testing.scripted import Script, ScriptedEngine, said
from fairlead.testing.timers import ManualTimers


class Rig:
    """Endpoints a, b, c with scripts, and one over them."""

    def __init__(self, scripts: dict[str, Script], settings: Routing, **most: int) -> None:
        self.clock = ManualClock()
        self.timers = ManualTimers(self.clock)
        self.chats = Chats()
        self.engines = {name: ScriptedEngine(one, self.timers) for name, one in scripts.items()}
        for name, engine in self.engines.items():
            self.chats.put(Chat(name, engine, last(engine), most=most.get(name)))
        self.routes = Routes("chat", settings, self.chats.resolve, self.clock, self.timers)
        self.line = self.routes.stage(last(self.engines["own"]) if "own" in self.engines else last(None))  # type: ignore[arg-type]
        self.told: list[Event] = []
        self.asked: Ask | None = None

    def ask(self, generation: Generation | None = None) -> Running:
        self.told = told = []
        self.asked = Ask(generation or Generation("1", "chat", (Message("user", "hi"),)), 0.0, "r")
        return self.line(self.asked, told.append)

    @property
    def text(self) -> str:
        return "".join(one.text for one in self.told if isinstance(one, Piece)).strip()

    @property
    def end(self) -> Event:
        assert sum(map(over, self.told)) == 1
        assert over(self.told[-1])
        assert sum(isinstance(one, Begun) for one in self.told) <= 1
        return self.told[-1]

    @property
    def header(self) -> str:
        assert self.asked is not None
        return self.asked.notes.headers["fairlead-route"]


def well(text: str) -> Script:
    return lambda _asked: said(text, delay=0.1)


def fails(error: Exception, after: Sequence[str] = ()) -> Script:
    pieces: list[Event | float] = [Begun(Usage(3)), *[Piece(f"{one} ") for one in after]] if after else []
    return lambda _asked: [0.1, *pieces, error]  # type: ignore[list-item]


LOST = EngineLost("gone", retry_after=1)
AB = Routing(replicas=("a", "b"))


def test_before_the_first_token_another_one_answers_and_nobody_sees_it() -> None:
    rig = Rig({"a": fails(LOST), "b": well("hello there")}, AB)
    rig.ask()
    rig.timers.run(5)
    assert isinstance(rig.end, Ended)
    assert rig.text == "hello there"
    assert rig.header == "b"
    assert rig.end.usage == Usage(1, 0, 2)
    assert rig.asked is not None
    assert rig.asked.notes.facts["route"] == ("a", "b")
    assert rig.engines["b"].asked[0].model == "b"


def test_what_the_caller_did_wrong_is_told_at_once() -> None:
    rig = Rig({"a": fails(ContextTooLong("too long")), "b": well("no")}, AB)
    rig.ask()
    rig.timers.run(5)
    assert isinstance(rig.end, ContextTooLong)
    assert not rig.engines["b"].asked
    assert rig.routes.choosing.left_out() == []


def test_after_the_first_token_the_error_is_told() -> None:
    rig = Rig({"a": fails(LOST, ["half"]), "b": well("no")}, AB)
    rig.ask()
    rig.timers.run(5)
    assert rig.end is LOST
    assert rig.text == "half"
    assert not rig.engines["b"].asked


def test_or_another_one_goes_on_where_it_stopped() -> None:
    rig = Rig({"a": fails(LOST, ["one", "two"]), "b": well("three four")}, Routing(replicas=("a", "b"), continues=True))
    rig.ask(Generation("1", "chat", (Message("user", "count"),), Sampling(most=10)))
    rig.timers.run(5)
    assert isinstance(rig.end, Ended)
    assert rig.text == "one two three four"
    assert rig.end.usage == Usage(4, 0, 4)
    asked = rig.engines["b"].asked[0]
    assert asked.prompt[-1] == Message("assistant", "one two ")
    assert asked.resumes
    assert asked.sampling.most == 8
    assert rig.asked is not None
    assert rig.asked.notes.headers["fairlead-continued"] == "true"


def test_nobody_goes_on_who_cannot() -> None:
    scripts = {"a": fails(LOST, ["one"]), "b": well("two")}
    rig = Rig(scripts, Routing(replicas=("a", "b", "gone"), continues=True))
    rig.engines["b"].resumes = False
    rig.ask()
    rig.timers.run(5)
    assert rig.end is LOST
    assert not rig.engines["b"].asked
    rig.ask(Generation("1", "chat", "a text"))
    rig.timers.run(5)
    assert rig.text == "one two"


def test_a_lost_answer_that_was_as_long_as_it_may_be_ends() -> None:
    rig = Rig({"a": fails(LOST, ["one", "two"]), "b": well("three")}, Routing(replicas=("a", "b"), continues=True))
    rig.ask(Generation("1", "chat", "count", Sampling(most=2)))
    rig.timers.run(5)
    assert rig.end == Ended("length", Usage(3, 0, 2))
    assert not rig.engines["b"].asked


def test_what_has_a_shape_is_not_continued() -> None:
    rig = Rig({"a": fails(LOST, ["{"]), "b": well("}")}, Routing(replicas=("a", "b"), continues=True))
    rig.ask(Generation("1", "chat", "x", Sampling(logprobs=1)))
    rig.timers.run(5)
    assert rig.end is LOST


def test_fallbacks_come_last_and_all_failing_tells_the_last_error() -> None:
    settings = Routing(replicas=("a",), fallback=("b", "c"))
    rig = Rig({"a": fails(LOST), "b": fails(QueueFull("full", retry_after=2)), "c": well("ok")}, settings)
    rig.ask()
    rig.timers.run(5)
    assert rig.text == "ok"
    assert rig.header == "c"
    rig = Rig({"a": fails(LOST), "b": fails(LOST), "c": fails(QueueFull("full", retry_after=2))}, settings)
    rig.ask()
    rig.timers.run(5)
    assert isinstance(rig.end, QueueFull)


def test_its_own_engine_is_the_first_replica() -> None:
    rig = Rig({"own": fails(LOST), "b": well("from b")}, Routing(fallback=("b",), own=True))
    rig.ask()
    rig.timers.run(5)
    assert rig.text == "from b"
    assert rig.engines["own"].asked[0].model == "chat"


def test_retries_are_a_share_of_the_requests() -> None:
    rig = Rig({"a": fails(LOST), "b": fails(LOST)}, Routing(replicas=("a", "b"), budget=0.0))
    for _ in range(30):
        rig.ask()
        rig.timers.run(0.3)
        assert isinstance(rig.end, EngineLost | CircuitOpen)
    assert rig.routes.measured.retries["elsewhere"] <= 12
    assert rig.routes.choosing.left_out() == ["a", "b"]


def test_while_all_are_out_the_answer_is_quick() -> None:
    rig = Rig({"a": fails(LOST)}, Routing(replicas=("a",)))
    for _ in range(3):
        rig.ask()
        rig.timers.run(0.2)
    rig.ask()
    assert isinstance(rig.end, CircuitOpen)
    assert rig.end.retry_after
    assert len(rig.engines["a"].asked) == 3
    assert rig.routes.troubles() == ["a fails and is left out"]


def test_one_that_wakes_is_waited_for_within_the_deadline() -> None:
    rig = Rig({"a": well("awake")}, Routing(replicas=("a",), wake=30.0))
    ready = rig.engines["a"]._script
    rig.engines["a"]._script = fails(Unavailable("waking", retry_after=1))
    rig.ask(Generation("1", "chat", "x", deadline=20.0))
    rig.timers.run(6)
    assert rig.told == []
    rig.engines["a"]._script = ready
    rig.timers.run(3)
    assert rig.text == "awake"
    rig.engines["a"]._script = fails(Unavailable("waking", retry_after=1))
    rig.ask(Generation("1", "chat", "x", deadline=20.0))
    rig.timers.run(20)
    assert isinstance(rig.end, Unavailable)
    assert rig.clock.now() < 40


def test_one_that_loads_is_waited_for() -> None:
    rig = Rig({"a": well("loaded")}, Routing(replicas=("b",), wake=30.0))
    rig.chats.expect("b")
    rig.ask()
    rig.timers.run(3)
    assert rig.told == []
    rig.chats.put(Chat("b", rig.engines["a"], last(rig.engines["a"])))
    rig.timers.run(5)
    assert rig.text == "loaded"


def test_waiting_can_be_cancelled() -> None:
    rig = Rig({"a": fails(Unavailable("waking", retry_after=1))}, Routing(replicas=("a",), wake=30.0))
    running = rig.ask()
    rig.timers.run(3.5)
    running.cancel()
    running.cancel()
    rig.timers.run(30)
    assert rig.told == []
    assert rig.routes.choosing.loads == [0]
    assert not rig.timers.waiting


def test_an_endpoint_that_is_not_there_and_one_that_leads_back() -> None:
    rig = Rig({"a": well("no")}, Routing(replicas=("gone",), fallback=("a",)))
    rig.ask()
    rig.timers.run(3)
    assert rig.header == "a"
    rig.chats.put(Chat("ring", rig.engines["a"], rig.line))
    rig.routes = Routes("ring", Routing(replicas=("ring",)), rig.chats.resolve, rig.clock, rig.timers)
    rig.line = rig.routes.stage(rig.line)
    rig.ask()
    assert isinstance(rig.end, UsageError)


def test_a_deadline_that_is_over() -> None:
    rig = Rig({"a": well("late")}, Routing(replicas=("a",)))
    rig.ask(Generation("1", "chat", "x", deadline=0.0))
    assert isinstance(rig.end, DeadlineExceeded)


def test_what_is_counted() -> None:
    rig = Rig({"a": fails(LOST), "b": well("ok")}, AB)
    rig.ask()
    rig.timers.run(3)
    found = {(one.name, dict(one.labels).get("to", "")): one.value for one in rig.routes.figures()}
    assert found["fairlead_llm_route_outcomes", "b"] == 1
    assert found["fairlead_llm_route_running", "b"] == 0
    assert found["fairlead_llm_route_retries", ""] == 1


def test_limits_of_the_other_endpoint_hold() -> None:
    rig = Rig({"a": well("ok")}, Routing(replicas=("a",)), a=7)
    rig.ask(Generation("1", "chat", "x", Sampling(most=100)))
    assert rig.engines["a"].asked[0].sampling.most == 7


@pytest.mark.parametrize("sync", [False, True])
def test_over_budget_asks_the_cheaper_one(sync: bool) -> None:
    rig = Rig({"a": well("cheap")}, Routing(replicas=("a",)))
    dear = ScriptedEngine(lambda _: [0.0 if sync else 0.1, OverBudget("no")], rig.timers)
    rig.line = Cheaper("chat", "a", rig.chats.resolve).stage(last(dear))
    rig.ask()
    rig.timers.run(3)
    assert rig.text == "cheap"
    assert rig.header == "a"
    rig.ask().cancel()
    rig.timers.run(3)
    assert rig.told == []
    assert rig.engines["a"].running == 0


@pytest.mark.parametrize("seed", range(60))
def test_whatever_fails_each_ends_once_or_is_cancelled(seed: int) -> None:
    chance = random.Random(seed)

    def script(_asked: Generation) -> list[Event | float]:
        made = said("some words of an answer", delay=chance.choice([0.0, 0.05]))
        if chance.random() < 0.5:
            error = chance.choice([LOST, QueueFull("full"), Unavailable("waking", retry_after=1), ContextTooLong("x")])
            return [*made[: chance.randrange(len(made))], error]
        return made

    settings = Routing(
        replicas=("a", "b"), fallback=("c",), continues=chance.random() < 0.5, wake=chance.choice([0.0, 3.0])
    )
    rig = Rig(dict.fromkeys("abc", script), settings)
    every: list[tuple[list[Event], list[int], Running | None]] = []
    for _ in range(40):
        told: list[Event] = []
        cut: list[int] = []
        box: list[Running] = []

        def tell(event: Event, told: list[Event] = told, cut: list[int] = cut, box: list[Running] = box) -> None:
            told.append(event)
            if box and not cut and chance.random() < 0.05:
                cut.append(len(told))
                box[0].cancel()

        box.append(rig.line(Ask(Generation("1", "chat", "hello"), 0.0, "r"), tell))
        rig.timers.run(chance.choice([0.0, 0.1, 0.5]))
        if chance.random() < 0.1 and not cut:
            cut.append(len(told))
            box[0].cancel()
        every.append((told, cut, box[0]))
    rig.timers.run(100)
    for told, cut, _ in every:
        assert sum(isinstance(one, Begun) for one in told) <= 1
        if cut:
            assert len(told) == cut[0]
        else:
            assert [at for at, one in enumerate(told) if over(one)] == [len(told) - 1]
    assert rig.routes.choosing.loads == [0, 0, 0]
    assert all(engine.running == 0 for engine in rig.engines.values())


def test_a_fallback_that_stands_idle_is_no_extra_load() -> None:
    """Nobody is left out: every request fails at the replicas first, and the budget lasts for few of them."""
    settings = Routing(("a", "b"), ("c",), budget=0.0, breaker=BreakerPolicy(fail_max=0))
    rig = Rig({"a": fails(LOST), "b": fails(LOST), "c": well("ok")}, settings)
    for _ in range(60):
        rig.ask()
        rig.timers.run(0.5)
        assert isinstance(rig.end, Ended)
        assert rig.header == "c"
    assert len(rig.engines["c"].asked) == 60
    asked = len(rig.engines["a"].asked) + len(rig.engines["b"].asked)
    extra = asked - 60
    assert 0 < extra <= 30, extra  # ten in ten seconds, though each request had another replica to ask
    assert rig.routes.measured.retries["budget"] == 60 - extra
