"""What is known of an answer when it is over, however it ends."""

from __future__ import annotations

import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.engine import EngineOptions, Event, Running, Tell
from fairlead.contracts.errors import EngineLost
from fairlead.contracts.generation import Begun, Ended, Generation, Piece, Usage
from fairlead.serve.llm.ask import OVER, Ask, line
from fairlead.serve.llm.measuring import Measuring
from fairlead.testing.clock import ManualClock
from fairlead.testing.engines import EchoEngine
from fairlead.testing.sinks import MemorySink


class Held:
    """An engine whose events the test tells."""

    def __init__(self) -> None:
        self.tell: Tell = lambda _: None
        self.cancelled = 0

    def generate(self, _asked: Generation, tell: Tell) -> Running:
        self.tell = tell
        return self

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def ask(clock: ManualClock) -> Ask:
    return Ask(Generation("1", "chat", "one two three"), clock.now(), "r-1", Caller("shop", "key", ()))


def test_times_and_tokens(clock):
    sink, engine, heard = MemorySink(), Held(), []
    enter = line([Measuring(sink.chat("chat"), clock)], engine)
    enter(ask(clock), heard.append)
    events: list[Event] = [Begun(Usage(input=3)), Piece("a"), Piece("b", tokens=2), Ended("stop", Usage(3, 0, 3, 0))]
    for wait, event in zip((0.5, 0.5, 1.0, 0.25), events, strict=True):
        clock.advance(wait)
        engine.tell(event)
    assert heard == events
    [one] = sink.chat("chat").told
    assert (one.first - one.arrived, one.longest, one.seconds, one.per_token) == (1.0, 1.0, 2.25, 0.625)
    assert (one.outcome, one.failed, one.tokens, one.usage, one.caller) == ("stop", False, 3, Usage(3, 0, 3, 0), "shop")
    assert one.text == ""


def test_an_error_and_a_cancel_are_ends_too(clock):
    sink, engine, heard = MemorySink(), Held(), []
    enter = line([Measuring(sink.chat("chat"), clock)], engine)
    enter(ask(clock), heard.append)
    engine.tell(EngineLost("the engine ended"))
    engine.tell(Piece("late"))
    running = enter(ask(clock), heard.append)
    engine.tell(Begun(Usage(input=3)))
    running.cancel()
    running.cancel()
    engine.tell(Piece("late"))
    first, second = sink.chat("chat").told
    assert (first.outcome, first.failed, first.first) == ("engine_lost", True, 0.0)
    assert (second.outcome, second.failed, second.usage) == ("cancelled", True, Usage(input=3))
    assert [type(event) for event in heard] == [EngineLost, Begun]
    assert engine.cancelled == 2
    assert sink.chat("chat").questions == 2


def test_what_was_made_before_it_was_given_up_counts_as_the_ledger_counts_it(clock):
    sink, engine = MemorySink(), Held()
    enter = line([Measuring(sink.chat("chat"), clock)], engine)
    ends: list[Event | None] = [None, EngineLost("the engine ended"), Ended("stop", Usage())]
    for end in ends:
        running = enter(ask(clock), lambda _event: None)
        for event in (Begun(Usage(input=3, cached=1)), Piece("a"), Piece(reasoning="b", tokens=2), Piece("c")):
            engine.tell(event)
        if end is None:
            running.cancel()
        else:
            engine.tell(end)
    assert [one.usage for one in sink.chat("chat").told] == [Usage(3, 1, 2, 2)] * 3


def test_what_it_cost_is_known_when_a_cancelled_one_is_told_of(clock):
    sink, asked, costs = MemorySink(), ask(clock), []

    class Pays:
        def cancel(self) -> None:
            asked.notes.facts["cost"] = "1"

    hear = lambda one: costs.append(one.facts.get("cost"))  # noqa: E731
    Measuring(sink.chat("chat"), clock, [hear]).stage(lambda _ask, _tell: Pays())(asked, lambda _event: None).cancel()
    assert costs == ["1"]


async def test_an_engine_that_answers_before_it_returns(clock):
    sink, heard, engine = MemorySink(), [], EchoEngine(EngineOptions("chat", ""))
    await engine.start()
    line([Measuring(sink.chat("chat"), clock, redact=str.upper)], engine)(ask(clock), heard.append)
    [one] = sink.chat("chat").told
    assert (one.outcome, one.text) == ("stop", "ONE TWO THREE")
    assert heard[-1] == Ended("stop", Usage(input=3, output=3))


def test_an_answer_that_is_over_needs_no_cancel():
    OVER.cancel()


def test_a_tracer_that_fails_costs_nobody_the_end_and_the_others_hear(clock, caplog):
    def broken(_one: object) -> None:
        raise RuntimeError("bad")

    sink, engine, heard, traced = MemorySink(), Held(), [], []
    enter = line([Measuring(sink.chat("chat"), clock, (broken, traced.append))], engine)
    enter(ask(clock), heard.append)
    engine.tell(Ended("stop", Usage(1, 0, 1, 0)))
    assert [type(one) for one in heard] == [Ended]
    assert len(traced) == 1
    assert caplog.records[-1].message == "answer not traced"
    enter(ask(clock), heard.append).cancel()
    assert len(traced) == 2
    assert engine.cancelled == 1
