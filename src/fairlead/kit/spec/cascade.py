"""What the spec says of a cascade: cheap models first."""

from __future__ import annotations

from pydantic import Field

from fairlead.kit.spec.fallback import Share
from fairlead.kit.spec.part import Part


class Cascade(Part):
    """Endpoints from cheap to dear; the answer of one is kept when it is sure enough."""

    steps: tuple[str, ...] = Field(min_length=2, max_length=8, examples=[["small-chat", "chat"]])
    """Language models of this spec; the last one answers what the others do not (it may be the endpoint itself)."""
    max_loss: Share = Field(default=0.02, gt=0, le=1)
    """Share of the calls that may be answered wrongly where the last one would have been right (`cascade fit`)."""
    threshold: float | None = Field(default=None, ge=0, le=1, examples=[0.9])
    """Least confidence of an answer that is kept, in every step; null: as `fairlead cascade fit` found it."""
    step_time: Share = Field(default=0.5, gt=0, le=1)
    """Share of the time left that a step before the last may take."""
    audit: Share = Field(default=0.0, ge=0, le=1)
    """Share of the kept answers that the last one is asked for again, unseen; 0: none."""
    disagree: Share = Field(default=0.3, gt=0, le=1)
    """Share of these that may differ; where more surely do, fewer answers are kept, and in the end none."""
