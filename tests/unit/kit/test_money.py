from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.contracts.errors import UsageError
from fairlead.contracts.ledger import NANO, Window
from fairlead.kit import money
from fairlead.kit.money import Amount


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("50 USD", Amount(50 * NANO, "USD")),
        ("0.000000001 EUR", Amount(1, "EUR")),
        ("2.5k USD", Amount(2500 * NANO, "USD")),
        ("5M tokens", Amount(5_000_000, "")),
        ("1 token", Amount(1, "")),
        (" 1.5k ", Amount(1500, "")),
    ],
)
def test_amounts(text: str, found: Amount) -> None:
    assert money.amount(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "USD 5", "-5 USD", "5 usd", "0 USD", "0.5 tokens", "0.0000000001 USD", "9G USD", "5 DOLLARS", "\u0665 USD"],
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(UsageError):
        money.amount(text)


def test_budgets() -> None:
    assert money.budget("20 USD/month") == (Amount(20 * NANO, "USD"), Window.MONTH)
    assert money.budget("5M/d") == (Amount(5_000_000, ""), Window.DAY)
    for text in ("20 USD", "20 USD/year", "/day"):
        with pytest.raises(UsageError):
            money.budget(text)


@pytest.mark.parametrize(
    ("number", "found"),
    [(0.15, 150_000_000), ("0.1", 100_000_000), (3, 3 * NANO), (0, 0), ("0.0375", 37_500_000), (0.00001, 10_000)],
)
def test_prices_are_as_they_were_written(number: str | float, found: int) -> None:
    assert money.nano(number) == found


@pytest.mark.parametrize("number", [-1, "1e5", "nan", float("inf"), 2_000_000, "0.0000000001", ""])
def test_what_is_no_price(number: str | float) -> None:
    with pytest.raises(UsageError):
        money.nano(number)


@given(st.integers(-(10**18), 10**18))
def test_a_decimal_is_exact(number: int) -> None:
    whole, _, part = money.decimal(number).partition(".")
    sign = -1 if whole.startswith("-") else 1
    assert sign * (abs(int(whole)) * NANO + int(part.ljust(9, "0"))) == number
    assert len(part) >= 2


def test_what_people_read() -> None:
    assert money.written(1_234_567, "") == "1,234,567 tokens"
    assert money.written(120_000, "USD") == "0.00012 USD"
