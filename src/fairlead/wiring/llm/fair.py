"""The stage that shares an engine among tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fairlead.contracts.engine import EngineTraits
from fairlead.serve.llm.ask import Stage
from fairlead.serve.llm.fair.settings import Sharing
from fairlead.serve.llm.fair.stage import Fair
from fairlead.wiring.llm.around import Building

if TYPE_CHECKING:  # pydantic is not loaded for a server that was started without a spec
    from fairlead.kit.spec.scheduling import Scheduling

ELSEWHERE: Final = 64
"""Answers at once of another server that does not say how many it takes: it refuses when that is too many."""


def fair(building: Building) -> Stage | None:
    """None for an endpoint without an engine: those behind it share theirs."""
    wanted, around = building.wanted, building.around
    if not wanted.engine:
        return None
    asked: Scheduling | None = wanted.parts.get("scheduling")
    made = Fair(
        wanted.name,
        sharing(asked) if asked is not None else Sharing(),
        lambda: at_once(building.engine.traits),
        around.clock,
    )
    around.sink.figures(f"{wanted.name}/fair", made.figures)
    return made


def sharing(asked: Scheduling) -> Sharing:
    return Sharing(
        asked.queue,
        asked.queue_tokens,
        asked.tenant_share,
        asked.parallel,
        asked.spare,
        asked.weights,
        asked.input_weight,
        asked.cached_weight,
        asked.output_weight,
        asked.lead,
        asked.age,
    )


def at_once(traits: EngineTraits) -> int:
    """Answers that an engine may make at once where the spec names no number."""
    return traits.parallel if traits.local or traits.parallel > 1 else ELSEWHERE
