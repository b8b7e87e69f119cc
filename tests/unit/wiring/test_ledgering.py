from __future__ import annotations

import asyncio
import random
from pathlib import Path

from fairlead.adapters.ledgers.mapped.store import MappedLedger
from fairlead.contracts.errors import Unavailable
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Account, Budget, Hold, LedgerOptions, Reservation, Window
from fairlead.kit import config
from fairlead.kit.config import Home
from fairlead.serve.llm.ledger.ledger import Ledger
from fairlead.testing.clock import ManualClock
from fairlead.testing.ledger_suite import line
from fairlead.testing.ledgers import MemoryLedger
from fairlead.testing.sinks import MemorySink
from fairlead.wiring import ledgering, statements
from fairlead.wiring.budgeting import Ledgering
from fairlead.wiring.ledgering import Keeping

BUDGETS = (
    Budget("all", 500, Window.DAY),
    Budget("each", 500, Window.DAY, key="*"),
    Budget("old", 10**9, Window.HOUR, "USD"),
)


def home(tmp_path: Path) -> Home:
    return config.home(tmp_path, environ={})


def test_there_is_none_where_nobody_asks_for_one(tmp_path: Path) -> None:
    assert ledgering.ledger(Ledgering(), home(tmp_path), ManualClock(), MemorySink(), named=False) == (None, [])
    assert not (tmp_path / "ledger").exists()


async def test_it_is_kept_and_shown(tmp_path: Path) -> None:
    sink, clock = MemorySink(), ManualClock()
    asked = Ledgering(BUDGETS, wanted=True, shared=True)
    found, (keeping,) = ledgering.ledger(asked, home(tmp_path), clock, sink, named=False)
    assert found is not None
    now = clock.wall_ms()
    day, hour = line("all/tokens/day"), line("old/USD/hour")
    lines = [day._replace(begins=now, ends=now + 10**6), hour._replace(begins=1, ends=2)]
    for tokens in (3, 0):
        hold = found.store.reserve(Reservation("r", Account(), now, "USD", lines))
        assert isinstance(hold, Hold)
        if tokens:
            found.store.settle(hold, Usage(tokens), 0, "settled", now)
    keeping.start()
    assert sink.budgets == {"all": (500, 3, 40), "old": (10**9, 0, 0)}  # the window of the hour has passed
    assert not keeping.busy()
    keeping.drain()
    await asyncio.sleep(0.01)
    assert not keeping.troubles()
    await keeping.stop()
    name = (tmp_path / "ledger" / "machine").read_text()
    assert ledgering._machine(home(tmp_path)) == name


async def test_a_store_that_fails_is_said_and_not_fatal() -> None:
    class Failing(MemoryLedger):
        def flush(self) -> None:
            raise Unavailable("away")

        def balances(self) -> list:  # type: ignore[type-arg]
            raise Unavailable("away")

    store, sink = Failing(), MemorySink()
    store.fails = Unavailable("away")
    ledger = Ledger(store, None, None, ManualClock(), sink)  # type: ignore[arg-type]
    keeping = Keeping(ledger, sink, {"b": BUDGETS[0]})
    keeping.start()
    await asyncio.sleep(0.01)
    assert keeping.troubles() == ["budgets are not counted: away"]
    await keeping.stop()


def test_statements_by_window_and_zone() -> None:
    store = MemoryLedger()
    for at in (0, 82_800_000, 86_400_000):  # 23:00 in UTC is the next day in Berlin
        asked = Reservation("r", Account("p", "acme", "shop", "chat", "m"), at, "", [])
        hold = store.reserve(asked)
        assert isinstance(hold, Hold)
        store.settle(hold, Usage(1, 2, 3, 4), 0, "settled", at)
    utc = statements.statement(store.spends(), ("key",), Window.DAY)
    assert [(row["window"], row["answers"]) for row in utc] == [("", 2), ("1970-01-02T00:00:00+00:00", 1)]
    berlin = statements.statement(store.spends(), ("key",), Window.DAY, "Europe/Berlin")
    assert [row["answers"] for row in berlin] == [1, 2]
    (whole,) = statements.statement(store.spends(), ())
    assert whole == {
        "answers": 3, "input": 3, "cached": 6, "output": 9, "reasoning": 12, "cost": "", "currency": "",
    }  # fmt: skip


def test_a_month_added_up_as_it_comes_is_the_log_added_up(tmp_path: Path) -> None:
    december = 1_764_547_200_000  # 2025-12-01
    rng = random.Random(5)
    month = statements.Month()

    def spend(store: MappedLedger, at: int, number: int) -> None:
        account = Account("p", rng.choice("ab"), rng.choice("xy"), "chat", rng.choice(["m", "n"]))
        hold = store.reserve(Reservation(f"r{number}", account, at, rng.choice(["", "USD"]), []))
        assert isinstance(hold, Hold)
        store.settle(hold, Usage(rng.randrange(1, 9), 1, 2, 3), rng.randrange(100), "settled", at + 5)

    for number in range(400):  # a week in November, then on into January
        at = december - 7 * 86_400_000 + number * 86_400_000 // 8
        store = MappedLedger(LedgerOptions(str(tmp_path / "ledger")), segment=4096)
        spend(store, at, number)
        if number % 7 == 0:
            told = month.rows(store, at)
            since = told[0]
            assert told[1] == statements.statement(one for one in store.spends() if one.at_ms >= since)
            assert told == statements.this_month(store, at)
        store.close()
    assert since == 1_767_225_600_000, "it went over into the next month"
    assert told[1]
    fresh = MappedLedger(LedgerOptions(str(tmp_path / "another")))
    spend(fresh, at, 0)
    assert sum(row["answers"] for row in month.rows(fresh, at)[1]) == 1, "another log begins anew"
    fresh.close()
