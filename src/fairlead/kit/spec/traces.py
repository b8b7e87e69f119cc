"""What the spec says about traces."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fairlead.kit.spec.part import Part, Reference


class Traces(Part):
    """Where traces of the answers of language models go, by OpenTelemetry's conventions for generative AI."""

    otlp: str = Field(default="", pattern=r"^(https?://.+)?$", examples=["http://127.0.0.1:4318/v1/traces"])
    """Address of a collector that takes OTLP over HTTP; empty: none."""
    headers: Reference = Field(default="", examples=["env:OTLP_HEADERS"])
    """Where the headers for it are, `name=value,name=value`: `env:NAME` or `file:PATH`."""
    file: bool = False
    """Keep them in the home too, as `traces/YYYY-MM-DD.jsonl`."""
    days: float = Field(default=7.0, ge=0, le=36_500)
    """Days that these files are kept; 0: for ever."""
    content: bool = False
    """Tell what was answered, too. What guardrails know to be private is masked."""
    names: Literal["1.37", "latest"] = "latest"
    """Version of the conventions whose names are used."""
