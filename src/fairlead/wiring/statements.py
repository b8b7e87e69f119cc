"""What was spent, added up: by whom, on what, in which window."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Balance, Budget, LedgerStore, Spend, Window
from fairlead.kit.money import decimal
from fairlead.serve.llm.ledger import windows
from fairlead.serve.llm.ledger.books import balance, unit

BY: Final = ("tenant", "key", "endpoint", "model")
"""What spending can be told apart by, each a field of ``Account``."""
USED: Final = Usage._fields

Row = dict[str, Any]
_Of = tuple[int, tuple[str, ...], str]
"""When the window began, the names that it is told apart by, the currency."""


@dataclass(slots=True)
class _Sum:
    answers: int = 0
    cost: int = 0
    usage: list[int] = field(default_factory=lambda: [0] * len(USED))

    def add(self, one: Spend) -> None:
        self.answers += 1
        self.cost += one.cost
        self.usage = [known + more for known, more in zip(self.usage, one.usage, strict=True)]


def statement(
    spends: Iterable[Spend], by: tuple[str, ...] = BY, per: Window | None = None, zone: str = "UTC"
) -> list[Row]:
    """A row for each of what ``by`` names, each currency, and each window; ordered by them."""
    calendar = None if per is None else windows.Calendar(per, windows.zone(zone))
    found: dict[_Of, _Sum] = {}
    for one in spends:
        names = tuple(getattr(one.account, name) for name in by)
        begins = 0 if calendar is None else calendar.around(one.at_ms)[0]
        found.setdefault((begins, names, one.currency), _Sum()).add(one)
    return _rows(found, by, per)


def _rows(found: Mapping[_Of, _Sum], by: tuple[str, ...], per: Window | None = None) -> list[Row]:
    return [
        ({"window": moment(begun)} if per is not None else {})
        | dict(zip(by, names, strict=True))
        | {"answers": total.answers}
        | dict(zip(USED, total.usage, strict=True))
        | {"cost": decimal(total.cost) if currency else "", "currency": currency}
        for (begun, names, currency), total in sorted(found.items(), key=lambda pair: pair[0])
    ]


def this_month(store: LedgerStore, now_ms: int) -> tuple[int, list[Row]]:
    """Since when (Unix ms, UTC), and a row for each tenant, key, endpoint and model."""
    return Month().rows(store, now_ms)


class Month:
    """The spending of the present month in UTC, added up as it comes: the files of the log that have some of the month
    are read once, and then what was settled since. Safe for several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since, self._place = 0, ""
        self._sums: dict[_Of, _Sum] = {}

    def rows(self, store: LedgerStore, now_ms: int) -> tuple[int, list[Row]]:
        """Since when (Unix ms), and a row for each tenant, key, endpoint and model. Raises what the store raises."""
        since, _ = windows.around(Window.MONTH, windows.zone("UTC"), now_ms)
        with self._lock:
            if since != self._since:
                self._begin(since)
            try:
                self._read(store)
            except BaseException:  # some of it may be added, and none may be twice
                self._begin(since)
                raise
            return since, _rows(self._sums, BY)

    def _read(self, store: LedgerStore) -> None:
        found = store.spends_after(self._place, self._since)
        if found is None:  # another log than before
            self._begin(self._since)
            found = store.spends_after("", self._since) or (iter(()), "")
        spends, place = found
        for one in spends:
            if one.at_ms >= self._since:
                names = tuple(getattr(one.account, name) for name in BY)
                self._sums.setdefault((0, names, one.currency), _Sum()).add(one)
        self._place = place

    def _begin(self, since_ms: int) -> None:
        self._since, self._place, self._sums = since_ms, "", {}


def answer(one: Spend) -> Row:
    """A row of one answer."""
    account = {name: getattr(one.account, name) for name in BY}
    told = {"at": moment(one.at_ms), "ended": moment(one.ended_ms), "id": one.id, "how": one.how}
    cost = {"cost": decimal(one.cost) if one.currency else "", "currency": one.currency}
    return told | account | dict(zip(USED, one.usage, strict=True)) | cost


def standing(
    one: Balance, now_ms: int, budgets: Iterable[Budget] = (), brought: Mapping[str, int] | None = None
) -> Row:
    """A row of one balance; a window that has passed is not shown as the present one.

    ``budgets``: those that are known, for the amount that it has; ``brought``: amounts by balance, of keys.
    """
    past = one.ends <= now_ms
    currency = unit(one.key)

    amount = next((of.amount for of in budgets if _is_of(one.key, of)), None)
    amount = (brought or {}).get(one.key, amount)

    def told(number: int) -> str:
        return decimal(number) if currency else str(number)

    return {
        "balance": one.key,
        "unit": currency or "tokens",
        "begins": "" if past else moment(one.begins),
        "ends": "" if past or one.ends >= windows.FOREVER else moment(one.ends),
        "amount": "" if amount is None else told(amount),
        "settled": told(0 if past else one.settled),
        "reserved": told(0 if past else one.reserved),
        "answers": 0 if past else one.answers,
    }


def _is_of(key: str, budget: Budget) -> bool:
    """Whether it is a balance of this budget."""
    whose, *rest = balance(budget, "", "", "").split("/")
    name, *mine = key.split("/")
    return mine == rest and name.split("@")[0] == whose.split("@")[0]


def moment(ms: int) -> str:
    """As ISO 8601, in UTC; empty for none."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") if ms else ""
