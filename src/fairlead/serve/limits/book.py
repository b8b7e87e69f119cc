"""Where it is counted: in this process, or in the table that the workers of a machine share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from fairlead.serve.limits import buckets
from fairlead.serve.limits.buckets import AnyBucket, Costs, Counted, Flying, Lasting
from fairlead.serve.limits.table import Held, Table


class Book(Protocol):
    """``now``: monotonic nanoseconds.  ``wall``: milliseconds since 1970. Decides at once, and never raises."""

    def take(self, buckets: tuple[AnyBucket, ...], costs: Costs, now: int, wall: int) -> bool:
        """Charge all of them, or none."""

    def force(self, buckets: tuple[AnyBucket, ...], costs: Costs, now: int, wall: int) -> None:
        """Charge all of them, whatever they say."""

    def give(self, buckets: Sequence[Lasting], amount: int, since: int, now: int, wall: int) -> None:
        """As ``buckets.give``, of each of them."""

    def land(self, flying: Sequence[Flying], now: int, wall: int) -> None:
        """Something is no more in flight."""

    def begin(self, one: AnyBucket, now: int, wall: int) -> None:
        """A bucket is counted from now on: with what is already known of it."""

    def settle(self, quotas: Sequence[Counted], now: int, wall: int) -> None:
        """Now and then, and at the end: what was counted here is told to who else counts, and kept."""

    def troubles(self) -> list[str]: ...


class Alone:
    """One process counts, in its own memory; ``table`` keeps its quotas, as they were when ``settle`` was last called.

    Another server of the same home is heard of then, too.
    """

    take = staticmethod(buckets.take)
    force = staticmethod(buckets.force)

    def __init__(self, table: Table | None = None) -> None:
        self._table = table
        self._held = False

    def give(self, found: Sequence[Lasting], amount: int, since: int, now: int, wall: int) -> None:  # noqa: ARG002
        for one in found:
            buckets.give(one, amount, since, wall)

    def land(self, flying: Sequence[Flying], now: int, wall: int) -> None:  # noqa: ARG002 - the table needs them
        for one in flying:
            one.value = max(0, one.value - 1)

    def begin(self, one: AnyBucket, now: int, wall: int) -> None:
        if type(one) is Counted:
            self.settle([one], now, wall)

    def settle(self, quotas: Sequence[Counted], now: int, wall: int) -> None:
        table = self._table
        if table is None or not quotas:
            return
        try:
            with table.locked():
                for one in quotas:
                    _add(table, one, now, wall)
        except Held:
            self._held = True
        else:
            self._held = False

    def troubles(self) -> list[str]:
        return [_HELD] if self._held else []


def _add(table: Table, one: Counted, now: int, wall: int) -> None:
    """What was counted since ``told`` joins what the table has of the same period; a later period begins afresh."""
    counted, begins, ends = one.value - one.told, one.begins, one.ends
    table.load(one, now, wall)
    if ends > one.ends:
        one.value, one.begins, one.ends = 0, begins, ends
    elif ends < one.ends:
        counted = 0
    one.value += counted
    one.told = one.value
    if one.ends:
        table.store(one)


OWED: Final = 10_000
"""Calls that were counted alone and are told to the table later; more are not."""


class Together:
    """The workers of a machine count in one table. Where another has it and was stopped there, each counts alone, and
    tells the table when it is free.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._held = False
        self._owed: list[tuple[tuple[AnyBucket, ...], Costs]] = []
        self._flown: dict[str, tuple[Flying, int]] = {}
        """What took off here more often than it landed, or less, and the table was not told yet."""

    def take(self, found: tuple[AnyBucket, ...], costs: Costs, now: int, wall: int) -> bool:
        table = self._table
        try:
            table.lock()
        except Held:
            self._held = True
            taken = buckets.take(found, costs, now, wall)
            if taken:
                self._owe(found, costs)
            return taken
        try:
            if self._owed or self._flown:
                self._pay(now, wall)
            for one in found:
                table.load(one, now, wall)
            taken = buckets.take(found, costs, now, wall)
            if taken:
                for one in found:
                    table.store(one)
        finally:
            table.unlock()
        self._held = False
        return taken

    def force(self, found: tuple[AnyBucket, ...], costs: Costs, now: int, wall: int) -> None:
        try:
            with self._table.locked():
                for one in found:
                    self._table.load(one, now, wall)
                buckets.force(found, costs, now, wall)
                for one in found:
                    self._table.store(one)
        except Held:
            self._held = True
            buckets.force(found, costs, now, wall)

    def give(self, found: Sequence[Lasting], amount: int, since: int, now: int, wall: int) -> None:
        """While the table cannot be had, what was charged there stays."""
        try:
            with self._table.locked():
                for one in found:
                    self._table.load(one, now, wall)
                    buckets.give(one, amount, since, wall)
                    self._table.store(one)
        except Held:
            self._held = True
            for one in found:
                buckets.give(one, amount, since, wall)

    def _owe(self, found: tuple[AnyBucket, ...], costs: Costs) -> None:
        for one in found:
            if isinstance(one, Flying):
                self._fly(one, 1)
        if len(self._owed) < OWED:
            self._owed.append((tuple(one for one in found if not isinstance(one, Flying)), costs))

    def _fly(self, one: Flying, more: int) -> None:
        _, known = self._flown.get(one.key, (one, 0))
        self._flown[one.key] = (one, known + more)

    def _pay(self, now: int, wall: int) -> None:
        """Tell the table what was counted alone. With the lock."""
        owed, self._owed = self._owed, []
        flown, self._flown = self._flown, {}
        for flying, more in flown.values():
            self._table.load(flying, now, wall)
            flying.value = max(0, flying.value + more)
            self._table.store(flying)
        for found, costs in owed:
            for one in found:
                self._table.load(one, now, wall)
            buckets.force(found, costs, now, wall)
            for one in found:
                self._table.store(one)

    def land(self, flying: Sequence[Flying], now: int, wall: int) -> None:
        try:
            with self._table.locked():
                if self._owed or self._flown:
                    self._pay(now, wall)
                for one in flying:
                    self._table.load(one, now, wall)
                    one.value = max(0, one.value - 1)
                    self._table.store(one)
        except Held:
            self._held = True
            for one in flying:
                one.value = max(0, one.value - 1)
                self._fly(one, -1)

    def begin(self, one: AnyBucket, now: int, wall: int) -> None:
        """The table has it."""

    def settle(self, quotas: Sequence[Counted], now: int, wall: int) -> None:
        """It always is."""

    def troubles(self) -> list[str]:
        return [_HELD] if self._held else []


_HELD = "limits are counted by each worker alone: another one holds their table and does not let go"
