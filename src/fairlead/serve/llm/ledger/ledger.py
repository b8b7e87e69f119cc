"""What the stages of a server's language models ask: may this answer be paid for, and what did it cost."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Final, NamedTuple

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import FairleadError, OverBudget, Unavailable
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Account, Hold, How, LedgerStore, Line, Price, Refusal, Reservation, Window
from fairlead.contracts.sink import Sink
from fairlead.kit.clock import Clock
from fairlead.kit.money import written
from fairlead.kit.sentences import cause
from fairlead.serve.llm.ledger import prices
from fairlead.serve.llm.ledger.books import Books, Opened
from fairlead.serve.llm.ledger.prices import PriceBook
from fairlead.serve.llm.ledger.shares import Shares

log = logging.getLogger("fairlead.serve")

SOON: Final = 1.0
"""Seconds until what others have reserved may be free again."""


class Quote(NamedTuple):
    """What an answer would be taken from. ``price``: None where nobody said one."""

    opened: Opened
    price: Price | None
    account: Account
    at_ms: int


class Ledger:
    """One for a server or worker. ``closed``: what a hard budget holds for is refused while the store fails.

    ``shares``: of hard budgets, where several machines share them.
    """

    def __init__(
        self,
        store: LedgerStore,
        prices: PriceBook,
        books: Books,
        clock: Clock,
        meter: Sink,
        *,
        project: str = "",
        closed: bool = True,
        shares: Shares | None = None,
    ) -> None:
        self.store, self.prices, self.books = store, prices, books
        self._clock, self._meter = clock, meter
        self._project, self._closed = project, closed
        self._why = ""
        self._shares = shares

    def now(self) -> int:
        return self._clock.wall_ms()

    def quote(self, caller: Caller | None, endpoint: str, names: tuple[str, ...]) -> Quote:
        """Raises OverBudget where money is counted and the model has no price in that currency."""
        opened, at_ms = self.books.of(caller, endpoint), self._clock.wall_ms()
        price = self.prices.price(names, at_ms)
        currency = "" if price is None else price.currency
        if opened.currencies and opened.currencies != {currency}:
            self._meter.over_budget(endpoint, "price")
            one = next(one for one in opened.budgets if one.money and one.budget.currency != currency)
            has = f"its price is in {currency}" if price else "it has no price"
            raise OverBudget(
                f"budget {one.budget.name!r} counts {one.budget.currency}, and model {endpoint!r} cannot be paid from "
                f"it: {has}; whoever runs the server can add one to prices"
            )
        tenant, key = ("", "") if caller is None else (caller.tenant, caller.name)
        return Quote(opened, price, Account(self._project, tenant, key, endpoint, names[-1]), at_ms)

    def reserve(self, id_: str, quote: Quote, prompt: int, answer: int) -> Hold | Refusal | Reservation:
        """A ``Reservation`` where the store fails and the answer is made all the same: it is charged when it ends.

        Raises Unavailable where it is not.
        """
        lines = self._lines(quote, prompt, answer)
        if self._shares is not None:
            granted = self._shares.granted
            lines = tuple(one._replace(most=granted(one)) if one.hard else one for one in lines)
        asked = Reservation(id_, quote.account, quote.at_ms, quote.price.currency if quote.price else "", lines)
        try:
            found = self.store.reserve(asked)
        except Exception as error:
            self._failed(error)
            if self._closed and quote.opened.hard:
                self._meter.over_budget(quote.account.endpoint, "down")
                raise Unavailable(
                    f"budgets cannot be counted now, so nothing is spent: {_said(error)}", retry_after=1
                ) from error
            return asked
        self._why = ""
        return found

    def _lines(self, quote: Quote, prompt: int, answer: int) -> tuple[Line, ...]:
        tokens = prompt + answer
        cost = prices.worst(quote.price, prompt, answer) if quote.price else 0
        return tuple(one.line(quote.at_ms, tokens, cost) for one in quote.opened.budgets)

    def share(self, quote: Quote, found: Refusal, prompt: int, answer: int) -> Line | None:
        """The line that this machine could take more for; None where it has all that there is."""
        line = self._lines(quote, prompt, answer)[found.line]
        return line if self._shares is not None and self._shares.granted(line) < line.most else None

    def take_share(self, line: Line, found: Refusal, at_ms: int) -> bool:
        """Take it; whether there is enough. Blocks. Raises Unavailable where nobody knows, and it must be known."""
        if self._shares is None:
            return False
        try:
            return self._shares.more(line, found.settled + found.reserved, at_ms)
        except FairleadError as error:
            self._failed(error)
            raise Unavailable(
                f"budgets are shared, and the store that shares them fails: {error}", retry_after=error.retry_after or 1
            ) from error

    def refused(self, quote: Quote, found: Refusal, worst: int) -> OverBudget:
        """What the caller is told. ``worst``: what the answer may take of the line."""
        one = quote.opened.budgets[found.line]
        budget = one.budget
        self._meter.over_budget(quote.account.endpoint, "tokens" if not one.money else "money")
        own = bool(budget.tenant or budget.key)
        what = f"budget {budget.name!r} of {written(budget.amount, budget.currency)} in a {budget.window}"
        if budget.window is Window.TOTAL:
            what = f"budget {budget.name!r} of {written(budget.amount, budget.currency)}"
        if not own:
            what = "the budget of this model"
        could = f"this answer may take {written(worst, budget.currency)}"
        if worst > budget.amount:
            return OverBudget(f"{could}, and {what} does not have as much: lower max_completion_tokens")
        stands = f" {written(found.settled, budget.currency)} are spent and {written(found.reserved, budget.currency)} "
        stands = stands + "reserved;" if own else ""
        if found.settled + worst <= budget.amount and self._shares is None:
            return OverBudget(
                f"{what} is reserved by answers under way:{stands} {could}; try again soon", retry_after=SOON
            )
        if budget.window is Window.TOTAL:
            return OverBudget(f"{what} is spent:{stands} {could}; lower max_completion_tokens, or ask for a larger one")
        ends = datetime.fromtimestamp(found.ends / 1000, UTC).isoformat(timespec="seconds")
        return OverBudget(
            f"{what} is spent:{stands} {could}; lower max_completion_tokens, or try again after {ends}",
            retry_after=max(0.001, (found.ends - quote.at_ms) / 1000),
        )

    def settle(self, held: Hold | Reservation, usage: Usage, cost: int, how: How) -> None:
        """What it cost. Never raises: what the store cannot take now it takes later, or it is said in the log."""
        now = self._clock.wall_ms()
        asked = held if isinstance(held, Reservation) else held.asked
        try:
            if isinstance(held, Hold):
                self.store.settle(held, usage, cost, how, now)
            elif sum(usage) or cost:
                self.store.charge(held, usage, cost, how, now)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)
            if isinstance(held, Reservation):
                told = {"id": asked.id, "usage": list(usage), "cost": cost, "currency": asked.currency}
                log.warning("spent and not written down", extra={"fields": told})
        if sum(usage) or cost:
            self._meter.spent(asked.account.endpoint, sum(usage), cost, asked.currency)

    def tick(self) -> None:
        """Settle what waits, and what dead processes left. Never raises."""
        try:
            count = self.store.tick(self._clock.wall_ms())
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)
            return
        self._why = ""
        if count:
            log.warning("settled what a process left that has ended", extra={"fields": {"answers": count}})

    def troubles(self) -> list[str]:
        return [f"budgets are not counted: {self._why}"] if self._why else []

    def _failed(self, error: Exception) -> None:
        if not self._why:
            log.warning("the ledger fails", extra={"fields": {"cause": _said(error)}})
        self._why = _said(error)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, FairleadError) else cause(error)
