"""Orders to every worker: who is told, who is waited for, and what the asker hears."""

from __future__ import annotations

from typing import Any, cast

from fairlead.serve.messages import Do, Done, Order, Outcome
from fairlead.serve.orders import Orders


class Played:
    """A worker; ``sent``: what it was told. It is its own channel."""

    def __init__(self, number: int, ready: bool = True) -> None:
        self.number, self.was_ready, self.open = number, ready, True
        self.sent: list[Any] = []
        self.channel = self

    def send(self, message: Any) -> None:
        self.sent.append(message)


class Crew:
    def __init__(self, *workers: Played) -> None:
        self.all = {one.number: one for one in workers}
        self.orders = Orders(cast(Any, self.all))

    def ask(self, worker: Played, number: int, verb: str) -> None:
        self.orders.received(cast(Any, worker), Order(number, verb, "churn"))

    def answer(self, worker: Played, code: str = "", message: str = "") -> None:
        do = next(one for one in reversed(worker.sent) if isinstance(one, Do))
        self.orders.received(cast(Any, worker), Done(do.number, code, message))


def test_all_that_answer_are_told_and_the_asker_hears_when_all_have_done_it() -> None:
    one, two, starting = Played(1), Played(2), Played(3, ready=False)
    crew = Crew(one, two, starting)
    crew.ask(one, 7, "unload")
    assert starting.sent == []
    crew.answer(one)
    assert Outcome(7, "", "") not in one.sent
    crew.answer(two)
    assert one.sent[-1] == Outcome(7, "", "")
    assert all(not isinstance(message, Outcome) for message in two.sent)


def test_the_first_error_is_the_outcome() -> None:
    one, two = Played(1), Played(2)
    crew = Crew(one, two)
    crew.ask(one, 1, "load")
    crew.answer(two, "broken_model", "truncated")
    crew.answer(one, "broken_model", "another")
    assert one.sent[-1] == Outcome(1, "broken_model", "truncated")


def test_a_worker_that_ends_is_not_waited_for() -> None:
    one, two = Played(1), Played(2)
    crew = Crew(one, two)
    crew.ask(one, 1, "unload")
    crew.answer(one)
    del crew.all[2]
    crew.orders.ended(cast(Any, two))
    assert one.sent[-1] == Outcome(1, "", "")


def test_an_asker_that_ends_is_not_told() -> None:
    one, two = Played(1), Played(2)
    crew = Crew(one, two)
    crew.ask(one, 1, "unload")
    del crew.all[1]
    crew.orders.ended(cast(Any, one))
    crew.answer(two)
    assert [type(message) for message in two.sent] == [Do]


def test_one_that_is_ready_later_is_told_what_was_unloaded_and_not_what_was_loaded_again() -> None:
    one = Played(1)
    crew = Crew(one)
    crew.ask(one, 1, "unload")
    crew.answer(one)
    later = crew.all[2] = Played(2)
    crew.orders.tell(cast(Any, later))
    assert [(do.verb, do.endpoint) for do in later.sent] == [("unload", "churn")]
    crew.answer(later)
    crew.ask(one, 2, "load")
    crew.answer(one)
    crew.answer(later)
    last = crew.all[3] = Played(3)
    crew.orders.tell(cast(Any, last))
    assert last.sent == []


def test_orders_one_after_the_other_are_not_mixed() -> None:
    one, two = Played(1), Played(2)
    crew = Crew(one, two)
    crew.ask(one, 1, "unload")
    crew.ask(two, 1, "load")
    first, second = (one.sent[0], one.sent[1])
    for worker in (one, two):
        crew.orders.received(cast(Any, worker), Done(second.number, "", ""))
    assert two.sent[-1] == Outcome(1, "", "")
    assert all(not isinstance(message, Outcome) for message in one.sent)
    for worker in (one, two):
        crew.orders.received(cast(Any, worker), Done(first.number, "", ""))
    assert one.sent[-1] == Outcome(1, "", "")


def test_one_that_is_ready_while_an_order_is_under_way_gets_it_too_and_is_waited_for() -> None:
    one = Played(1)
    crew = Crew(one)
    crew.ask(one, 1, "unload")
    later = crew.all[2] = Played(2)
    crew.orders.tell(cast(Any, later))
    assert [(do.verb, do.endpoint) for do in later.sent] == [("unload", "churn")]
    crew.answer(one)
    assert Outcome(1, "", "") not in one.sent
    crew.answer(later)
    assert one.sent[-1] == Outcome(1, "", "")
    crew.ask(one, 2, "load")
    last = crew.all[3] = Played(3)
    crew.orders.tell(cast(Any, last))
    assert [do.verb for do in last.sent] == ["unload", "load"]
