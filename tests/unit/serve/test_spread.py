"""Who gets the next connection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.serve.spread import Spread


def spread(*workers: str) -> Spread[str]:
    made: Spread[str] = Spread()
    for worker in workers:
        made.join(worker)
    return made


def test_in_turn_when_all_have_as_many() -> None:
    made = spread("a", "b", "c")
    assert [made.next() for _ in range(7)] == ["a", "b", "c", "a", "b", "c", "a"]


def test_the_fewest_open_first() -> None:
    made = spread("a", "b")
    assert [made.next() for _ in range(4)] == ["a", "b", "a", "b"]
    made.closed("b", 2)
    assert [made.next() for _ in range(3)] == ["b", "b", "a"]
    assert (made.open("a"), made.open("b")) == (3, 2)


def test_a_new_worker_is_filled_up() -> None:
    made = spread("a")
    for _ in range(3):
        made.next()
    made.join("b")
    assert [made.next() for _ in range(5)] == ["b", "b", "b", "a", "b"]


def test_the_busy_and_the_gone_get_nothing() -> None:
    made = spread("a", "b")
    assert made.next(busy={"a"}) == "b"
    assert made.next(busy={"a", "b"}) is None
    made.leave("b")
    made.closed("b")
    assert [made.next(), made.next()] == ["a", "a"]
    made.leave("a")
    assert made.next() is None
    assert (list(made), made.open("a")) == ([], 0)


def test_more_closed_than_opened_is_none_open() -> None:
    made = spread("a")
    made.closed("a", 5)
    assert made.open("a") == 0


@given(st.integers(1, 8), st.lists(st.integers(0, 7), max_size=200))
def test_connections_that_only_come_differ_by_one_at_most(workers: int, closes: list[int]) -> None:
    names = [str(index) for index in range(workers)]
    made = spread(*names)
    for _ in closes:
        made.next()
    counts = [made.open(name) for name in names]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == len(closes)
