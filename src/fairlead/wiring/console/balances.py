"""How budgets stand, as ``fairlead ledger show`` has it: balances of the ledger, amounts of the spec and of keys."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from fairlead.console.facts.llm import Budget
from fairlead.contracts.ledger import LedgerStore
from fairlead.wiring import access, statements, watching
from fairlead.wiring.console.kept import Kept

ROWS: Final = 200


def balances(kept: Kept, store: LedgerStore, now_ms: int) -> tuple[Budget, ...]:
    """Raises StateError where the keys cannot be read."""
    brought = access.brought(kept.state) if watching.has_state() else {}
    rows = (statements.standing(one, now_ms, kept.budgets, brought) for one in store.balances()[:ROWS])
    return tuple(map(_budget, rows))


def _budget(row: statements.Row) -> Budget:
    amount, taken = row["amount"], Decimal(row["settled"]) + Decimal(row["reserved"])
    left = str(Decimal(amount) - taken) if amount else ""
    used = float(taken / Decimal(amount)) if amount and Decimal(amount) else None
    return Budget(**row, left=left, used=used)
