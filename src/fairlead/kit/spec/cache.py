"""What the spec says about answers that were given before."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fairlead.kit.spec.part import Part, Seconds


class Semantic(Part):
    """Answers to questions that mean the same."""

    embedding: str = Field(min_length=1, examples=["embedder"])
    """The endpoint of this spec that embeds texts."""
    threshold: float = Field(default=0.92, gt=0, le=1)
    """Cosine similarity of two questions, at least."""
    words: float = Field(default=0.6, ge=0, le=1)
    """Share of the words that matter that two questions have in common, at least; 0: none."""
    replaced: int = Field(default=0, ge=0)
    """Words that matter in whose place the other question has other words, no synonyms, at most: paris for london."""
    false_hit_budget: float = Field(default=0.01, gt=0, lt=1)
    """Share of hits that may be false; where more are, the threshold is raised, and at the end the cache is off."""
    audit: float = Field(default=0.05, ge=0, le=1)
    """Share of hits that are asked of the model again, so that false ones are noticed."""


class Cache(Part):
    """Answers that were given before."""

    exact: Seconds = Field(default=3600.0, gt=0, le=31_536_000)
    """How long an answer is given again to the same question."""
    semantic: Semantic | None = Field(default=None, examples=[{"embedding": "embedder"}])
    """Also to questions that mean the same; null: no."""
    scope: Literal["key", "tenant", "endpoint"] = "key"
    """Who may get an answer that somebody else was given: nobody, their tenant, or everybody who may call."""
    memory_mb: float = Field(default=64.0, gt=0, le=2**20)
    """Memory of the answers, MiB, in each worker; those that were not wanted longest go."""
