"""The stage that counts requests and tokens at a rate."""

from __future__ import annotations

from fairlead.serve.llm.ask import Stage
from fairlead.serve.llm.limiting import LimitStage
from fairlead.wiring.llm.around import Building


def limiting(building: Building) -> Stage | None:
    """None where no call of this endpoint can be over a limit."""
    limiter, name = building.around.limiter, building.wanted.name
    if limiter is None or not limiter.rules.limit(name):
        return None
    return LimitStage(limiter, name, building.engine)
