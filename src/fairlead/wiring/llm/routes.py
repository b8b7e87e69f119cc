"""The stages that ask other endpoints: replicas, fallbacks, and a cheaper one where the budget is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairlead.serve.llm.ask import Stage
from fairlead.serve.llm.route.cheaper import Cheaper
from fairlead.serve.llm.route.settings import Routing
from fairlead.serve.llm.route.stage import Routes
from fairlead.serve.resilience.breaker import BreakerPolicy
from fairlead.wiring.llm.around import Building

if TYPE_CHECKING:  # pydantic is not loaded for a server that was started without a spec
    from fairlead.kit.spec.route import Route


def route(building: Building) -> Stage | None:
    wanted, around = building.wanted, building.around
    asked: Route | None = wanted.parts.get("route")
    if asked is None or not (asked.replicas or asked.fallback):
        return None
    made = Routes(
        wanted.name,
        routing(asked, own=bool(wanted.engine)),
        around.chats.resolve,
        around.clock,
        traits=lambda: building.engine.traits,
    )
    around.sink.figures(f"{wanted.name}/route", made.figures)
    building.troubles.append(made.troubles)
    return made


def cheaper(building: Building) -> Stage | None:
    """Outside of the ledger, whose refusal it hears."""
    asked: Route | None = building.wanted.parts.get("route")
    if asked is None or not asked.cheaper:
        return None
    return Cheaper(building.wanted.name, asked.cheaper, building.around.chats.resolve)


def routing(asked: Route, *, own: bool) -> Routing:
    return Routing(
        asked.replicas,
        asked.fallback,
        own,
        asked.prefix_block,
        asked.prefix_memory,
        asked.spread,
        asked.retries,
        asked.retry_budget,
        asked.continues,
        asked.wake,
        BreakerPolicy(fail_max=asked.failures, cooldown=asked.cooldown),
    )
