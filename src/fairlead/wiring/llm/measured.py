"""Who is told of answers: metrics, and traces where the spec says where to."""

from __future__ import annotations

from fairlead.serve.llm.ask import Stage
from fairlead.serve.llm.measuring import Measuring
from fairlead.wiring.llm import guards
from fairlead.wiring.llm.around import Building


def measuring(building: Building) -> Stage:
    around = building.around
    hear = [one.put for one in around.tracers]
    redact = guards.redactor() if around.content else None
    return Measuring(around.sink.chat(building.wanted.name), around.clock, hear, redact)
