"""What the spec says about callers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from fairlead.kit.spec.limits import Limited
from fairlead.kit.spec.part import Part

Tenant = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$")]
"""What a key or a token says that somebody belongs to."""


class Access(Part):
    """Who may call at all."""

    required: bool = False
    """Callers must show who they are."""
    limits: Limited = Limited()
    """Of every key, all endpoints together; a key has its own in place of these, kind by kind."""
    tenants: dict[Tenant, Limited] = Field(default_factory=dict, examples=[{"acme": {"rate": "500/s"}}])
    """Of all keys of a tenant together."""
    when_down: Literal["local", "closed"] = "local"
    """While `redis` does not answer: each machine counts by itself, or calls with limits are refused (503)."""


class EndpointAccess(Limited):
    """Who may call an endpoint, and how much all of them may have together."""

    per_caller: Limited = Limited()
    """How much each key may have here."""
