"""What may be spent, what an answer costs, and what was spent. Entry-point group ``fairlead.ledgers``.

Amounts are whole numbers: tokens, or nano-units of a currency (0.15 USD is 150,000,000). Nothing here is a float.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from fairlead.contracts.generation import Usage

NANO = 10**9
"""Nano-units of a currency in one of it."""

LINES = 12
"""Budgets that hold for one answer, at most; ``BROUGHT`` of them by its caller."""
BROUGHT = 4

EACH = "*"
"""In place of a name: each of them has a budget of its own."""

How = Literal["settled", "cancelled", "failed", "lost"]
"""How an answer ended: whole; given up by the caller; by an error; with the process that had it."""


class Window(StrEnum):
    """Of the calendar in the budget's time zone; a week begins on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Budget:
    """``amount`` in each ``window``. ``currency``: empty where tokens are counted, else of the money.

    ``hard``: what does not fit is refused; else it is told and goes on.
    ``tenant``, ``key``, ``endpoint``: whose it is; empty for all of them together, ``*`` for each one apart.
    """

    name: str
    amount: int
    window: Window
    currency: str = ""
    zone: str = "UTC"
    hard: bool = True
    tenant: str = ""
    key: str = ""
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """Of a model from ``since_ms`` on: nano-units for a million tokens, by the classes of ``Usage``."""

    model: str
    since_ms: int
    currency: str
    input: int
    cached: int
    output: int
    reasoning: int


class Account(NamedTuple):
    """Who spends, and on what."""

    project: str = ""
    tenant: str = ""
    key: str = ""
    endpoint: str = ""
    model: str = ""


class Line(NamedTuple):
    """What an answer may take of one budget, at worst. ``key``: of the balance.

    ``begins``, ``ends``: of the window, milliseconds since 1970.  ``most``: the budget's amount.
    ``money``: counts the cost, not the tokens.
    """

    key: str
    begins: int
    ends: int
    most: int
    worst: int
    money: bool
    hard: bool


class Reservation(NamedTuple):
    """An answer that is about to be made. ``at_ms``: now; the answer belongs to the windows of this time.

    ``currency``: of its price; empty where nobody has to be paid.
    """

    id: str
    account: Account
    at_ms: int
    currency: str
    lines: Sequence[Line]


class Refusal(NamedTuple):
    """``line``: the place of the one that does not fit.  ``ends``: when its window does."""

    line: int
    settled: int
    reserved: int
    ends: int


class Hold:
    """What was reserved for an answer. ``over``: places of the lines that are not hard and did not fit.

    ``place``, ``serial``: where the store has it.
    """

    __slots__ = ("asked", "over", "place", "serial")

    def __init__(self, asked: Reservation, place: int, serial: int, over: Sequence[int] = ()) -> None:
        self.asked, self.over = asked, over
        self.place, self.serial = place, serial


class Balance(NamedTuple):
    """How a budget stands in its present window. ``answers``: how many were settled."""

    key: str
    begins: int
    ends: int
    settled: int
    reserved: int
    answers: int


@dataclass(frozen=True, slots=True)
class Spend:
    """What was paid for an answer: a line of the log. ``at_ms``: when it was reserved.  ``cost``: nano-units.

    ``of``: the balances that it was taken from: key, beginning and end of the window, amount.
    """

    id: str
    account: Account
    at_ms: int
    ended_ms: int
    usage: Usage
    cost: int
    currency: str
    how: How
    of: tuple[tuple[str, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """``folder``: where it is kept.  ``days``: that the log is kept; 0: for ever."""

    folder: str
    days: int = 0


class LedgerStore(Protocol):
    """Shared by all processes of a machine, and safe when one of them is killed at any instruction.

    Nothing waits longer than some 0.1 s. Raises Unavailable while another process holds it up or it is full,
    StorageFull when it cannot be written.
    """

    def reserve(self, asked: Reservation) -> Hold | Refusal:
        """All lines or none."""

    def progress(self, hold: Hold, usage: Usage, cost: int) -> None:
        """What was spent so far; told should this process end. Never raises, never waits."""

    def settle(self, hold: Hold, usage: Usage, cost: int, how: How, now_ms: int) -> None:
        """What it was in the end. What cannot be written down now is, by the next ``tick``: then it raises too."""

    def release(self, hold: Hold) -> None:
        """Nothing was spent."""

    def charge(self, asked: Reservation, usage: Usage, cost: int, how: How, now_ms: int) -> None:
        """Spent without having been reserved."""

    def tick(self, now_ms: int) -> int:
        """Now and then: settle what waits, and what processes that have ended left behind; how many that were."""

    def flush(self) -> None:
        """What was settled outlives the machine's power from now on. From any thread."""

    def balances(self) -> list[Balance]:
        """Of all budgets that something was taken of, by key."""

    def spends(self, since_ms: int = 0, until_ms: int | None = None) -> Iterator[Spend]:
        """The log, in the order of settling: answers reserved in ``[since_ms, until_ms)``."""

    def spends_after(self, place: str, since_ms: int = 0) -> tuple[Iterator[Spend], str] | None:
        """What was settled after ``place``, and the place where that ends: for who adds up as it comes. Empty: after
        the beginning. What was reserved before ``since_ms`` may be left out. None for a place that the log has not.
        """

    def reset(self, key: str, by: str, now_ms: int) -> Balance:
        """Begin the present window of a balance afresh; what it was is returned and logged. Raises NotFound."""

    def rebuild(self) -> list[Balance]:
        """Make the balances of the log alone, as after a crash of the machine; what is reserved stays."""

    def close(self) -> None: ...
