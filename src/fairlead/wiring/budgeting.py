"""What a spec says of spending. Light: every spec is read with it, and few servers have a ledger."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.contracts.ledger import Budget, Price


@dataclass(frozen=True, slots=True)
class Ledgering:
    """``wanted``: the spec says something of it. Callers who are known are counted also where it does not."""

    budgets: tuple[Budget, ...] = ()
    prices: tuple[Price, ...] = ()
    project: str = ""
    closed: bool = True
    days: int = 0
    shared: bool = False
    wanted: bool = False
