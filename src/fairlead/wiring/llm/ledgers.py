"""The stage that asks the ledger."""

from __future__ import annotations

from fairlead.serve.llm.ask import Stage
from fairlead.serve.llm.ledger.stage import LedgerStage
from fairlead.wiring.llm.wanted import Building


def spending(building: Building) -> Stage | None:
    """None where nobody counts what is spent, and for a cascade: there each step is an endpoint that counts its own."""
    ledger, wanted = building.around.ledger, building.wanted
    if ledger is None or wanted.parts.get("cascade"):
        return None
    names = (wanted.name, wanted.model) if wanted.model else (wanted.name,)
    return LedgerStage(ledger, wanted.name, names, building.engine)
