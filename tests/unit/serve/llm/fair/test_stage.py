"""One engine, many tenants: nothing lost, no double end, no starvation, and the bound of fairness."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from fairlead.contracts.engine import Event, Running
from fairlead.contracts.errors import DeadlineExceeded, EngineLost, Overloaded, QueueFull
from fairlead.contracts.generation import Begun, Ended, Generation, Piece, Sampling, Usage
from fairlead.serve.llm.ask import Ask, last, over
from fairlead.serve.llm.fair.settings import Sharing
from fairlead.serve.llm.fair.stage import Fair
from fairlead.testing.clock import ManualClock
from fairlead.testing.scripted import Script, ScriptedEngine
from fairlead.testing.timers import ManualTimers


def words(asked: Generation) -> list[Event | float]:
    """As many tokens as are asked for, ten a second; the prompt has as many tokens as characters."""
    assert isinstance(asked.prompt, str)
    made = asked.sampling.most or 1
    script: list[Event | float] = [0.1, Begun(Usage(input=len(asked.prompt)))]
    for _ in range(made):
        script += [0.1, Piece("w ")]
    return [*script, Ended("stop", Usage(input=len(asked.prompt), output=made))]


class Rig:
    """A stage over a scripted engine, and what each request was told."""

    def __init__(self, settings: Sharing | None = None, script: Script = words, most: int = 1000, parallel: int = 4):
        self.clock = ManualClock()
        self.timers = ManualTimers(self.clock)
        self.engine = ScriptedEngine(script, self.timers, most, parallel)
        self.fair = Fair("chat", settings or Sharing(), lambda: self.engine.traits.parallel, self.clock, self.timers)
        self.line = self.fair.stage(last(self.engine))
        self.told: dict[str, list[Event]] = {}
        self.first: dict[str, float] = {}
        self.on: Callable[[str, Event], None] = lambda _id, _event: None
        self._count = 0

    def ask(
        self, tenant: str = "a", most: int = 5, lane: int = 1, prompt: int = 5, deadline: float = float("inf")
    ) -> tuple[str, Running]:
        self._count += 1
        name = f"{tenant}{self._count}"
        asked = Generation(name, "chat", "p" * prompt, Sampling(most=most), tenant=tenant, lane=lane, deadline=deadline)
        self.told[name] = []

        def tell(event: Event) -> None:
            if isinstance(event, Piece):
                self.first.setdefault(name, self.clock.now())
            self.told[name].append(event)
            self.on(name, event)

        return name, self.line(Ask(asked, self.clock.now(), name, prompt=prompt), tell)

    def ended(self, name: str) -> Event | None:
        told = self.told[name]
        assert sum(map(over, told)) <= 1
        if told and over(told[-1]):
            return told[-1]
        assert not any(map(over, told))
        return None

    def idle(self) -> bool:
        return not self.fair.queue.requests and not self.fair.slots.running and not self.engine.running


def test_an_idle_engine_is_asked_at_once() -> None:
    rig = Rig()
    name, _ = rig.ask()
    assert rig.engine.running == 1
    rig.timers.run(1)
    assert isinstance(rig.ended(name), Ended)
    assert rig.idle()


def test_no_more_run_than_the_engine_is_best_at_and_the_rest_waits() -> None:
    rig = Rig(Sharing(spare=0))
    names = [rig.ask()[0] for _ in range(20)]
    assert (rig.engine.high, rig.fair.queue.requests) == (4, 16)
    rig.timers.run(10)
    assert all(isinstance(rig.ended(name), Ended) for name in names)
    assert rig.engine.high == 4
    assert rig.idle()


def test_one_tenant_floods_and_the_other_is_next() -> None:
    rig = Rig(Sharing(spare=0), parallel=1)
    for _ in range(20):
        rig.ask("flood", most=10)
    rig.timers.run(1.0)
    name, _ = rig.ask("other", most=1)
    rig.timers.run(0.7)
    assert isinstance(rig.ended(name), Ended)


def test_a_spare_place_is_kept_for_others_only_while_there_are_some() -> None:
    rig = Rig(Sharing(spare=1))
    for _ in range(8):
        rig.ask("flood", most=50)
    assert rig.engine.running == 4  # alone: all of it
    rig = Rig(Sharing(spare=1))
    rig.ask("other", most=1)
    rig.timers.run(2)
    for _ in range(8):
        rig.ask("flood", most=50)
    assert rig.engine.running == 3
    rig.ask("other", most=1)
    assert rig.engine.running == 4
    rig.timers.run(2)
    assert rig.engine.running == 3
    rig.ask("flood", most=1, lane=2)
    assert rig.engine.running == 3


@pytest.mark.parametrize("seed", range(20))
def test_two_that_wait_all_the_time_get_the_same_within_the_bound(seed: int) -> None:
    chance = random.Random(seed)
    settings = Sharing(spare=0, tenant=1.0, lead=0.0, cached=1.0, weights={"a": 1.0, "b": 2.0})
    rig = Rig(settings, parallel=chance.choice([1, 2, 4]))
    longest, most = 60, 12

    def more(tenant: str) -> None:
        rig.ask(tenant, most=chance.randint(1, most), prompt=chance.randint(1, longest))

    def keep(name: str, event: Event) -> None:
        if over(event):
            more(name[0])

    rig.on = keep
    for tenant in "ab":
        for _ in range(12):
            more(tenant)
    at_once = rig.engine.traits.parallel
    bound = 2 * max(settings.input * longest, settings.output * most * at_once) + settings.input * longest
    start = {tenant: rig.fair.counters.of(tenant) for tenant in "ab"}
    for _ in range(60):
        rig.timers.run(1.0)
        had = [rig.fair.counters.of(tenant) - start[tenant] for tenant in "ab"]
        assert abs(had[0] - had[1]) <= bound
    assert min(had) > 5 * bound / 10
    assert rig.fair.measured.evenness() > 0.9


def test_idle_time_is_no_credit() -> None:
    rig = Rig(Sharing(spare=0), parallel=1)
    for _ in range(10):
        rig.ask("a", most=20)
    rig.timers.run(10)
    late = [rig.ask("late", most=20)[0] for _ in range(10)]
    rig.timers.run(20)
    assert sum(isinstance(rig.ended(name), Ended) for name in late) <= 6  # half of the time, not all of it


def test_batch_comes_last_and_does_not_starve() -> None:
    rig = Rig(Sharing(spare=0, age=5.0, lead=1e9), parallel=1)
    rig.on = lambda name, event: over(event) and name[0] == "a" and rig.ask("a", most=5, lane=0)  # type: ignore[func-returns-value]
    for _ in range(3):
        rig.ask("a", most=5, lane=0)
    slow, _ = rig.ask("b", most=1, lane=2)
    rig.timers.run(9)
    assert rig.ended(slow) is None
    rig.timers.run(4)
    assert isinstance(rig.ended(slow), Ended)


def test_a_full_queue_refuses_and_one_tenant_cannot_fill_it() -> None:
    rig = Rig(Sharing(queue=8, spare=0), parallel=1)
    names = [rig.ask("flood")[0] for _ in range(6)]
    error = rig.ended(names[-1])
    assert isinstance(error, QueueFull)
    assert error.retry_after
    assert rig.ended(rig.ask("other")[0]) is None
    for who in "cde":
        assert rig.ended(rig.ask(who)[0]) is None
    assert rig.fair.queue.requests == 8
    displaced = names[4]
    assert rig.ended(rig.ask("f")[0]) is None  # the flood makes way
    assert isinstance(rig.ended(displaced), Overloaded)
    assert rig.fair.queue.requests == 8


def test_a_tenants_own_batch_makes_way_for_what_is_urgent() -> None:
    rig = Rig(Sharing(queue=8, spare=0), parallel=1)
    names = [rig.ask("a", lane=2)[0] for _ in range(5)]
    assert isinstance(rig.ended(rig.ask("a", lane=2)[0]), QueueFull)
    urgent, _ = rig.ask("a", lane=0)
    assert rig.ended(urgent) is None
    assert isinstance(rig.ended(names[-1]), Overloaded)
    assert rig.fair.queue.by_lane == [1, 0, 3]
    rig.timers.run(1.3)
    assert isinstance(rig.ended(urgent), Ended)
    assert rig.ended(names[1]) is None


def test_a_queue_is_full_by_tokens_too() -> None:
    rig = Rig(Sharing(tokens=100, tenant=1.0, spare=0), parallel=1)
    rig.ask("a", prompt=90)
    assert rig.ended(rig.ask("a", prompt=90)[0]) is None
    error = rig.ended(rig.ask("b", prompt=20)[0])
    assert isinstance(error, QueueFull)
    assert "110" not in str(error)
    assert "tokens of prompts wait" in str(error)


def test_a_deadline_ends_what_waits_and_refuses_what_would_be_late() -> None:
    rig = Rig(Sharing(spare=0), parallel=1)
    assert isinstance(rig.ended(rig.ask(deadline=0.0)[0]), DeadlineExceeded)
    rig.ask(most=10)
    name, _ = rig.ask(deadline=0.5)
    rig.timers.run(0.6)
    assert isinstance(rig.ended(name), DeadlineExceeded)
    for _ in range(30):
        rig.ask(most=1)
    rig.timers.run(5)
    waiting = rig.fair.queue.requests
    error = rig.ended(rig.ask(deadline=rig.clock.now() + 0.5)[0])
    assert isinstance(error, Overloaded)
    assert error.retry_after
    assert rig.fair.queue.requests == waiting
    assert rig.ended(rig.ask(deadline=rig.clock.now() + 60)[0]) is None


def test_an_engine_without_room_is_waited_for() -> None:
    rig = Rig(Sharing(spare=0), most=2, parallel=8)
    names = [rig.ask()[0] for _ in range(10)]
    assert rig.engine.running == 2
    rig.timers.run(10)
    assert all(isinstance(rig.ended(name), Ended) for name in names)
    assert rig.engine.high == 2
    assert rig.engine.refused < 12
    assert rig.idle()


def test_an_engine_that_others_fill_is_asked_again_later() -> None:
    rig = Rig(most=0)
    name, running = rig.ask()
    rig.timers.run(3)
    assert rig.ended(name) is None
    assert 3 <= rig.engine.refused <= 10
    running.cancel()
    rig.timers.run(5)
    assert rig.told[name] == []
    assert rig.fair.queue.requests == 0


def test_an_engine_that_dies_ends_what_it_had_and_no_more() -> None:
    rig = Rig(Sharing(spare=0), script=lambda _: [0.1, Begun(Usage(1)), EngineLost("dead", retry_after=1)])
    names = [rig.ask()[0] for _ in range(9)]
    rig.timers.run(1)
    assert all(isinstance(rig.ended(name), EngineLost) for name in names)
    assert rig.idle()


@pytest.mark.parametrize("at", ["begun", "piece", "end"])
def test_cancelled_inside_what_it_is_told(at: str) -> None:
    sync = Rig(script=lambda _: [Begun(Usage(1)), Piece("a"), Piece("b"), Ended("stop", Usage(1, 0, 2))], parallel=1)
    running: list[Running] = []
    told: list[Event] = []

    def tell(event: Event) -> None:
        told.append(event)
        if isinstance(event, {"begun": Begun, "piece": Piece, "end": Ended}[at]):
            running[0].cancel() if running else None

    first, _ = sync.ask()
    assert isinstance(sync.ended(first), Ended)
    sync.engine._script = lambda _: [0.1, Begun(Usage(1)), Piece("a"), Piece("b"), Ended("stop", Usage(1, 0, 2))]
    running.append(sync.line(Ask(Generation("x", "chat", "p"), 0.0, "x"), tell))
    waiting, _ = sync.ask("b")
    sync.timers.run(1)
    assert len(told) == {"begun": 1, "piece": 2, "end": 4}[at]
    assert isinstance(sync.ended(waiting), Ended)
    running[0].cancel()
    assert sync.idle()


def test_asking_again_from_inside_an_end_does_not_go_deep() -> None:
    rig = Rig(script=lambda _: [Begun(Usage(1)), Ended("stop", Usage(1))], parallel=1)
    rig.engine._script = lambda asked: [0.1, Begun(Usage(1)), Ended("stop", Usage(1))]
    names = [rig.ask()[0] for _ in range(100)]
    rig.engine._script = lambda asked: [Begun(Usage(1)), Ended("stop", Usage(1))]
    rig.timers.run(1)  # the ninety-nine others end inside the end of the first
    assert all(isinstance(rig.ended(name), Ended) for name in names)
    assert rig.idle()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_comes_each_ends_once_or_is_cancelled(seed: int) -> None:  # noqa: C901 - one story
    chance = random.Random(seed)

    def script(asked: Generation) -> list[Event | float]:
        usual = words(asked)
        if chance.random() < 0.3:
            usual = [one for one in usual if not isinstance(one, float)]  # tells before it returns
        if chance.random() < 0.2:
            usual = [*usual[: chance.randrange(len(usual))], EngineLost("dead", retry_after=1)]
        return usual

    settings = Sharing(queue=12, tokens=200, spare=chance.choice([None, 0, 1]))
    rig = Rig(settings, script, most=chance.choice([2, 3, 1000]), parallel=chance.choice([1, 2, 4]))
    live: dict[str, Running] = {}
    cancelled: dict[str, int] = {}

    def cancel(name: str) -> None:
        if name in live and name not in cancelled:
            cancelled[name] = len(rig.told[name])
            live[name].cancel()

    def on(name: str, _event: Event) -> None:
        if chance.random() < 0.05:
            cancel(chance.choice([name, *live]))
        if chance.random() < 0.02 and len(rig.told) < 300:
            new, running = rig.ask(chance.choice("abc"), chance.randint(1, 8), chance.randint(0, 2))
            live[new] = running

    rig.on = on
    for _ in range(150):
        deadline = rig.clock.now() + chance.choice([0.05, 1.0, 5.0, 1000.0])
        name, running = rig.ask(
            chance.choice("aaab"), chance.randint(1, 8), chance.randint(0, 2), chance.randint(1, 40), deadline
        )
        live[name] = running
        if chance.random() < 0.1:
            cancel(chance.choice(list(live)))
        rig.timers.run(chance.choice([0.0, 0.02, 0.2, 0.5]))
    rig.on = lambda _name, _event: None
    rig.timers.run(1000)
    for name, told in rig.told.items():
        if name in cancelled:
            assert len(told) == cancelled[name]
        else:
            assert rig.ended(name) is not None, name
    assert rig.idle()
    assert not rig.timers.waiting
    assert not rig.fair._requests


def test_figures_say_what_was_done() -> None:
    rig = Rig(Sharing(weights={"gold": 2.0}, spare=0), parallel=1)
    for tenant in ("gold", "b", "c"):
        rig.ask(tenant)
    found = {(one.name, one.labels): one for one in rig.fair.figures()}
    assert found["fairlead_llm_waiting", (("endpoint", "chat"), ("lane", "standard"))].value == 2
    assert found["fairlead_llm_running", (("endpoint", "chat"),)].value == 1
    rig.timers.run(5)
    found = {(one.name, one.labels): one for one in rig.fair.figures()}
    tokens = {labels[1][1]: one.value for (name, labels), one in found.items() if name == "fairlead_llm_shared_tokens"}
    assert set(tokens) == {"gold", "other"}
    waits = found["fairlead_llm_wait_seconds", (("endpoint", "chat"), ("lane", "standard"))]
    assert waits.within[-1][1] == 3
