"""The ledger of a machine. Stands on the standard library: a mapped file, a log, and a lock of each process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from fairlead.adapters.ledgers.mapped import log as logs
from fairlead.adapters.ledgers.mapped.log import Entry, Log
from fairlead.adapters.ledgers.mapped.memory import LOG_END, SEGMENT, SERIAL, TEXT_BYTES, Memory
from fairlead.adapters.ledgers.mapped.owners import Owner
from fairlead.adapters.ledgers.mapped.rows import LARGEST, RESERVED, Changes, Rows, Stand
from fairlead.adapters.ledgers.mapped.slots import HELD, Slots
from fairlead.contracts.errors import FairleadError, NotFound, Unavailable, UsageError
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import LINES, Account, Balance, Hold, How, LedgerOptions, Refusal, Reservation, Spend
from fairlead.kit.clock import SystemClock

_DAY_MS: Final = 86_400_000
_NOTHING: Final = Usage()
_LOOK_MS: Final = 100
"""Between two looks for processes that have ended, where something is refused."""


class MappedLedger:
    """Ledger ``file``. ``segment``: bytes of the log after which another file is begun."""

    def __init__(self, options: LedgerOptions, segment: int = logs.LARGEST) -> None:
        folder = Path(options.folder)
        self._days = options.days
        self._memory = Memory(folder / "balances-1")
        self._owner = Owner(folder / "owners")
        self._rows, self._slots = Rows(self._memory), Slots(self._memory, self._owner)
        self._log = Log(folder, segment)
        self._owed: list[tuple[Hold, int]] = []
        self._looked = 0
        self._memory.wait()
        try:
            if self._memory.fresh():
                self._memory.clear()
                _recall(self._log, self._rows, self._memory)
                self._memory.begun()
        finally:
            self._memory.unlock()

    def reserve(self, asked: Reservation) -> Hold | Refusal:
        if len(asked.lines) > LINES:
            raise UsageError(f"{len(asked.lines)} budgets hold for one answer; {LINES} can, at most")
        memory = self._memory
        memory.lock()
        try:
            if not self._slots.ready() and not (self._look(asked.at_ms) and self._slots.ready()):
                raise Unavailable("the ledger has no room for more answers at once; try again", retry_after=1)
            found = self._reserve(asked)
            if type(found) is Refusal and found.reserved and self._look(asked.at_ms):
                found = self._reserve(asked)
            return found
        finally:
            memory.unlock()

    def _reserve(self, asked: Reservation) -> Hold | Refusal:
        changes: Changes = []
        over: list[int] = []
        stands: list[Stand] = []
        taken: list[int] = []
        for place, line in enumerate(asked.lines):
            one = self._rows.stand(line, asked.at_ms, taken, changes)
            if one.settled + one.reserved + line.worst > line.most:
                if line.hard:
                    return Refusal(place, one.settled, one.reserved, one.ends)
                over.append(place)
            changes.append((one.row + RESERVED, min(LARGEST, one.reserved + line.worst)))
            stands.append(one)
            taken.append(one.row)
        serial = self._memory.words[SERIAL] + 1
        text = logs.packed(asked.id, asked.account, asked.currency, TEXT_BYTES)
        at = self._slots.take(serial, asked, stands, text)
        changes += ((at, HELD), (SERIAL, serial))
        self._memory.change(changes)
        return Hold(asked, at, serial, over)

    def progress(self, hold: Hold, usage: Usage, cost: int) -> None:
        if self._slots.holds(hold):
            self._slots.progress(hold.place, usage, cost)

    def settle(self, hold: Hold, usage: Usage, cost: int, how: How, now_ms: int) -> None:
        if self._slots.holds(hold):  # first, so that it is known whatever becomes of the rest
            self._slots.end(hold.place, usage, cost, how)
        self._owed.append((hold, now_ms))
        while self._owed:
            self._pay()

    def release(self, hold: Hold) -> None:
        self.settle(hold, _NOTHING, 0, "settled", 0)

    def charge(self, asked: Reservation, usage: Usage, cost: int, how: How, now_ms: int) -> None:
        soft = [line._replace(worst=0, hard=False) for line in asked.lines]
        hold = self.reserve(asked._replace(lines=soft))
        if isinstance(hold, Hold):  # nothing is refused where nothing is hard
            self.settle(hold, usage, cost, how, now_ms)

    def tick(self, now_ms: int) -> int:
        while self._owed:
            self._pay()
        with self._memory.locked():
            return self._left_behind(now_ms)

    def flush(self) -> None:
        segment = self._memory.words[SEGMENT]
        self._log.sync(segment)
        if self._days:
            self._log.prune(SystemClock.wall_ms() - self._days * _DAY_MS, segment)

    def balances(self) -> list[Balance]:
        with self._memory.locked():
            return sorted(self._rows.all())

    def spends(self, since_ms: int = 0, until_ms: int | None = None) -> Iterator[Spend]:
        for one in self._log.spends(*self._end(), since_ms=since_ms):
            if since_ms <= one.at_ms and (until_ms is None or one.at_ms < until_ms):
                yield one

    def spends_after(self, place: str, since_ms: int = 0) -> tuple[Iterator[Spend], str] | None:
        segment, at, of = map(int, (place or "0.0.0").split("."))
        after, (last, end) = (segment, at), self._end()
        if after > (last, end) or (of and of != self._log.identity(segment)):
            return None
        return self._log.spends(last, end, after, since_ms), f"{last}.{end}.{self._log.identity(last)}"

    def _end(self) -> tuple[int, int]:
        with self._memory.locked():
            return self._memory.words[SEGMENT], self._memory.words[LOG_END]

    def reset(self, key: str, by: str, now_ms: int) -> Balance:
        with self._memory.locked():
            found = self._rows.named(key)
            if found is None:
                raise NotFound(f"there is no balance {key[:120]!r}; `fairlead ledger show` names them")
            row, balance = found
            reset = (key, balance.begins, balance.ends, balance.settled)
            self._write(Entry(at=now_ms, ended=now_ms, reset=reset, by=by), self._rows.cleared(row))
        return balance

    def rebuild(self) -> list[Balance]:
        with self._memory.locked():
            found, _ = logs.told(self._log, self._memory.words[SEGMENT], self._memory.words[LOG_END])
            self._rows.replace(found)
            return sorted(self._rows.all())

    def close(self) -> None:
        with contextlib.suppress(FairleadError):
            while self._owed:
                self._pay()
            with self._memory.locked():
                empty = self._slots.give_back()
            if empty:
                self._owner.forget(self._owner.number)
        self._owner.close()
        self._log.close()
        self._memory.close()

    def _pay(self) -> None:
        """Settle the first that waits. Raises Unavailable and StorageFull, and then it still waits."""
        hold, now_ms = self._owed[0]
        asked = hold.asked
        self._memory.lock()
        try:
            if self._slots.holds(hold):  # else another process took this one for dead, and has settled it
                self._settle(hold.place, asked.id, asked.account, asked.currency, now_ms)
                self._slots.give(hold.place)
        finally:
            self._memory.unlock()
        self._owed.pop(0)

    def _settle(self, at: int, id_: str, account: Sequence[str], currency: str, now_ms: int) -> None:
        """As the slot says. With the lock."""
        slots, rows = self._slots, self._rows
        usage, cost, how, at_ms = slots.told(at)
        tokens = sum(usage)
        changes: Changes = []
        of: list[tuple[str, int, int, int]] = []
        for row, begins, worst, money, mark in slots.lines(at):
            if rows.is_now(row, begins, mark):
                amount = cost if money else tokens
                changes += rows.settled(row, worst, amount)
                if amount:
                    of.append(rows.taken(row, amount))
        changes.append((at, 0))
        if not tokens and not cost:
            self._memory.change(changes)
            return
        ended = max(now_ms, at_ms)
        self._write(Entry(id_, Account(*account), at_ms, ended, usage, cost, currency, how, of), changes)

    def _write(self, entry: Entry, changes: Changes) -> None:
        """Log it and make the changes: both or neither."""
        words = self._memory.words
        segment, end = words[SEGMENT], words[LOG_END]
        if self._log.full(end):
            segment += 1
            end = self._log.begin(segment, self._rows.all())
        end = self._log.put(segment, end, logs.line(entry))
        changes += ((SEGMENT, segment), (LOG_END, end))
        self._memory.change(changes)

    def _look(self, now_ms: int) -> int:
        """The same as ``_left_behind``, and not too often."""
        if abs(now_ms - self._looked) < _LOOK_MS:
            return 0
        self._looked = now_ms
        return self._left_behind(now_ms)

    def _left_behind(self, now_ms: int) -> int:
        """Settle what processes had that have ended, at what was last known of it. With the lock."""
        count = 0
        for number, blocks in self._slots.dead().items():
            for at in self._slots.held(blocks):
                self._slots.lost(at)
                id_, account, currency = logs.unpacked(self._slots.text(at))
                self._settle(at, id_, account, currency, now_ms)
                count += 1
            self._memory.change([(owner, 0) for owner in blocks])
            self._owner.forget(number)
        return count


def _recall(log: Log, rows: Rows, memory: Memory) -> None:
    """The balances as the log has them, of a machine that has just been started."""
    segments = log.segments()
    for segment in reversed(segments):  # the last one that is whole
        found, end = logs.told(log, segment)
        if end:
            break
    else:
        segment, found = max(segments, default=0) + 1, {}
        end = log.begin(segment, ())
    log.cut(segment, end)
    rows.replace(found)
    memory.change([(SEGMENT, segment), (LOG_END, end)])
