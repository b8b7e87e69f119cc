"""Two processes that spend, end without a word and begin again, against a ledger in memory that is one process."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from fairlead.adapters.ledgers.mapped.store import MappedLedger
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Account, Hold, LedgerOptions, Line, Refusal, Reservation
from fairlead.testing.ledgers import MemoryLedger

HOUR = 3_600_000
BUDGETS = (
    ("tokens", 200, True, False, True),
    ("money", 900, True, True, True),
    ("soft", 50, True, False, False),
    ("total", 2000, False, False, True),
)
"""Name, amount, by the hour, of money, hard."""
PRICE = 5


class Both(NamedTuple):
    place: int
    life: int
    mapped: Hold
    memory: Hold


class Spending(RuleBasedStateMachine):
    holds = Bundle("holds")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.model = MemoryLedger()
        self.processes = [self._open(), self._open()]
        self.lives = [0, 0]
        self.flying: dict[str, tuple[Both, Usage]] = {}
        self.now, self.count, self.over = HOUR, 0, 0

    def _open(self) -> MappedLedger:
        return MappedLedger(LedgerOptions(str(self.folder)), 4000)

    @rule(target=holds, place=st.integers(0, 1), worst=st.integers(0, 120), chosen=st.sets(st.sampled_from(BUDGETS)))
    def reserve(self, place: int, worst: int, chosen: set[tuple[str, int, bool, bool, bool]]) -> object:
        begins = self.now - self.now % HOUR
        window = {True: (begins, begins + HOUR), False: (0, 10**15)}
        lines = [
            Line(name, *window[hourly], most, worst * (PRICE if money else 1), money, hard)
            for name, most, hourly, money, hard in sorted(chosen)
        ]
        self.count += 1
        asked = Reservation(f"r{self.count}", Account("p", "t", f"k{place}", "e", "m"), self.now, "USD", lines)
        mapped, memory = self.processes[place].reserve(asked), self.model.reserve(asked)
        if isinstance(mapped, Refusal) or isinstance(memory, Refusal):
            assert mapped == memory
            return multiple()
        assert list(mapped.over) == list(memory.over)
        found = Both(place, self.lives[place], mapped, memory)
        self.flying[asked.id] = found, Usage()
        return found

    def _mine(self, both: Both) -> bool:
        return both.life == self.lives[both.place] and both.mapped.asked.id in self.flying

    @rule(both=holds, tokens=st.integers(0, 60))
    def progress(self, both: Both, tokens: int) -> None:
        if self._mine(both):
            usage = Usage(tokens, 0, tokens // 2, 0)
            self.processes[both.place].progress(both.mapped, usage, sum(usage) * PRICE)
            self.flying[both.mapped.asked.id] = both, usage

    @rule(both=holds, tokens=st.integers(0, 150))
    def settle(self, both: Both, tokens: int) -> None:
        if both.life == self.lives[both.place]:  # once or often
            self.flying.pop(both.mapped.asked.id, None)
            self.processes[both.place].settle(both.mapped, Usage(tokens), tokens * PRICE, "settled", self.now)
            self.model.settle(both.memory, Usage(tokens), tokens * PRICE, "settled", self.now)
            worst = max((line.worst // (PRICE if line.money else 1) for line in both.mapped.asked.lines), default=0)
            self.over += max(0, tokens - worst)

    @rule(both=holds)
    def release(self, both: Both) -> None:
        if both.life == self.lives[both.place]:
            self.flying.pop(both.mapped.asked.id, None)
            self.processes[both.place].release(both.mapped)
            self.model.release(both.memory)

    @rule(place=st.integers(0, 1))
    def crash(self, place: int) -> None:
        """The process ends; another takes its place, and finds what it left."""
        self.processes[place]._owner.close()
        self.processes[place]._log.close()
        self.processes[place] = self._open()
        self.lives[place] += 1
        for identity, (both, usage) in list(self.flying.items()):
            if both.place == place:
                del self.flying[identity]
                self.model.settle(both.memory, usage, sum(usage) * PRICE, "lost", self.now)
                worst = max((line.worst // (PRICE if line.money else 1) for line in both.mapped.asked.lines), default=0)
                self.over += max(0, sum(usage) - worst)
        self.processes[1 - place].tick(self.now)

    @rule(place=st.integers(0, 1), key=st.sampled_from([one[0] for one in BUDGETS]))
    def reset(self, place: int, key: str) -> None:
        if any(one.key == key for one in self.model.balances()):
            assert self.processes[place].reset(key, "ann", self.now) == self.model.reset(key, "ann", self.now)

    @rule(milliseconds=st.sampled_from([1, HOUR // 3, HOUR, -HOUR]))
    def pass_time(self, milliseconds: int) -> None:
        self.now = max(HOUR, self.now + milliseconds)

    @rule(place=st.integers(0, 1))
    def rebuild(self, place: int) -> None:
        before = self.processes[place].balances()
        assert self.processes[place].rebuild() == before

    @invariant()
    def stands_as_it_would_in_one_process(self) -> None:
        if not hasattr(self, "model"):
            return
        first, second = (one.balances() for one in self.processes)
        assert first == second == self.model.balances()
        most = {name: most for name, most, _, _, hard in BUDGETS if hard}
        for one in first:
            assert one.settled >= 0
            assert one.reserved >= 0
            if one.key in most:
                overrun = self.over * (PRICE if one.key == "money" else 1)
                assert one.settled <= most[one.key] + overrun
                assert one.settled + one.reserved <= most[one.key] + overrun

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        told = [(one.id, one.usage, one.cost, one.how, one.of) for one in self.model.spends()]
        mapped = [(one.id, one.usage, one.cost, one.how, one.of) for one in self.processes[0].spends()]
        assert sorted(mapped) == sorted(told)
        for one in self.processes:
            one.close()
        shutil.rmtree(self.folder)


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
