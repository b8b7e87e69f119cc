"""What the spec says of an endpoint that is answered by others."""

from __future__ import annotations

from pydantic import Field

from fairlead.kit.spec.fallback import Share
from fairlead.kit.spec.part import Part, Seconds


class Route(Part):
    """Which language models of this spec answer for an endpoint."""

    replicas: tuple[str, ...] = Field(default=(), max_length=64, examples=[["chat-a", "chat-b"]])
    """Endpoints with the same model, any of which answers; the endpoint's own engine (`llm`) is one of them."""
    fallback: tuple[str, ...] = Field(default=(), max_length=16, examples=[["hosted-chat"]])
    """Endpoints that answer when none of these does, in this order."""
    cheaper: str = Field(default="", max_length=128, examples=["small-chat"])
    """Endpoint that answers callers whose budget would not pay for this one; empty: they are refused."""
    prefix_block: int = Field(default=256, ge=0, le=65_536)
    """Characters of a prompt that are remembered as one, so that it goes where its beginning was before; 0: not so."""
    prefix_memory: int = Field(default=65_536, ge=1, le=10_000_000)
    """Blocks that are remembered."""
    spread: float = Field(default=1.25, ge=1, le=100)
    """A replica with more than so many times its even share of the requests is passed over."""
    retries: int = Field(default=2, ge=0, le=16)
    """How often a request goes elsewhere before its first token."""
    retry_budget: Share = Field(default=0.2, ge=0, le=1)
    """Of these go to other replicas at most so many, as a share of all of the last 10 seconds, or one a second."""
    continues: bool = False
    """Whether an answer of plain text whose engine is lost goes on elsewhere, marked; false: it ends with the error."""
    wake: Seconds = Field(default=0.0, ge=0, le=86_400)
    """How long an endpoint that is not there yet is waited for."""
    failures: int = Field(default=3, ge=1, le=1000)
    """Failures in a row after which one is left out."""
    cooldown: Seconds = Field(default=5.0, ge=0.1, le=86_400)
    """For how long; then one request shows whether it is back."""
