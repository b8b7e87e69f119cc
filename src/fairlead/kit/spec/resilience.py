"""What the spec says about endpoints that are slow, full or down."""

from __future__ import annotations

from fairlead.kit.spec.part import Part
from fairlead.kit.spec.shedding import Shed


class Resilience(Part):
    """What happens when an endpoint is slow, full or down."""

    shed: Shed | bool = Shed()
    """Which calls are refused early because they would wait too long; false: none, until the queue is full."""
