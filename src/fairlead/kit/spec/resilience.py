"""What the spec says about endpoints that are slow, full or down."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fairlead.kit.spec.fallback import AsRung, Breaker, Share
from fairlead.kit.spec.part import Part


class Resilience(Part):
    """What happens when an endpoint is slow, full or down."""

    retry_on: tuple[Literal["unavailable", "model_failed"], ...] = ("unavailable",)
    """What `retries` tries again: a model that was not there, and one that raised."""
    breaker: Breaker | None = Field(default=None, examples=[{"fail_max": 5, "cooldown": "30s"}])
    """When the model is left alone because it failed; null: never."""
    fallback: tuple[AsRung, ...] = Field(default=(), max_length=8, examples=[["cache", {"value": {"p_churn": 0.27}}]])
    """What answers instead of the model, in order: `cache`, an endpoint, a version, a value; empty: its error."""
    reserve: Share = Field(default=0.2, ge=0, le=0.9)
    """Share of a call's time that is kept for the fallbacks."""
