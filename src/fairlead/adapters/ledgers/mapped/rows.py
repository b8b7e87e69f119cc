"""Balances in the mapped file: found by a digest of their key, turned when their window has passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from fairlead.adapters.ledgers.mapped.memory import (
    BALANCE,
    BALANCES,
    BALANCES_AT,
    KEY_AT,
    KEY_BYTES,
    Memory,
    digest,
)
from fairlead.contracts.errors import Unavailable, UsageError
from fairlead.contracts.ledger import Balance, Line

SETTLED, RESERVED, BEGINS, ENDS, ANSWERS, LENGTH = 2, 3, 4, 5, 6, 7
"""Words of a row, behind the digest."""
_PROBES: Final = 256
_KNOWN: Final = 16_384
LARGEST: Final = 2**62

Changes = list[tuple[int, int]]


class Stand(NamedTuple):
    """``mark``: what tells the row from a later one in its place."""

    row: int
    mark: int
    settled: int
    reserved: int
    begins: int
    ends: int


class Rows:
    """Only with the memory's lock. A row is told by the place of its first word."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._words = memory.words
        self._known: dict[str, tuple[int, int, int]] = {}

    def stand(self, line: Line, at_ms: int, taken: list[int], changes: Changes) -> Stand:
        """How the balance of a line stands. What must change for it joins ``changes``.

        ``taken``: rows that are not to be had any more.

        A clock that is set back does not give a window again: it goes on until the clock has passed it.
        Raises Unavailable where there is no room for one more.
        """
        words = self._words
        row, low, high = self._known.get(line.key) or self._place(line.key)
        if row >= 0 and words[row] == low and words[row + 1] == high:
            begins, ends = words[row + BEGINS], words[row + ENDS]
            if ends >= line.ends:
                return Stand(row, low, words[row + SETTLED], words[row + RESERVED], begins, ends)
        else:
            row = self._find(line.key, low, high, at_ms, taken)
            if words[row] == low and words[row + 1] == high:
                return self.stand(line, at_ms, taken, changes)
            key = line.key.encode()
            self._memory.put_text(row + KEY_AT, key)
            changes += ((row, low), (row + 1, high), (row + LENGTH, len(key)))
        changes += ((row + SETTLED, 0), (row + ANSWERS, 0), (row + BEGINS, line.begins), (row + ENDS, line.ends))
        return Stand(row, low, 0, 0, line.begins, line.ends)

    def is_now(self, row: int, begins: int, mark: int) -> bool:
        """Whether this is still the balance with that mark, in the window that began then."""
        return bool(self._words[row] == mark and self._words[row + BEGINS] == begins)

    def settled(self, row: int, worst: int, amount: int) -> Changes:
        """What becomes of it when ``worst`` of what is reserved is settled with ``amount``."""
        words = self._words
        return [
            (row + RESERVED, max(0, words[row + RESERVED] - worst)),
            (row + SETTLED, min(LARGEST, words[row + SETTLED] + amount)),
            (row + ANSWERS, words[row + ANSWERS] + (1 if amount else 0)),
        ]

    def taken(self, row: int, amount: int) -> tuple[str, int, int, int]:
        """Key, window and amount, as the log has them."""
        return self._key(row), self._words[row + BEGINS], self._words[row + ENDS], amount

    def cleared(self, row: int) -> Changes:
        return [(row + SETTLED, 0), (row + ANSWERS, 0)]

    def named(self, key: str) -> tuple[int, Balance] | None:
        low, high = digest(key)
        row = self._there(low, high)
        return None if row < 0 else (row, self._balance(row))

    def all(self) -> list[Balance]:
        words = self._words
        rows = range(BALANCES_AT, BALANCES_AT + BALANCES * BALANCE, BALANCE)
        found = [self._balance(row) for row in rows if words[row] and digest(self._key(row))[0] == words[row]]
        return [one for one in found if one.key]

    def replace(self, found: Mapping[str, Balance]) -> None:
        """As these say; what is reserved stays. One by one: whoever is killed here begins it again."""
        for row in range(BALANCES_AT, BALANCES_AT + BALANCES * BALANCE, BALANCE):
            if self._words[row] and self._key(row) not in found:
                self._memory.change(self.cleared(row))
        for key, one in found.items():
            changes: Changes = []
            line = Line(key, one.begins, one.ends, 0, 0, money=False, hard=False)
            stand = self.stand(line, one.begins, [], changes)
            row, now = stand.row, stand.begins == one.begins  # else nothing was settled in a later window
            changes += ((row + SETTLED, one.settled if now else 0), (row + ANSWERS, one.answers if now else 0))
            self._memory.change(changes)

    def _place(self, key: str) -> tuple[int, int, int]:
        """Where it is, -1 for nowhere yet, and its digest."""
        if len(key.encode()) > KEY_BYTES:
            raise UsageError(f"balance {key[:60]!r}... has a name of more than {KEY_BYTES} bytes; shorten the budget's")
        low, high = digest(key)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[key] = found = self._there(low, high), low, high
        return found

    def _there(self, low: int, high: int) -> int:
        words = self._words
        for probe in range(_PROBES):
            row = BALANCES_AT + (low + probe) % BALANCES * BALANCE
            if words[row] == low and words[row + 1] == high:
                return row
            if not words[row]:  # no row is ever empty again
                break
        return -1

    def _find(self, key: str, low: int, high: int, at_ms: int, taken: list[int]) -> int:
        """Where it is, or a place for it: an empty one, or one whose window has passed and that nobody waits for."""
        words, row = self._words, self._there(low, high)
        for probe in range(_PROBES if row < 0 else 0):
            at = BALANCES_AT + (low + probe) % BALANCES * BALANCE
            if at in taken:
                continue
            if not words[at] or (words[at + ENDS] <= at_ms and not words[at + RESERVED]):
                row = at
                break
        if row < 0:
            raise Unavailable("the ledger has no room for more budgets; use fewer of each key", retry_after=60)
        self._known[key] = row, low, high
        return row

    def _balance(self, row: int) -> Balance:
        words = self._words
        return Balance(
            self._key(row),
            words[row + BEGINS],
            words[row + ENDS],
            words[row + SETTLED],
            words[row + RESERVED],
            words[row + ANSWERS],
        )

    def _key(self, row: int) -> str:
        return self._memory.text(row + KEY_AT, self._words[row + LENGTH]).decode(errors="replace")
