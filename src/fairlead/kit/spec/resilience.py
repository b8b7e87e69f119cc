"""What the spec says about endpoints that are slow, full or down."""

from __future__ import annotations

from typing import Literal

from fairlead.kit.spec.part import Part
from fairlead.kit.spec.shedding import AsShed, Shed


class Resilience(Part):
    """What happens when an endpoint is slow, full or down."""

    shed: AsShed = Shed()
    """Which calls are refused early because they would wait too long; false: none, until the queue is full."""
    concurrency: Literal["adaptive", "fixed"] = "adaptive"
    """Requests at once to `upstream`: as few as answer most, or always up to its connections."""
