"""What the ledger costs a call, and whether it adds up when processes that spend are killed.

usage: python -m bench.ledger [--calls 20000] [--seconds 60] [--workers 4] [--runs 3]
First in process: a line whose engine answers at once, without and with the stage (three hard budgets, a price), also
with a piece for each token, and with limits on tokens in front. Then processes that spend from one ledger and are
killed, without and with answers that use more than their worst case. Exit code 1 when anything does not add up.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fairlead.adapters.ledgers.mapped.store import MappedLedger
from fairlead.contracts.access import Caller
from fairlead.contracts.engine import EngineTraits, Event, Running, Tell
from fairlead.contracts.generation import Begun, Ended, Generation, Piece, Sampling, Usage
from fairlead.contracts.ledger import NANO, Budget, LedgerOptions, LedgerStore, Price, Window
from fairlead.contracts.limits import Limits, Measure, Rate
from fairlead.kit.clock import SystemClock
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.limits.rules import EndpointLimits, Rules
from fairlead.serve.llm.ask import OVER, Ask, Enter
from fairlead.serve.llm.ledger.books import Books
from fairlead.serve.llm.ledger.ledger import Ledger
from fairlead.serve.llm.ledger.prices import PriceBook
from fairlead.serve.llm.ledger.stage import LedgerStage
from fairlead.serve.llm.limiting import LimitStage
from fairlead.testing.ledgers import MemoryLedger
from fairlead.testing.sinks import MemorySink

BUDGETS = (
    Budget("acme", 10**9 * NANO, Window.MONTH, "USD", tenant="acme"),
    Budget("each-key", 10**15, Window.DAY, key="*"),
    Budget("all", 10**9 * NANO, Window.TOTAL, "USD"),
)
PRICE = Price("chat", 0, "USD", 150_000_000, 75_000_000, 600_000_000, 600_000_000)
CALLER = Caller("shop", "key", (), "acme")


class Engine:
    """Answers at once: ``pieces``, then its usage."""

    traits = EngineTraits("test", 4096)

    def __init__(self, pieces: int) -> None:
        self._events: list[Event] = [Begun(Usage(20)), *(Piece(" x") for _ in range(pieces))]
        self._events.append(Ended("stop", Usage(20, 0, pieces)))

    def enter(self, _ask: Ask, tell: Tell) -> Running:
        for event in self._events:
            tell(event)
        return OVER


def nobody(_event: Event) -> None:
    """Hears it."""


def cost(enter: Enter, calls: int, runs: int) -> float:
    """Microseconds of processor time of a call, the best of some runs."""
    best = float("inf")
    generation = Generation(
        "1", "chat", "a prompt of about eighty bytes, as it is asked again and again and again", Sampling(most=200)
    )
    for _ in range(runs):
        gc.collect()
        began = time.process_time()  # of this process: what others do on the machine is not its cost
        for _ in range(calls):
            enter(Ask(generation, 0.0, "r-0123456789", CALLER), nobody)
        best = min(best, time.process_time() - began)
    return best / calls * 1e6


def costs(calls: int, runs: int, folder: Path) -> dict[str, float]:
    """Each line's, and what a stage adds to it."""
    clock, sink = SystemClock(), MemorySink()

    def spending(store: LedgerStore, budgets: tuple[Budget, ...], engine: Engine, enter: Enter) -> Enter:
        ledger = Ledger(store, PriceBook([PRICE]), Books(budgets), clock, sink)
        return LedgerStage(ledger, "chat", ("chat",), engine).stage(enter)  # type: ignore[arg-type]

    def limiting(engine: Engine, enter: Enter) -> Enter:
        rate = Limits((Rate(1e14, 60.0, Measure.TOKENS, 1e14), Rate(1e9, 60.0)))
        limiter = Limiter(Rules(endpoints={"chat": EndpointLimits(either=rate)}, named=True), clock, sink.limited)
        return LimitStage(limiter, "chat", engine).stage(enter)  # type: ignore[arg-type]

    found: dict[str, float] = {}
    for pieces in (0, 100):
        engine = Engine(pieces)
        store = MappedLedger(LedgerOptions(str(folder / str(pieces))))
        many = max(100, calls // (1 + pieces // 10))
        lines: dict[str, Enter] = {
            "nothing": engine.enter,
            "no budget": spending(store, (), engine, engine.enter),
            "three budgets": spending(store, BUDGETS, engine, engine.enter),
            "three budgets, in memory": spending(MemoryLedger(), BUDGETS, engine, engine.enter),
            "token limits": limiting(engine, engine.enter),
            "limits and budgets": limiting(engine, spending(store, BUDGETS, engine, engine.enter)),
        }
        for name, enter in lines.items():
            found[f"{name}, {pieces} pieces"] = round(cost(enter, many, runs), 2)
        store.close()
    return found


def crashes(folder: Path, seconds: float, workers: int, overrun: int) -> dict[str, object]:
    words = ["-m", "fairlead.testing.ledger_crashes", str(folder / f"crashes-{overrun}")]
    words += ["--seconds", str(seconds), "--workers", str(workers), "--overrun", str(overrun)]
    ran = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if not ran.stdout:
        sys.exit(ran.stderr)
    return dict(json.loads(ran.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=4)
    asked = parser.parse_args()
    wrong = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("microseconds of processor time a call (the best of", asked.runs, "runs)")
        for what, microseconds in costs(asked.calls, asked.runs, folder).items():
            print(f"  {what:<40} {microseconds:>9.2f}")
        for overrun in (0, 50):
            found = crashes(folder, asked.seconds / 2, asked.workers, overrun)
            wrong = wrong or bool(found["wrong"])
            print(f"killed at random, overrun {overrun}: {json.dumps(found)}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
