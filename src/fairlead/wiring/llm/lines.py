"""The order of the stages of a language model's line, told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fairlead.serve.llm.ask import Enter, Stage, line
from fairlead.wiring.llm.caches import caching
from fairlead.wiring.llm.ledgers import spending
from fairlead.wiring.llm.limits import limiting
from fairlead.wiring.llm.measured import measuring
from fairlead.wiring.llm.wanted import Building

Make = Callable[[Building], Stage | None]
"""Makes a stage of what the spec says; None where it asks for none: then it costs nothing."""

STAGES: Final[tuple[Make, ...]] = (measuring, limiting, spending, caching)
"""Outermost first: measuring, limits, ledger, guard of what is asked, cache, cascade, route, fair share, guard of what
is answered.
"""


def built(building: Building) -> Enter:
    """The line. Raises UsageError for what the spec says and this engine cannot."""
    return line([stage for make in STAGES if (stage := make(building)) is not None], building.engine)
