"""Real processes that spend from one ledger and are killed, and machines that share a budget through a real store."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fairlead.adapters.ledgers.mapped.store import MappedLedger
from fairlead.adapters.state.sql import SqlState
from fairlead.contracts.errors import Unavailable
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Account, LedgerOptions, Line, Refusal, Reservation
from fairlead.serve.llm.ledger.shares import Shares


@pytest.mark.parametrize("overrun", [0, 50])
def test_everything_adds_up_when_processes_are_killed(tmp_path: Path, overrun: int) -> None:
    words = ["-m", "fairlead.testing.ledger_crashes", str(tmp_path), "--seconds", "4", "--overrun", str(overrun)]
    ran = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert ran.stdout, ran.stderr
    found = json.loads(ran.stdout)
    assert not found["wrong"], found
    assert found["crashes"] > 5
    assert found["settled"] > 100
    assert found["largest_overspend"] <= found["overspend_bound"]


def test_machines_share_a_budget_through_a_real_store(tmp_path: Path) -> None:
    most = 5_000

    def machine(number: int) -> int:
        ledger = MappedLedger(LedgerOptions(str(tmp_path / f"m{number}")))
        shares, chance = Shares(SqlState(f"sqlite:///{tmp_path / 'state.db'}"), f"m{number}"), random.Random(number)
        for count in range(60):
            whole = Line("b", 0, 10**15, most, chance.randint(10, 90), money=False, hard=True)
            for _ in range(2):
                line = whole._replace(most=shares.granted(whole))
                found = ledger.reserve(Reservation(f"{number}-{count}", Account(), 1, "", [line]))
                if not isinstance(found, Refusal):
                    ledger.settle(found, Usage(chance.randint(5, whole.worst)), 0, "settled", 2)
                    break
                try:
                    if not shares.more(whole, found.settled + found.reserved, 1):
                        break
                except Unavailable:
                    break
        settled = sum(one.settled for one in ledger.balances())
        ledger.close()
        return settled

    with ThreadPoolExecutor(3) as pool:
        spent = sum(pool.map(machine, range(3)))
    assert 0.6 * most < spent <= most
