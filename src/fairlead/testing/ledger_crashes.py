"""Processes that spend from one ledger and are killed at random moments: does it still add up?

::

    python -m fairlead.testing.ledger_crashes FOLDER [--ledger file] [--seconds 5] [--workers 4] [--overrun 0]

Each worker reserves, tells progress, settles and releases without a pause; what it is about to tell it writes down
first, in a file of its own. A killer ends one of them with SIGKILL every few milliseconds and starts another. Windows
pass twice a second. Then the log, the balances and what was written down are held against one another. ``--overrun``:
tokens that some answers use beyond their worst case. Exit code 1 when anything does not add up.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import mmap
import os
import random
import signal
import struct
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Account, Hold, LedgerOptions, LedgerStore, Line, Refusal, Reservation
from fairlead.kit import plugins

HOUR: Final = 3_600_000
SPEED: Final = 7200
"""How much faster the windows pass."""
TOKENS, MONEY, SOFT, FOREVER = "tokens", "money", "soft", "forever"
MOST: Final = {TOKENS: 6_000, MONEY: 40_000, SOFT: 1_000, FOREVER: 10**9}
PRICE: Final = 7
PIECE: Final = 16
FLYING: Final = 6
"""Answers of one worker at once."""
_COUNT: Final = struct.Struct("=q")


@dataclass
class Found:
    """What became of it. ``largest_overspend``: tokens, or money, over the amount of a hard budget in any window.

    ``largest_loss``: tokens of one answer that were used and never settled.  ``wrong``: what does not add up.
    """

    operations: int = 0
    crashes: int = 0
    settled: int = 0
    lost: int = 0
    windows: int = 0
    full_windows: int = 0
    largest_overspend: int = 0
    overspend_bound: int = 0
    largest_loss: int = 0
    loss_bound: int = PIECE
    wrong: list[str] = field(default_factory=list)


class Counts:
    """Operations of each worker, in memory that all share."""

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, 8 * workers)
        self._workers = workers

    def add(self, place: int) -> None:
        _COUNT.pack_into(self._memory, 8 * place, _COUNT.unpack_from(self._memory, 8 * place)[0] + 1)

    def total(self) -> int:
        return sum(_COUNT.unpack_from(self._memory, 8 * place)[0] for place in range(self._workers))


class Worker:
    """One process; it ends when it is killed."""

    def __init__(self, ledger: LedgerStore, name: str, truth: Path, seed: int, overrun: int, began: float) -> None:
        self._ledger, self._name, self._overrun, self._began = ledger, name, overrun, began
        self._random = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
        self._truth = os.open(truth, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._flying: list[list[object]] = []
        self._count = 0

    def step(self) -> bool:
        """Whether there was anything to do."""
        choice = self._random.random()
        if len(self._flying) < FLYING and choice < 0.4:
            self._reserve()
        elif not self._flying:
            return False
        elif choice < 0.75:
            self._progress(self._random.choice(self._flying))
        elif choice < 0.98:
            self._end(self._flying.pop(self._random.randrange(len(self._flying))))
        else:
            self._ledger.tick(self._now())
        return True

    def _now(self) -> int:
        return HOUR + round((time.monotonic() - self._began) * 1000 * SPEED)

    def _reserve(self) -> None:
        now, worst = self._now(), self._random.randint(20, 400)
        begins = now - now % HOUR
        lines = [
            Line(TOKENS, begins, begins + HOUR, MOST[TOKENS], worst, money=False, hard=True),
            Line(MONEY, begins, begins + HOUR, MOST[MONEY], worst * PRICE, money=True, hard=True),
            Line(SOFT, begins, begins + HOUR, MOST[SOFT], worst, money=False, hard=False),
            Line(FOREVER, 0, 10**15, MOST[FOREVER], worst, money=False, hard=True),
        ]
        self._count += 1
        asked = Reservation(f"{self._name}-{self._count}", Account("p", "t", "k", "e", "m"), now, "USD", lines)
        found = self._ledger.reserve(asked)
        if isinstance(found, Refusal):
            return
        most = worst + (self._overrun if self._random.random() < 0.1 else 0)
        self._flying.append([found, 0, most])

    def _used(self, one: list[object], more: int) -> tuple[Hold, int]:
        """Write down what is about to be told."""
        hold, used, most = one
        assert isinstance(hold, Hold) and isinstance(used, int) and isinstance(most, int)  # noqa: S101, PT018
        one[1] = now = min(most, used + more)
        if now != used:
            os.write(self._truth, f"{hold.asked.id} {now}\n".encode())
        return hold, now

    def _progress(self, one: list[object]) -> None:
        hold, used = self._used(one, self._random.randint(1, PIECE))
        self._ledger.progress(hold, Usage(used), used * PRICE)

    def _end(self, one: list[object]) -> None:
        hold, used = self._used(one, self._random.choice((0, PIECE)))
        if used:
            self._ledger.settle(hold, Usage(used), used * PRICE, "settled", self._now())
        else:
            self._ledger.release(hold)


def spend(folder: Path, name: str, seconds: float, workers: int, overrun: int, seed: int) -> Found:
    """The whole of it, in processes of this one, which must have no threads."""
    chance, began, counts = random.Random(seed), time.monotonic(), Counts(workers)  # noqa: S311 - as above
    found = Found(overspend_bound=overrun * workers * FLYING)
    processes: dict[int, int] = {}

    names = itertools.count()

    def start(place: int) -> None:
        worker = f"w{next(names)}"
        process = os.fork()
        if process:
            processes[place] = process
            return
        try:
            _work(folder, name, worker, chance.random(), overrun, began, (counts, place))
        finally:
            os._exit(3)

    for place in range(workers):
        start(place)
    until = began + seconds
    while time.monotonic() < until:
        time.sleep(chance.uniform(0.005, 0.06))
        place = chance.randrange(workers)
        os.kill(processes[place], signal.SIGKILL)
        _, status = os.waitpid(processes[place], 0)
        if os.WIFEXITED(status):
            found.wrong.append(f"a worker ended by itself, with {os.WEXITSTATUS(status)}")
        found.crashes += 1
        start(place)
    for process in processes.values():
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    found.operations = counts.total()
    _check(plugins.load("fairlead.ledgers", name)(LedgerOptions(str(folder))), folder, found)
    return found


def _work(
    folder: Path, name: str, worker: str, chance: float, overrun: int, began: float, counted: tuple[Counts, int]
) -> None:
    counts, place = counted
    ledger = plugins.load("fairlead.ledgers", name)(LedgerOptions(str(folder)))
    one = Worker(ledger, worker, folder / "truth", round(chance * 2**32), overrun, began)
    while True:
        with contextlib.suppress(FairleadError):  # held up, or full: it goes on
            if one.step():
                counts.add(place)


def _check(ledger: LedgerStore, folder: Path, found: Found) -> None:
    ledger.tick(10**14)
    truth = dict(line.split(" ") for line in (folder / "truth").read_text().splitlines())
    used = {identity: int(tokens) for identity, tokens in truth.items()}
    spent = _settled(ledger, used, found)
    for (key, _), amount in spent.items():
        found.windows += key == TOKENS
        found.full_windows += key == TOKENS and amount > 0.9 * MOST[TOKENS]
        if key != SOFT:
            over = (amount - MOST[key]) // (PRICE if key == MONEY else 1)
            found.largest_overspend = max(found.largest_overspend, over)
    if found.largest_overspend > found.overspend_bound:
        found.wrong.append("more was spent than a budget has, and one answer's overrun each")
    before = ledger.balances()
    for balance in before:
        if balance.reserved:
            found.wrong.append(f"{balance.reserved} of {balance.key} are reserved by nobody")
        if balance.settled != spent[balance.key, balance.begins] or balance.settled < 0:
            found.wrong.append(f"{balance.key} has {balance.settled}; the log, {spent[balance.key, balance.begins]}")
    if ledger.rebuild() != before:
        found.wrong.append("balances that were made of the log are others")
    ledger.close()


def _settled(ledger: LedgerStore, used: dict[str, int], found: Found) -> Counter[tuple[str, int]]:
    """What the log has of each window, once every answer in it was held against what it used."""
    spent: Counter[tuple[str, int]] = Counter()
    every: defaultdict[str, int] = defaultdict(int)
    for one in ledger.spends():
        tokens = sum(one.usage)
        if one.id in every:
            found.wrong.append(f"{one.id} was settled twice")
        every[one.id] = tokens
        found.settled += one.how == "settled"
        found.lost += one.how == "lost"
        if one.how == "settled" and tokens != used.get(one.id):
            found.wrong.append(f"{one.id} used {used.get(one.id)}, and {tokens} were settled")
        for key, begins, _, amount in one.of:
            spent[key, begins] += amount
    for identity, tokens in used.items():
        loss = tokens - every[identity]
        found.largest_loss = max(found.largest_loss, loss)
        if not 0 <= loss <= found.loss_bound:
            found.wrong.append(f"{identity} used {tokens}, and {every[identity]} were settled")
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ledger", default="file")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--overrun", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    found = spend(asked.folder, asked.ledger, asked.seconds, asked.workers, asked.overrun, asked.seed)
    found.wrong = found.wrong[:20]
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    sys.exit(1 if found.wrong else 0)


if __name__ == "__main__":
    main()
