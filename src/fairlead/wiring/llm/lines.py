"""The order of the stages of a language model's line, told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fairlead.serve.llm.ask import Enter, Stage, line
from fairlead.wiring.llm import cascades, fair, routes
from fairlead.wiring.llm.around import Building
from fairlead.wiring.llm.caches import caching
from fairlead.wiring.llm.guards import answering, asking
from fairlead.wiring.llm.ledgers import spending, spending_own
from fairlead.wiring.llm.limits import limiting
from fairlead.wiring.llm.measured import measuring

Make = Callable[[Building], Stage | None]
"""Makes a stage of what the spec says; None where it asks for none: then it costs nothing."""

STAGES: Final[tuple[Make, ...]] = (
    measuring,
    limiting,
    routes.cheaper,
    spending,
    asking,
    caching,
    answering,
    cascades.cascade,
    routes.route,
    fair.fair,
    spending_own,
)
"""Outermost first: measuring, limits, a cheaper endpoint, ledger, guard of what is asked, cache, guard of what is
answered, cascade, route, fair share; the ledger of an endpoint that asks others stands around its own engine alone.
"""


def built(building: Building) -> Enter:
    """The line. Raises UsageError for what the spec says and this engine cannot."""
    return line([stage for make in STAGES if (stage := make(building)) is not None], building.engine)
