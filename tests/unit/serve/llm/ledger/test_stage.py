"""Reserved before, settled after, whatever the engine and the caller do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.engine import EngineOptions, EngineTraits, Event, Running, Tell
from fairlead.contracts.errors import (
    ContextTooLong,
    EngineLost,
    FairleadError,
    InvalidParameter,
    OverBudget,
    StorageFull,
    Unavailable,
)
from fairlead.contracts.generation import Begun, Ended, Generation, Message, Piece, Sampling, Tool, Usage
from fairlead.contracts.ledger import Budget, Price, Window
from fairlead.serve.llm.ask import Ask, line
from fairlead.serve.llm.ledger.books import Books
from fairlead.serve.llm.ledger.ledger import Ledger
from fairlead.serve.llm.ledger.prices import PriceBook
from fairlead.serve.llm.ledger.stage import LedgerStage
from fairlead.testing.clock import ManualClock
from fairlead.testing.engines import EchoEngine
from fairlead.testing.ledgers import MemoryLedger
from fairlead.testing.sinks import MemorySink

PRICE = Price("chat", 0, "USD", 1_000_000, 500_000, 2_000_000, 3_000_000)
"""A nano-unit a token of the prompt, two an output token, three one of reasoning."""
TOKENS = Budget("t", 1000, Window.DAY)
MONEY = Budget("m", 5000, Window.MONTH, "USD", tenant="acme")


class Engine:
    """The test tells what it says."""

    def __init__(self, traits: EngineTraits | None = None, prompt: int = 4) -> None:
        self.traits = traits or EngineTraits("test", 400)
        self.tell: Tell = lambda _: None
        self.asked: list[Ask] = []
        self.cancelled = self.counted = 0
        self.prompt: int | FairleadError | Exception = prompt
        self.at_once: list[Event] = []

    def enter(self, ask: Ask, tell: Tell) -> Running:
        self.asked.append(ask)
        self.tell = tell
        for event in self.at_once:
            tell(event)
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    async def count(self, _asked: Generation) -> int:
        self.counted += 1
        await asyncio.sleep(0)
        if isinstance(self.prompt, Exception):
            raise self.prompt
        return self.prompt


class Rig:
    def __init__(
        self, *budgets: Budget, engine: Engine | None = None, closed: bool = True, priced: bool = True
    ) -> None:
        self.store, self.sink, self.clock = MemoryLedger(), MemorySink(), ManualClock()
        prices = PriceBook([PRICE] if priced else [])
        self.ledger = Ledger(self.store, prices, Books(budgets), self.clock, self.sink, project="p", closed=closed)
        self.engine = engine or Engine()
        stage = LedgerStage(self.ledger, "chat", ("chat",), self.engine)  # type: ignore[arg-type]
        self.enter = stage.stage(self.engine.enter)
        self.told: list[Event] = []

    def ask(self, text: str = "a b c d", most: int | None = 10, prompt: int = -1, name: str = "shop") -> Running:
        generation = Generation("1", "chat", text, Sampling(most=most))
        self.last = Ask(generation, 0.0, "r-1", Caller(name, "key", (), "acme"), prompt=prompt)
        return self.enter(self.last, self.told.append)

    def stands(self, place: int = 0) -> tuple[int, int]:
        one = self.store.balances()[place]
        return one.settled, one.reserved

    @property
    def error(self) -> FairleadError:
        (found,) = self.told
        assert isinstance(found, FairleadError)
        return found


def test_the_worst_is_reserved_and_what_it_was_is_settled() -> None:
    rig = Rig(TOKENS, MONEY)
    rig.ask()
    assert rig.stands(0) == (0, 9 + 3 * 10)  # 9: the bytes of the prompt, and two
    assert rig.stands(1) == (0, 9 + 10)
    rig.engine.tell(Begun(Usage(4)))
    rig.engine.tell(Piece("x", 3))
    assert rig.store.told[1] == (Usage(4), 4)
    rig.engine.tell(Ended("stop", Usage(3, 1, 3)))
    assert [type(one) for one in rig.told] == [Begun, Piece, Ended]
    assert rig.stands(0) == (10, 0)  # 3 + 0.5 + 6, rounded up
    assert rig.stands(1) == (7, 0)
    (spend,) = rig.store.spends()
    assert spend.account == ("p", "acme", "shop", "chat", "chat")
    assert (spend.id, spend.how, spend.cost, spend.currency) == ("r-1", "settled", 10, "USD")
    notes = rig.last.notes
    assert notes.headers["fairlead-cost"] == "0.00000001 USD"
    assert (notes.facts["cost"], notes.facts["currency"]) == ("0.00000001", "USD")
    assert rig.sink.spends == {("chat", "tokens"): 7, ("chat", "USD"): 10}


@pytest.mark.parametrize(
    ("events", "used"),
    [
        ([], Usage()),
        ([Begun(Usage(4))], Usage(4)),
        ([Begun(Usage(3, 1)), Piece("x"), Piece("y", 2)], Usage(3, 1, 3)),
        ([Begun(Usage())], Usage(2)),  # guessed from the bytes
        ([Piece("", 5, reasoning="hm"), Piece("abcdefgh", 0)], Usage(2, 0, 2, 5)),
    ],
)
@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_what_was_seen_is_settled_when_it_does_not_end(events: list[Event], used: Usage, how: str) -> None:
    rig = Rig(TOKENS)
    running = rig.ask()
    for event in events:
        rig.engine.tell(event)
    if how == "cancelled":
        running.cancel()
        running.cancel()
        assert rig.engine.cancelled == 1
        rig.engine.tell(Piece("late"))
        rig.engine.tell(Ended("stop", Usage(9, 9, 9)))
        assert len(rig.told) == len(events)
    else:
        rig.engine.tell(EngineLost("gone"))
        running.cancel()
        assert isinstance(rig.told[-1], EngineLost)
    assert rig.stands() == (sum(used), 0)
    assert [(one.how, one.usage) for one in rig.store.spends()] == ([(how, used)] if sum(used) else [])


def test_a_server_elsewhere_is_paid_for_the_prompt_of_what_was_given_up() -> None:
    rig = Rig(TOKENS, engine=Engine(EngineTraits("openai", 400, local=False)))
    rig.ask().cancel()
    assert rig.stands() == (2, 0)
    rig.ask()
    rig.engine.tell(Unavailable("no connection"))
    assert rig.stands() == (2, 0)


@pytest.mark.parametrize(("said", "used"), [(Usage(-5, 3), 3), (Usage(10**30, -1), 10**9)])
def test_an_engine_may_say_anything(said: Usage, used: int) -> None:
    rig = Rig(TOKENS)
    rig.ask(prompt=4)
    rig.engine.tell(Ended("stop", said))
    assert rig.stands() == (used, 0)


def test_a_store_may_fail_in_any_way() -> None:
    rig = Rig(TOKENS)
    rig.store.fails = OSError(5, "Input/output error")  # type: ignore[assignment]
    rig.ask(prompt=4)
    assert isinstance(rig.error, Unavailable)
    assert "Input/output error" in str(rig.error)
    rig.ledger.tick()
    assert rig.ledger.troubles()


def test_more_than_any_budget_has() -> None:
    rig = Rig(MONEY, Budget("s", 9, Window.DAY, hard=False), engine=Engine(EngineTraits("test", 0)))
    rig.ask(prompt=10**25, most=10**25)
    assert "this answer may take" in str(rig.error)


def test_progress_is_told_now_and_then() -> None:
    rig = Rig(TOKENS)
    rig.ask(prompt=4)
    told = []
    for _ in range(20):
        rig.engine.tell(Piece("x"))
        told.append(rig.store.told[1][0].output)
    assert told == [1] * 8 + [9] * 8 + [17] * 4


def test_an_engine_that_says_no_usage() -> None:
    rig = Rig(TOKENS)
    rig.ask(prompt=4)
    rig.engine.tell(Piece("x", 3))
    rig.engine.tell(Ended("stop", Usage()))
    assert rig.stands() == (7, 0)


def test_everything_at_once_and_a_cancel_in_what_is_told() -> None:
    rig = Rig(TOKENS)
    rig.engine.at_once = [Begun(Usage(4)), Piece("x"), Ended("stop", Usage(4, 0, 1))]
    rig.ask()
    assert rig.stands() == (5, 0)

    class Leaving:
        running: Running | None = None

        def tell(self, event: Event) -> None:
            if isinstance(event, Piece) and self.running is not None:
                self.running.cancel()

    leaving = Leaving()
    rig.engine.at_once = []
    leaving.running = rig.enter(rig.last, leaving.tell)
    rig.engine.tell(Piece("x"))
    assert rig.engine.cancelled == 2  # once what had ended, once this
    assert rig.stands() == (5 + 2 + 1, 0)


def test_nobody_is_charged_for_what_a_cache_answered() -> None:
    rig = Rig(TOKENS)
    rig.ask()
    rig.last.notes.facts["cache"] = "exact"
    rig.engine.tell(Ended("stop", Usage(4, 0, 1)))
    assert rig.stands() == (0, 0)
    assert rig.last.notes.headers["fairlead-cost"] == "0.00 USD"


def test_several_answers_of_a_request_are_added_up() -> None:
    rig = Rig(TOKENS)
    rig.ask()
    rig.engine.tell(Ended("stop", Usage(4)))
    rig.enter(rig.last, rig.told.append)
    rig.engine.tell(Ended("stop", Usage(4)))
    assert rig.last.notes.facts["cost"] == "0.000000008"


def test_over_budget_says_what_is_left_and_when_to_return() -> None:
    rig = Rig(Budget("t", 40, Window.DAY, tenant="acme"))
    rig.ask(prompt=4, most=30)
    rig.ask(prompt=4, most=30)
    assert str(rig.error) == (
        "budget 't' of 40 tokens in a day is reserved by answers under way: 0 tokens are spent and 34 tokens reserved; "
        "this answer may take 34 tokens; try again soon"
    )
    assert rig.error.retry_after == 1
    rig.engine.tell(Ended("stop", Usage(20)))
    rig.told.clear()
    rig.ask(prompt=4, most=30)
    assert isinstance(rig.error, OverBudget)
    assert "is spent: 20 tokens are spent and 0 tokens reserved" in str(rig.error)
    assert "try again after 2023-11-15T00:00:00+00:00" in str(rig.error)
    assert rig.error.retry_after == pytest.approx(86_400 - rig.clock.wall_ms() / 1000 % 86_400)
    rig.told.clear()
    rig.ask(prompt=4, most=80)
    assert rig.error.retry_after is None
    assert str(rig.error).startswith("this answer may take 84 tokens, and budget 't' of 40 tokens in a day does not")
    assert len(rig.engine.asked) == 1
    assert rig.sink.over_budgets == {("chat", "tokens"): 3}


def test_others_are_not_told_how_the_budget_of_all_stands() -> None:
    rig = Rig(Budget("t", 40, Window.TOTAL))
    rig.ask(prompt=20, most=10)
    rig.engine.tell(Ended("stop", Usage(30)))
    rig.told.clear()
    rig.ask(prompt=20, most=10)
    assert str(rig.error) == (
        "the budget of this model is spent: this answer may take 30 tokens; lower max_completion_tokens, or ask for a "
        "larger one"
    )
    assert rig.error.retry_after is None


def test_a_soft_budget_is_told_and_goes_on() -> None:
    rig = Rig(Budget("t", 5, Window.DAY, hard=False))
    rig.ask(prompt=4)
    assert rig.last.notes.facts["over_budget"] is True
    rig.engine.tell(Ended("stop", Usage(4, 0, 10)))
    assert rig.stands() == (14, 0)


async def test_near_the_end_of_a_budget_the_prompt_is_counted() -> None:
    rig = Rig(Budget("t", 40, Window.DAY))
    rig.ask("x" * 100, most=10)
    assert not rig.told
    await asyncio.sleep(0.01)
    assert rig.stands() == (0, 14)
    assert rig.engine.asked[0].prompt == 4
    rig.engine.tell(Ended("stop", Usage(4, 0, 2)))
    assert rig.stands() == (6, 0)
    rig.ask("x" * 100, most=35)  # no prompt is short enough
    assert rig.engine.counted == 1
    refused = rig.told[-1]
    assert isinstance(refused, OverBudget)
    assert "is spent: this answer may take 35 tokens" in str(refused)
    assert refused.retry_after is not None


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [(ContextTooLong("long"), ContextTooLong), (RuntimeError("x"), FairleadError), (100, OverBudget)],
)
async def test_counting_that_ends_in_an_error(prompt: int | Exception, kind: type[FairleadError]) -> None:
    rig = Rig(Budget("t", 40, Window.DAY))
    rig.engine.prompt = prompt
    rig.ask("x" * 100, most=10)
    await asyncio.sleep(0.01)
    assert isinstance(rig.error, kind)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_cancelled_while_the_prompt_is_counted(turns: int) -> None:
    rig = Rig(Budget("t", 40, Window.DAY))
    running = rig.ask("x" * 100, most=10)
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.sleep(0.01)
    assert not rig.told
    assert not rig.store.balances() or rig.stands() == (0, 0)


async def test_what_runs_elsewhere_is_not_counted() -> None:
    rig = Rig(Budget("t", 40, Window.DAY), engine=Engine(EngineTraits("openai", 0, local=False)))
    rig.ask("x" * 100, most=10)
    assert isinstance(rig.error, OverBudget)


def test_nothing_bounds_the_answer() -> None:
    rig = Rig(TOKENS, engine=Engine(EngineTraits("openai", 0)))
    rig.ask(most=None)
    assert isinstance(rig.error, InvalidParameter)
    soft = Rig(Budget("t", 5, Window.DAY, hard=False), engine=Engine(EngineTraits("openai", 0)))
    soft.ask(most=None)
    assert len(soft.engine.asked) == 1


def test_a_model_without_a_price_pays_with_no_money() -> None:
    rig = Rig(MONEY, priced=False)
    rig.ask()
    assert isinstance(rig.error, OverBudget)
    assert "it has no price" in str(rig.error)
    assert rig.sink.over_budgets == {("chat", "price"): 1}
    euros = Rig(Budget("e", 5, Window.DAY, "EUR"))
    euros.ask()
    assert "its price is in USD" in str(euros.error)
    free = Rig(TOKENS, priced=False)
    free.ask()
    free.engine.tell(Ended("stop", Usage(4)))
    assert "cost" not in free.last.notes.facts


@pytest.mark.parametrize("error", [Unavailable("held"), StorageFull("full")])
def test_without_a_store_hard_budgets_are_closed(error: FairleadError) -> None:
    rig = Rig(MONEY)
    rig.store.fails = error
    rig.ask()
    assert isinstance(rig.error, Unavailable)
    assert rig.error.retry_after == 1
    assert rig.ledger.troubles()
    assert rig.sink.over_budgets == {("chat", "down"): 1}


@pytest.mark.parametrize("rig", [lambda: Rig(MONEY, closed=False), lambda: Rig(Budget("s", 9, Window.DAY, hard=False))])
def test_without_a_store_others_go_on_and_are_charged_when_it_is_back(rig: Callable[[], Rig]) -> None:
    one = rig()
    one.store.fails = Unavailable("held")
    one.ask(prompt=4)
    one.engine.tell(Piece("x"))
    one.store.fails = None
    one.engine.tell(Ended("stop", Usage(4, 0, 3)))
    assert one.stands()[0] in (7, 10)
    one.store.fails = Unavailable("held")
    one.ask(prompt=4)
    one.engine.tell(Ended("stop", Usage(4, 0, 3)))  # said in the log
    one.store.fails = None
    one.ledger.tick()
    assert not one.ledger.troubles()


def test_what_cannot_be_settled_now_is_later() -> None:
    rig = Rig(TOKENS)
    rig.ask(prompt=4)
    rig.store.fails = Unavailable("held")
    rig.engine.tell(Ended("stop", Usage(4)))
    assert isinstance(rig.told[-1], Ended)
    assert rig.stands() == (0, 14)
    rig.store.fails = None
    rig.ledger.tick()
    assert rig.stands() == (4, 0)


def test_prompt_and_answer_are_no_more_than_the_model_takes() -> None:
    rig = Rig(TOKENS)
    rig.ask("x" * 390, most=None)
    assert rig.stands() == (0, 400)


async def test_echo_in_a_line() -> None:
    rig = Rig(TOKENS, MONEY)
    engine = EchoEngine(EngineOptions("chat", "m"))
    await engine.start()
    enter = line([LedgerStage(rig.ledger, "chat", ("chat",), engine)], engine)
    tools = (Tool("t", "d", {"type": "object"}),)
    asked = Generation(
        "1", "chat", (Message("system", "be good"), Message("user", "one two three")), Sampling(most=9), tools
    )
    enter(Ask(asked, 0.0, "r", Caller("shop", "key", (), "acme")), rig.told.append)
    end = rig.told[-1]
    assert isinstance(end, Ended)
    assert rig.stands(1) == (sum(end.usage), 0)
