"""What the spec says about callers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from fairlead.contracts.errors import UsageError
from fairlead.kit.scopes import scope
from fairlead.kit.spec.part import Part


class Access(Part):
    """Who may call at all."""

    required: bool = False
    """Callers must show who they are: with a key (`fairlead keys`), but for health."""
    unseen: Literal[404, 403] = 404
    """What an endpoint answers to callers who may not see it: as if it were not there, or that they may not."""


class Coarsen(Part):
    """What callers without the scope `NAME:detail` get of an answer; what is recorded stays whole."""

    round: int | None = Field(default=None, ge=0, le=12, examples=[2])
    """Decimals that numbers keep; null: all."""
    top: int = Field(default=0, ge=0, le=1_000_000)
    """Of a row of probabilities the so many largest are kept, the others are 0; 0: all are kept."""


class EndpointAccess(Part):
    """Who may call an endpoint, and how much."""

    scopes: tuple[str, ...] = Field(default=(), max_length=64, examples=[["scoring:predict"]])
    """Scopes of which a caller needs one to do what they name, `NAME:ACTION`; empty: the endpoint's own."""
    coarsen: Coarsen = Coarsen()
    """What callers without the scope `NAME:detail` get of an answer."""

    @field_validator("scopes")
    @classmethod
    def _are_scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                found = scope(text)
            except UsageError as error:
                raise ValueError(str(error)) from None
            if found.version:
                raise ValueError(f"scope {text!r} names a version; versions stand in the keys of callers")
        return value
