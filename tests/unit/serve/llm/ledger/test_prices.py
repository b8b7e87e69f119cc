from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Price
from fairlead.serve.llm.ledger import prices
from fairlead.serve.llm.ledger.prices import PriceBook

AMOUNT = st.integers(0, 10**13)
TOKENS = st.integers(0, 10**7)


def price(model: str = "chat", since: int = 0, plain: int = 150_000_000, currency: str = "USD") -> Price:
    return Price(model, since, currency, plain, 75_000_000, 600_000_000, 900_000_000)


def test_classes_are_disjoint() -> None:
    assert prices.cost(price(), Usage(1_000_000)) == 150_000_000
    assert prices.cost(price(), Usage(0, 1_000_000)) == 75_000_000
    assert prices.cost(price(), Usage(0, 0, 1_000_000)) == 600_000_000
    assert prices.cost(price(), Usage(0, 0, 0, 1_000_000)) == 900_000_000
    assert prices.cost(price(), Usage(1, 0, 0, 0)) == 150
    assert prices.cost(price(plain=1), Usage(1)) == 1  # rounded up, once


@given(AMOUNT, AMOUNT, AMOUNT, AMOUNT, st.tuples(TOKENS, TOKENS, TOKENS, TOKENS))
def test_rounded_up_by_less_than_one_and_never_more_than_the_worst(
    plain: int,
    cached: int,
    output: int,
    reasoning: int,
    used: tuple[int, int, int, int],
) -> None:
    one, usage = Price("m", 0, "USD", plain, cached, output, reasoning), Usage(*used)
    exact = Fraction(sum(a * b for a, b in zip(usage, (plain, cached, output, reasoning), strict=True)), 10**6)
    assert 0 <= prices.cost(one, usage) - exact < 1
    assert prices.cost(one, usage) <= prices.worst(one, usage.prompt, usage.completion)


def test_the_latest_price_that_has_begun() -> None:
    book = PriceBook([price(since=100, plain=2), price(since=0, plain=1), price("*", 50, plain=9)])
    assert [book.price(("chat",), at).input for at in (0, 99, 100, 10**15)] == [1, 1, 2, 2]  # type: ignore[union-attr]
    assert book.price(("other",), 49) is None
    assert book.price(("other",), 50).input == 9  # type: ignore[union-attr]
    assert book.price(("unknown", "chat"), 0).input == 1  # type: ignore[union-attr]
    assert not PriceBook()
    assert PriceBook().price(("chat",), 0) is None
