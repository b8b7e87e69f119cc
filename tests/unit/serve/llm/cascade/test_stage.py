"""The cheap model first: what is kept, what climbs, and that each answer ends once."""

from __future__ import annotations

import math
import random

import pytest

from fairlead.contracts.engine import Event, Running, Tell
from fairlead.contracts.errors import ContentBlocked, ContextTooLong, DeadlineExceeded, EngineLost, QueueFull
from fairlead.contracts.generation import Begun, Chosen, Ended, Generation, Message, Piece, Sampling, Usage
from fairlead.serve.llm.ask import CACHED, KEPT, Ask, last, over
from fairlead.serve.llm.cache.shelf import Shelf
from fairlead.serve.llm.cache.stage import Caching, Rules
from fairlead.serve.llm.cascade.auditing import LOOK, Alarm
from fairlead.serve.llm.cascade.settings import Climbing, Step
from fairlead.serve.llm.cascade.stage import Cascade
from fairlead.serve.llm.cascade.training import train
from fairlead.serve.llm.chats import Chat, Chats
from fairlead.testing.clock import ManualClock
from fairlead.testing.scripted import Script, ScriptedEngine, said
from fairlead.testing.timers import ManualTimers

SURE, UNSURE = math.log(0.95), math.log(0.3)


class Rig:
    """``small`` and ``big``, and a cascade over them."""

    def __init__(self, small: Script, big: Script, step: Step | None = None, audit: float = 0.0) -> None:
        self.clock = ManualClock()
        self.timers = ManualTimers(self.clock)
        self.chats = Chats()
        self.small, self.big = ScriptedEngine(small, self.timers), ScriptedEngine(big, self.timers)
        self.chats.put(Chat("small", self.small, last(self.small)))
        self.chats.put(Chat("big", self.big, last(self.big)))
        self.alarms: list[Alarm] = []
        settings = Climbing((step or Step("small", 0.8),), "big", audit=audit, allowed=0.2)
        self.cascade = Cascade(
            "assistant", settings, self.chats.resolve, self.clock, lambda: 0.5, self.alarms.append, self.timers
        )
        self.line = self.cascade.stage(last(self.big))
        self.told: list[Event] = []
        self.asked: Ask | None = None

    def ask(self, generation: Generation | None = None) -> Running:
        self.told = told = []
        self.asked = Ask(generation or Generation("1", "assistant", (Message("user", "hi"),)), self.clock.now(), "r")
        return self.line(self.asked, told.append)

    @property
    def text(self) -> str:
        return "".join(one.text for one in self.told if isinstance(one, Piece)).strip()

    @property
    def end(self) -> Event:
        assert [at for at, one in enumerate(self.told) if over(one)] == [len(self.told) - 1]
        assert sum(isinstance(one, Begun) for one in self.told) <= 1
        return self.told[-1]

    @property
    def header(self) -> str:
        assert self.asked is not None
        return self.asked.notes.headers["fairlead-route"]


def small(logprob: float | None = SURE, delay: float = 0.1) -> Script:
    return lambda _asked: said("from the small one", delay=delay, logprob=logprob, prompt=3)


def big(delay: float = 0.1) -> Script:
    return lambda _asked: said("from the big one", delay=delay, prompt=3)


def test_a_sure_answer_is_held_and_then_told_at_once() -> None:
    rig = Rig(small(), big())
    rig.ask()
    rig.timers.run(0.45)
    assert rig.told == []
    rig.timers.run(0.1)
    assert rig.text == "from the small one"
    assert rig.end == Ended("stop", Usage(3, 0, 4))
    assert rig.header == "small"
    assert not rig.big.asked
    assert rig.small.asked[0].sampling.logprobs == 0
    assert not any(one.logprobs for one in rig.told if isinstance(one, Piece))
    assert rig.asked is not None
    assert rig.asked.notes.facts["confidence"] == pytest.approx(0.95)


def test_an_unsure_answer_climbs_and_the_big_one_streams() -> None:
    rig = Rig(small(UNSURE), big())
    rig.ask()
    rig.timers.run(0.85)
    assert rig.text == "from the"
    rig.timers.run(1)
    assert rig.text == "from the big one"
    assert rig.end == Ended("stop", Usage(6, 0, 8))
    assert rig.header == "big"
    assert rig.asked is not None
    assert rig.asked.notes.facts["cascade"] == ("small", "big")


def test_an_answer_that_nothing_is_known_of_climbs() -> None:
    rig = Rig(small(None), big())
    rig.ask()
    rig.timers.run(2)
    assert rig.text == "from the big one"


def test_logprobs_that_the_caller_wants_stay() -> None:
    rig = Rig(small(), big())
    rig.ask(Generation("1", "assistant", "x", Sampling(logprobs=2)))
    rig.timers.run(2)
    assert rig.small.asked[0].sampling.logprobs == 2
    pieces = [one for one in rig.told if isinstance(one, Piece)]
    assert all(isinstance(one.logprobs[0], Chosen) for one in pieces)


@pytest.mark.parametrize(
    "error", [EngineLost("gone"), QueueFull("full"), ContextTooLong("long"), DeadlineExceeded("x")]
)
def test_a_cheap_model_that_fails_costs_nobody_the_answer(error: Exception) -> None:
    rig = Rig(lambda _: [0.1, Begun(Usage(3)), Piece("half "), error], big())  # type: ignore[list-item]
    rig.ask()
    rig.timers.run(2)
    assert rig.text == "from the big one"
    assert rig.end == Ended("stop", Usage(6, 0, 5))


def test_what_a_guard_blocked_is_not_asked_elsewhere() -> None:
    rig = Rig(lambda _: [0.1, ContentBlocked("no")], big())
    rig.ask()
    rig.timers.run(2)
    assert isinstance(rig.end, ContentBlocked)
    assert not rig.big.asked


def test_a_slow_cheap_model_has_its_share_of_the_time() -> None:
    rig = Rig(small(delay=10.0), big())
    rig.ask(Generation("1", "assistant", "x", deadline=4.0))
    rig.timers.run(3)
    assert rig.text == "from the big one"
    assert (rig.small.running, rig.small.cancelled) == (0, 1)
    assert not rig.timers.waiting


def test_an_answer_that_is_too_long_to_hold_climbs() -> None:
    long: list[Event | float] = [
        0.1,
        Begun(Usage(3)),
        *[Piece("x" * 400_000) for _ in range(4)],
        Ended("stop", Usage(3)),
    ]
    rig = Rig(lambda _: list(long), big())
    rig.ask()
    rig.timers.run(3)
    assert rig.text == "from the big one"
    assert rig.end == Ended("stop", Usage(6, 0, 7))
    assert (rig.small.running, rig.small.cancelled) == (0, 1)


def test_a_model_that_was_never_fitted_is_not_asked() -> None:
    rig = Rig(small(), big(), Step("small", math.inf))
    rig.ask()
    rig.timers.run(2)
    assert rig.text == "from the big one"
    assert not rig.small.asked
    assert rig.cascade.troubles() == ["no answer of small is kept: fit it: fairlead cascade fit"]


def test_a_router_decides_by_the_question() -> None:
    router = train(["what is two and two"] * 50 + ["prove the theorem of"] * 50, [True] * 50 + [False] * 50)
    rig = Rig(small(None), big(), Step("small", 0.5, "router", router))
    rig.ask(Generation("1", "assistant", "what is two and two"))
    rig.timers.run(2)
    assert rig.text == "from the small one"
    rig.ask(Generation("1", "assistant", (Message("system", "what is"), Message("user", "prove the theorem of"))))
    rig.timers.run(2)
    assert rig.text == "from the big one"
    assert len(rig.small.asked) == 1


def test_its_own_engine_can_be_the_last_step() -> None:
    rig = Rig(small(UNSURE), big())
    settings = Climbing((Step("small", 0.8),), "assistant")
    rig.cascade = Cascade("assistant", settings, rig.chats.resolve, rig.clock, lambda: 1.0, rig.alarms.append)
    rig.line = rig.cascade.stage(last(rig.big))
    rig.ask()
    rig.timers.run(2)
    assert rig.text == "from the big one"


def test_kept_answers_are_asked_again_and_too_many_that_disagree_raise_the_threshold() -> None:
    sure = iter([math.log(0.81 + 0.001 * (one % 100)) for one in range(10_000)])
    rig = Rig(
        lambda _: said("paris it is", delay=0.1, logprob=next(sure)), lambda _: said("london", delay=0.1), audit=1.0
    )
    for _ in range(LOOK):
        rig.ask()
        rig.timers.run(1)
        assert rig.text == "paris it is"
    assert len(rig.alarms) == 1
    assert rig.big.asked[0].lane == 2
    assert rig.alarms[0].share == 1.0
    assert rig.alarms[0].threshold > 0.8
    for _ in range(LOOK * 12):
        rig.ask()
        rig.timers.run(1)
    assert rig.alarms[-1].threshold == math.inf
    assert len(rig.alarms) <= 4
    assert "disagreed" in rig.cascade.troubles()[0]
    before = len(rig.small.asked)
    rig.ask()
    rig.timers.run(1)
    assert (rig.text, len(rig.small.asked)) == ("london", before)


def test_kept_answers_that_agree_change_nothing() -> None:
    rig = Rig(small(), lambda _: said("from the small one, too", delay=0.1), audit=1.0)
    for _ in range(LOOK * 2):
        rig.ask()
        rig.timers.run(2)
    assert not rig.alarms
    found = {one.name: one.value for one in rig.cascade.figures()}
    assert found["fairlead_llm_cascade_audited"] == LOOK * 2
    assert found["fairlead_llm_cascade_kept"] == LOOK * 2


@pytest.mark.parametrize("where", ["held", "replay", "big"])
def test_cancelled_at_any_time(where: str) -> None:
    rig = Rig(small(UNSURE if where == "big" else SURE), big())
    running = rig.ask()
    told = rig.told
    if where == "replay":
        rig.line = rig.cascade.stage(last(rig.big))
        seen: list[Event] = []
        box: list[Running] = []

        def tell(event: Event) -> None:
            seen.append(event)
            if len(seen) == 3:
                box[0].cancel()

        box.append(rig.line(Ask(Generation("2", "assistant", "x"), 0.0, "r"), tell))
        running.cancel()
        rig.timers.run(2)
        assert len(seen) == 3
    else:
        rig.timers.run(0.25 if where == "held" else 0.75)
        running.cancel()
        running.cancel()
        before = len(told)
        rig.timers.run(2)
        assert len(told) == before
    assert (rig.small.running, rig.big.running) == (0, 0)
    assert not rig.timers.waiting


def test_an_answer_out_of_the_cheap_models_cache_that_is_not_kept_makes_the_next_one_no_gift() -> None:
    rig = Rig(small(UNSURE), big())
    cache = Caching(Shelf(2**20, 100.0), rig.clock, Rules(), lambda _: None)
    rig.chats.put(Chat("small", rig.small, cache.stage(last(rig.small))))
    for _ in range(2):
        rig.ask()
        rig.timers.run(5)
        assert rig.text == "from the big one"
        assert rig.asked is not None
        assert KEPT not in rig.asked.notes.facts
        assert CACHED not in rig.asked.notes.headers
    assert len(rig.small.asked) == 1


def test_one_that_is_kept_is_marked() -> None:
    rig = Rig(small(SURE), big())
    cache = Caching(Shelf(2**20, 100.0), rig.clock, Rules(), lambda _: None)
    rig.chats.put(Chat("small", rig.small, cache.stage(last(rig.small))))
    for marked in (False, True):
        rig.ask()
        rig.timers.run(5)
        assert rig.asked is not None
        assert (KEPT in rig.asked.notes.facts) is marked


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_each_ends_once_or_is_cancelled(seed: int) -> None:
    chance = random.Random(seed)

    def script(_asked: Generation) -> list[Event | float]:
        made = said("some words of it", delay=chance.choice([0.0, 0.1]), logprob=chance.choice([SURE, UNSURE, None]))
        if chance.random() < 0.4:
            return [*made[: chance.randrange(len(made))], chance.choice([EngineLost("x"), ContextTooLong("x")])]
        return made

    rig = Rig(script, script, audit=chance.choice([0.0, 1.0]))
    for _ in range(60):
        told: list[Event] = []
        cut: list[int] = []
        box: list[Running] = []

        def tell(event: Event, told: list[Event] = told, cut: list[int] = cut, box: list[Running] = box) -> None:
            told.append(event)
            if box and not cut and chance.random() < 0.1:
                cut.append(len(told))
                box[0].cancel()

        deadline = rig.clock.now() + chance.choice([0.3, 2.0, math.inf])
        asked = Ask(Generation("1", "assistant", "hello", deadline=deadline), rig.clock.now(), "r")
        box.append(rig.line(asked, tell))
        rig.timers.run(chance.choice([0.0, 0.2]))
        if chance.random() < 0.1 and not cut:
            cut.append(len(told))
            box[0].cancel()
        rig.timers.run(5)
        assert sum(isinstance(one, Begun) for one in told) <= 1
        if cut:
            assert len(told) == cut[0]
        else:
            assert [at for at, one in enumerate(told) if over(one)] == [len(told) - 1]
    assert (rig.small.running, rig.big.running) == (0, 0)


def test_what_a_cheap_models_cache_answered_makes_the_dear_answer_no_cheaper() -> None:
    rig = Rig(small(UNSURE), big())
    cached = rig.chats.resolve("small").enter

    def hit(ask: Ask, tell: Tell) -> Running:
        ask.notes.facts["cache"] = "exact"
        ask.notes.headers["fairlead-cache"] = "exact; age=1"
        return cached(ask, tell)

    rig.chats.put(Chat("small", rig.small, hit))
    rig.ask()
    rig.timers.run(2)
    assert rig.text == "from the big one"
    assert rig.asked is not None
    assert "cache" not in rig.asked.notes.facts
    assert "fairlead-cache" not in rig.asked.notes.headers
