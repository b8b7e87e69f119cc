"""What the spec says about language models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from fairlead.kit.spec.part import Part, Reference


class Llm(Part):
    """A language model behind OpenAI's API."""

    engine: str = Field(default="embedded", pattern=r"^[a-z][a-z0-9-]{0,63}$")
    """What writes the answers: `embedded` (on the CPU, here), `openai` (any server of OpenAI's API), or another one."""
    model: str = Field(default="", max_length=4096, examples=["./models/chat"])
    """Folder or file of the model; with `base_url`: its name there (empty: the endpoint's)."""
    base_url: str = Field(default="", pattern=r"^(https?://.+)?$", examples=["http://127.0.0.1:8000/v1"])
    """Address of the other server, up to and with `/v1`."""
    token: Reference = Field(default="", examples=["env:OPENAI_API_KEY"])
    """Where the credential for it is: `env:NAME` or `file:PATH`, read again when it changes; empty: none."""
    precision: Literal["f16", "bf16", "int8", "int4"] = "int8"
    """Of the weights, where they are converted here."""
    max_tokens: int = Field(default=0, ge=0, le=10_000_000)
    """Tokens of an answer, at most, also for a caller who names more; 0: as many as fit into the model."""
    default_tokens: int = Field(default=0, ge=0, le=10_000_000)
    """Tokens of an answer, at most, for a caller who names no number; 0: as `max_tokens`."""
    options: dict[str, Any] = Field(default_factory=dict, examples=[{"cache_gb": 2}])
    """More, which the engine knows."""
