"""What the spec says about endpoints that are slow, full or down."""

from __future__ import annotations

from fairlead.kit.spec.part import Part


class Resilience(Part):
    """What happens when an endpoint is slow, full or down."""
