"""The stage that asks the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairlead.serve.llm.ask import Stage
from fairlead.serve.llm.ledger.stage import LedgerStage
from fairlead.wiring.llm.around import Building

if TYPE_CHECKING:  # pydantic is not loaded for a server that was started without a spec
    from fairlead.kit.spec.route import Route


def spending(building: Building) -> Stage | None:
    """None where nobody counts what is spent, and for an endpoint that asks others."""
    return None if _asks_others(building) else _stage(building)


def spending_own(building: Building) -> Stage | None:
    """Around the engine of an endpoint that asks others too; those count what they spend themselves."""
    return _stage(building) if _asks_others(building) and building.wanted.engine else None


def _asks_others(building: Building) -> bool:
    parts = building.wanted.parts
    route: Route | None = parts.get("route")
    return parts.get("cascade") is not None or (route is not None and bool(route.replicas or route.fallback))


def _stage(building: Building) -> Stage | None:
    ledger, wanted = building.around.ledger, building.wanted
    if ledger is None:
        return None
    names = (wanted.name, wanted.model) if wanted.model else (wanted.name,)
    return LedgerStage(ledger, wanted.name, names, building.engine)
