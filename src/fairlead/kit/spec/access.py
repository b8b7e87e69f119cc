"""What the spec says about callers."""

from __future__ import annotations

from fairlead.kit.spec.part import Part


class Access(Part):
    """Who may call at all."""

    required: bool = False
    """Callers must show who they are."""


class EndpointAccess(Part):
    """Who may call an endpoint, and how much."""
