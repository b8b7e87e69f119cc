"""Which budgets hold for a caller at an endpoint, and what an answer may take of each at worst."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote

from fairlead.contracts.access import Caller
from fairlead.contracts.ledger import EACH, Budget, Line, Window
from fairlead.serve.llm.ledger.windows import Calendar, zone

_KNOWN: Final = 8192
"""Callers of which it is remembered; then they are looked up anew."""
_LONGEST: Final = 320
"""Letters of what says whose a balance is; where it is longer, it ends with a digest of the whole."""
TOKENS: Final = "tokens"
_WORST: Final = 2**60
"""What is more than this fits into no budget, and into no word of 64 bits."""


class Open(NamedTuple):
    """A budget that holds for somebody. ``key``: of the balance."""

    budget: Budget
    key: str
    calendar: Calendar
    money: bool

    def line(self, at_ms: int, tokens: int, cost: int) -> Line:
        begins, ends = self.calendar.around(at_ms)
        one = self.budget
        worst = min(cost if self.money else tokens, _WORST)
        return Line(self.key, begins, ends, one.amount, worst, self.money, one.hard)


class Opened(NamedTuple):
    """All that hold for one caller at one endpoint. ``hard``: some is.  ``currencies``: that money is counted in."""

    budgets: tuple[Open, ...]
    hard: bool
    currencies: frozenset[str]
    caller: Caller | None


class Books:
    """Of all budgets of a server; those that callers bring themselves join them."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self._budgets = [(one, _calendar(one)) for one in budgets]
        self._known: dict[tuple[str, str], Opened] = {}

    def of(self, caller: Caller | None, endpoint: str) -> Opened:
        name = "" if caller is None else caller.name
        found = self._known.get((name, endpoint))
        if found is None or found.caller is not caller:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            found = self._known[name, endpoint] = self._open(caller, endpoint)
        return found

    def _open(self, caller: Caller | None, endpoint: str) -> Opened:
        tenant, name = ("", "") if caller is None else (caller.tenant, caller.name)
        budgets: Iterable[tuple[Budget, Calendar]] = self._budgets
        if caller is not None and caller.budgets:
            budgets = [*self._budgets, *((one, _calendar(one)) for one in caller.budgets)]
        by_key: dict[str, Open] = {}
        for one, calendar in budgets:
            if _fits(one.tenant, tenant) and _fits(one.key, name) and _fits(one.endpoint, endpoint):
                key = balance(one, tenant, name, endpoint)
                known = by_key.get(key)  # a balance has one line in an answer: the stricter one
                if known is None or (one.hard, -one.amount) > (known.budget.hard, -known.budget.amount):
                    by_key[key] = Open(one, key, calendar, bool(one.currency))
        found = tuple(by_key.values())
        hard = any(one.budget.hard for one in found)
        return Opened(found, hard, frozenset(one.budget.currency for one in found if one.money), caller)


def balance(one: Budget, tenant: str, key: str, endpoint: str) -> str:
    """The name of its balance: ``acme/USD/month``, ``each-key@shop-web/tokens/day``, ``acme/USD/day/Europe/Berlin``."""
    each = [
        f"@{quote(name, safe='')}"
        for said, name in ((one.tenant, tenant), (one.key, key), (one.endpoint, endpoint))
        if said == EACH
    ]
    whose = one.name + "".join(each)
    if len(whose) > _LONGEST:
        whose = f"{whose[:80]}~{hashlib.sha256(whose.encode()).hexdigest()}"
    where = "" if one.zone == "UTC" or one.window is Window.TOTAL else f"/{one.zone}"
    return f"{whose}/{one.currency or TOKENS}/{one.window}{where}"


def unit(key: str) -> str:
    """What a balance of this name counts: a currency; empty for tokens."""
    found = key.split("/")
    return "" if len(found) < 2 or found[1] == TOKENS else found[1]


def _fits(said: str, name: str) -> bool:
    return not said or said == name or (said == EACH and bool(name))


def _calendar(one: Budget) -> Calendar:
    return Calendar(one.window, zone(one.zone))
