"""What the spec says about callers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from fairlead.contracts.errors import UsageError
from fairlead.kit.scopes import scope
from fairlead.kit.spec.identity import Certificate, Jwt
from fairlead.kit.spec.limits import Limited
from fairlead.kit.spec.part import Part

Tenant = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$")]
"""What a key or a token says that somebody belongs to."""


class Access(Part):
    """Who may call at all."""

    required: bool = False
    """Callers must show who they are: with a key (`fairlead keys`), but for health."""
    unseen: Literal[404, 403] = 404
    """What an endpoint answers to callers who may not see it: as if it were not there, or that they may not."""
    jwt: Jwt | None = Field(default=None, examples=[{"issuer": "https://login.example.com", "audience": "fairlead"}])
    """Take tokens of this issuer too, as `Authorization: Bearer`; callers must then show who they are."""
    certificates: tuple[Certificate, ...] = Field(
        default=(), max_length=1024, examples=[[{"san": "spiffe://prod/shop", "scopes": ["*:predict"]}]]
    )
    """Whom the certificates of callers stand for (`server.tls.client_ca`); of several that fit the first counts."""
    limits: Limited = Limited()
    """Of every key, all endpoints together; a key has its own in place of these, kind by kind."""
    tenants: dict[Tenant, Limited] = Field(default_factory=dict, examples=[{"acme": {"rate": "500/s"}}])
    """Of all keys of a tenant together."""
    when_down: Literal["local", "closed"] = "local"
    """While `redis` does not answer: each machine counts by itself, or calls with limits are refused (503)."""


class Coarsen(Part):
    """What callers without the scope `NAME:detail` get of an answer; what is recorded stays whole."""

    round: int | None = Field(default=None, ge=0, le=12, examples=[2])
    """Decimals that numbers keep; null: all."""
    top: int = Field(default=0, ge=0, le=1_000_000)
    """Of a row of probabilities the so many largest are kept, the others are 0; 0: all are kept."""


class EndpointAccess(Limited):
    """Who may call an endpoint, and how much all of them may have together."""

    scopes: tuple[str, ...] = Field(default=(), max_length=64, examples=[["scoring:predict"]])
    """Scopes of which a caller needs one to do what they name, `NAME:ACTION`; empty: the endpoint's own."""
    coarsen: Coarsen = Coarsen()
    """What callers without the scope `NAME:detail` get of an answer."""
    per_caller: Limited = Limited()
    """How much each key may have here."""

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
