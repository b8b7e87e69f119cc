from __future__ import annotations

import pytest

from fairlead.contracts.access import Caller
from fairlead.contracts.ledger import Budget, Window
from fairlead.serve.llm.ledger.books import Books, balance, unit


def caller(name: str = "shop", tenant: str = "acme", *budgets: Budget) -> Caller:
    return Caller(name, "key", (), tenant, budgets=budgets)


@pytest.mark.parametrize(
    ("whose", "who", "holds"),
    [
        ({}, None, True),
        ({"tenant": "acme"}, caller(), True),
        ({"tenant": "acme"}, caller(tenant="evil"), False),
        ({"tenant": "*"}, caller(tenant=""), False),
        ({"tenant": "*"}, caller(), True),
        ({"key": "shop"}, None, False),
        ({"key": "*"}, None, False),
        ({"key": "shop", "tenant": "acme", "endpoint": "chat"}, caller(), True),
        ({"key": "shop", "tenant": "other"}, caller(), False),
        ({"endpoint": "other"}, caller(), False),
        ({"endpoint": "*"}, caller(), True),
    ],
)
def test_who_has_a_budget(whose: dict[str, str], who: Caller | None, holds: bool) -> None:
    books = Books([Budget("b", 10, Window.DAY, **whose)])  # type: ignore[arg-type]
    assert bool(books.of(who, "chat").budgets) is holds


def test_each_has_a_balance_of_its_own() -> None:
    books = Books([Budget("k", 10, Window.DAY, key="*")])
    keys = {books.of(caller(name), "chat").budgets[0].key for name in ("a", "b", "a/b", "@", "ü")}
    assert len(keys) == 5
    assert "k@a/tokens/day" in keys
    assert all(key.count("/") == 2 for key in keys)


def test_names_of_balances() -> None:
    usd = Budget("acme", 10, Window.DAY, "USD", zone="Europe/Berlin")
    assert balance(usd, "", "", "") == "acme/USD/day/Europe/Berlin"
    assert unit("acme/USD/day/Europe/Berlin") == "USD"
    assert unit("acme/tokens/day") == unit("acme") == ""
    long = balance(Budget("b", 1, Window.TOTAL, key="*", zone="Europe/Berlin"), "", "x" * 4000, "")
    assert len(long) < 200
    assert long.endswith("/tokens/total")


def test_callers_bring_budgets_and_change_them() -> None:
    books = Books([])
    first, second = caller("shop", "", Budget("own", 10, Window.DAY, "USD")), caller("shop")
    assert books.of(first, "chat").currencies == {"USD"}
    assert books.of(first, "chat") is books.of(first, "chat")
    assert not books.of(second, "chat").budgets


def test_lines() -> None:
    books = Books([Budget("t", 100, Window.HOUR), Budget("m", 5, Window.TOTAL, "USD", hard=False)])
    opened = books.of(None, "chat")
    tokens, money = (one.line(3_600_001, 30, 7) for one in opened.budgets)
    assert (tokens.begins, tokens.ends, tokens.most, tokens.worst, tokens.money, tokens.hard) == (
        3_600_000, 7_200_000, 100, 30, False, True,
    )  # fmt: skip
    assert (money.worst, money.money, money.hard) == (7, True, False)
    assert opened.hard
