"""What the spec says of how an engine is shared among tenants."""

from __future__ import annotations

from pydantic import Field

from fairlead.kit.spec.part import Part, Seconds


class Scheduling(Part):
    """A bounded queue in front of the engine, fair by tokens among tenants."""

    queue: int = Field(default=256, ge=1, le=1_000_000)
    """Requests that wait, at most; more are refused, or take the place of one of whoever has most waiting."""
    queue_tokens: int = Field(default=1_000_000, ge=1, le=1_000_000_000)
    """Tokens of the prompts that wait, at most."""
    tenant_share: float = Field(default=0.5, gt=0, le=1)
    """Share of both that one tenant may fill."""
    parallel: int = Field(default=0, ge=0, le=100_000)
    """Answers at once; 0: as many as the engine is best at. Fewer for a while when the engine refuses."""
    spare: int | None = Field(default=None, ge=0, le=100_000, examples=[1])
    """Of these, kept for tenants that run less than their share while there are several; null: one of sixteen."""
    weights: dict[str, float] = Field(default_factory=dict, examples=[{"gold": 2.0}])
    """Shares of tenants (or callers without one) by name; 1.0 for the others."""
    input_weight: float = Field(default=1.0, ge=0, le=1000)
    """What a token of the prompt counts."""
    cached_weight: float = Field(default=0.1, ge=0, le=1000)
    """What one counts that the engine found in its cache."""
    output_weight: float = Field(default=2.0, ge=0, le=1000)
    """What a token of the answer counts."""
    lead: float = Field(default=4096.0, ge=0, le=1e9)
    """Weighted tokens by which a lane is ahead of the next: interactive, standard, batch."""
    age: Seconds = Field(default=30.0, gt=0, le=86_400)
    """A lane of which nothing was taken for so long counts as one more urgent."""
