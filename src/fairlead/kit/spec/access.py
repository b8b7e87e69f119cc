"""What the spec says about callers."""

from __future__ import annotations

from pydantic import Field

from fairlead.kit.spec.part import Part


class Access(Part):
    """Who may call at all."""

    required: bool = False
    """Callers must show who they are."""


class Coarsen(Part):
    """What callers without the scope `NAME:detail` get of an answer; what is recorded stays whole."""

    round: int | None = Field(default=None, ge=0, le=12, examples=[2])
    """Decimals that numbers keep; null: all."""
    top: int = Field(default=0, ge=0, le=1_000_000)
    """Of a row of probabilities the so many largest are kept, the others are 0; 0: all are kept."""


class EndpointAccess(Part):
    """Who may call an endpoint, and how much."""

    coarsen: Coarsen = Coarsen()
    """What callers without the scope `NAME:detail` get of an answer."""
