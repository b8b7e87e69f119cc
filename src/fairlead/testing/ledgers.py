"""A ledger in memory with the semantics of real ones: one process, nothing outlives it."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.contracts.errors import FairleadError, NotFound
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Balance, Hold, How, LedgerOptions, Line, Refusal, Reservation, Spend


class MemoryLedger:
    """Ledger ``memory``. ``fails``: raised by whatever changes something, while it is set.

    ``told``: progress by serial number.
    """

    def __init__(self, options: LedgerOptions | None = None) -> None:
        self.options = options
        self.fails: FairleadError | None = None
        self.told: dict[int, tuple[Usage, int]] = {}
        self.flushed = 0
        self._balances: dict[str, Balance] = {}
        self._held: dict[int, tuple[Hold, list[tuple[Line, int]]]] = {}
        self._owed: list[tuple[Hold, Usage, int, How, int]] = []
        self._log: list[Spend | tuple[str, int]] = []
        self._serial = 0

    def reserve(self, asked: Reservation) -> Hold | Refusal:
        self._may()
        over = []
        for place, line in enumerate(asked.lines):
            one = self._stand(line)
            if one.settled + one.reserved + line.worst > line.most:
                if line.hard:
                    return Refusal(place, one.settled, one.reserved, one.ends)
                over.append(place)
        taken = []
        for line in asked.lines:
            one = self._stand(line)
            self._balances[line.key] = one._replace(reserved=one.reserved + line.worst)
            taken.append((line, one.begins))
        self._serial += 1
        hold = Hold(asked, self._serial, self._serial, over)
        self._held[self._serial] = hold, taken
        return hold

    def progress(self, hold: Hold, usage: Usage, cost: int) -> None:
        self.told[hold.serial] = usage, cost

    def settle(self, hold: Hold, usage: Usage, cost: int, how: How, now_ms: int) -> None:
        self._owed.append((hold, usage, cost, how, now_ms))
        self.tick(now_ms)

    def release(self, hold: Hold) -> None:
        self.settle(hold, Usage(), 0, "settled", 0)

    def charge(self, asked: Reservation, usage: Usage, cost: int, how: How, now_ms: int) -> None:
        soft = [line._replace(worst=0, hard=False) for line in asked.lines]
        hold = self.reserve(asked._replace(lines=soft))
        if isinstance(hold, Hold):  # nothing is refused where nothing is hard
            self.settle(hold, usage, cost, how, now_ms)

    def tick(self, now_ms: int) -> int:  # noqa: ARG002 - the contract names it
        self._may()
        while self._owed:
            self._settle(*self._owed.pop(0))
        return 0

    def flush(self) -> None:
        self.flushed += 1

    def balances(self) -> list[Balance]:
        return sorted(self._balances.values())

    def spends(self, since_ms: int = 0, until_ms: int | None = None) -> Iterator[Spend]:
        for one in self._log:
            if isinstance(one, Spend) and since_ms <= one.at_ms and (until_ms is None or one.at_ms < until_ms):
                yield one

    def reset(self, key: str, by: str, now_ms: int) -> Balance:  # noqa: ARG002 - the contract names them
        self._may()
        one = self._balances.get(key)
        if one is None:
            raise NotFound(f"there is no balance {key!r}")
        self._balances[key] = one._replace(settled=0, answers=0)
        self._log.append((key, one.begins))
        return one

    def spends_after(self, place: str, since_ms: int = 0) -> tuple[Iterator[Spend], str] | None:
        self._may()
        begun = int(place or 0)
        if begun > len(self._log):
            return None
        some = [one for one in self._log[begun:] if isinstance(one, Spend) and one.at_ms >= since_ms]
        return iter(some), str(len(self._log))

    def rebuild(self) -> list[Balance]:
        for key, one in self._balances.items():
            self._balances[key] = one._replace(settled=0, answers=0)
        for entry in self._log:
            if not isinstance(entry, Spend):
                self._balances[entry[0]] = self._balances[entry[0]]._replace(settled=0, answers=0)
                continue
            for key, begins, _, amount in entry.of:
                one = self._balances[key]
                if one.begins == begins:
                    self._balances[key] = one._replace(settled=one.settled + amount, answers=one.answers + 1)
        return self.balances()

    def close(self) -> None:
        """There is nothing to close."""

    def _may(self) -> None:
        if self.fails is not None:
            raise self.fails

    def _stand(self, line: Line) -> Balance:
        one = self._balances.get(line.key)
        if one is None or one.ends < line.ends:
            one = self._balances[line.key] = Balance(line.key, line.begins, line.ends, 0, 0, 0)
        return one

    def _settle(self, hold: Hold, usage: Usage, cost: int, how: How, now_ms: int) -> None:
        found = self._held.pop(hold.serial, None)
        if found is None:
            return
        of = []
        for line, begins in found[1]:
            one = self._balances[line.key]
            if one.begins != begins:
                continue
            amount = cost if line.money else sum(usage)
            if amount:
                of.append((line.key, begins, one.ends, amount))
            self._balances[line.key] = one._replace(
                reserved=max(0, one.reserved - line.worst),
                settled=one.settled + amount,
                answers=one.answers + (1 if amount else 0),
            )
        asked = hold.asked
        if sum(usage) or cost:
            ended = max(now_ms, asked.at_ms)
            self._log.append(
                Spend(asked.id, asked.account, asked.at_ms, ended, usage, cost, asked.currency, how, tuple(of))
            )
