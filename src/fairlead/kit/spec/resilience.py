"""What the spec says about endpoints that are slow, full or down."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fairlead.kit.spec.fallback import AsRung, Breaker, Share
from fairlead.kit.spec.part import Part, Seconds
from fairlead.kit.spec.shedding import AsShed, Shed


class Backoff(Part):
    """Pauses before a call is tried again: `min(cap, base * 2^n)`, and up to `jitter` more."""

    base: Seconds = Field(default=0.05, ge=0.001, le=60)
    """The first pause; each is twice as long as the one before."""
    cap: Seconds = Field(default=1.0, ge=0.001, le=3600)
    """The longest."""
    jitter: Seconds = Field(default=0.05, ge=0, le=60)
    """Most that chance adds to one."""


class Hedge(Part):
    """A second request to another address where the first takes long; the first answer counts."""

    quantile: float = Field(default=0.95, ge=0.5, lt=1)
    """Sent when the first takes longer than this share of the requests lately."""
    after: Seconds | None = Field(default=None, gt=0, le=3600, examples=["50ms"])
    """Sent when the first takes so long, instead of `quantile`; null: as that says."""
    budget: float = Field(default=0.05, gt=0, le=1)
    """At most so many, as a share of the requests."""


class Eject(Part):
    """When an address is left out."""

    failures: int = Field(default=5, ge=1, le=1000)
    """Failures in a row after which it is left out."""
    seconds: Seconds = Field(default=30.0, ge=0.1, le=3600)
    """For how long; doubled each time, up to ten times as long."""
    errors: float = Field(default=0.5, gt=0, le=1)
    """Share of its requests in `window` that fail, from which on it is left out."""
    slower: float = Field(default=10.0, ge=0, le=1000)
    """So many times slower than the others is slow, and where `errors` of its answers are, it is left out; 0: never."""
    window: Seconds = Field(default=10.0, ge=1, le=3600)
    """Time over which shares are taken."""
    requests: int = Field(default=20, ge=2, le=1_000_000)
    """Requests in `window` without which shares say nothing."""
    most: float = Field(default=0.5, gt=0, le=1)
    """Share of the addresses that `errors` and `slower` may leave out at once, one at least."""


class Resilience(Part):
    """What happens when an endpoint is slow, full or down."""

    idempotent: bool = True
    """Whether asking twice is the same as asking once; false: nothing that may have been run is sent again."""
    retries: int | None = Field(default=None, ge=0, le=10, examples=[2])
    """How often a call without an answer is tried again; null: once where the model is on other servers."""
    backoff: Backoff = Backoff()
    """Pauses before a call is tried again where it was tried already."""
    retry_budget: float = Field(default=0.2, ge=0, le=1)
    """Retries are at most so many, as a share of the calls of the last 10 seconds, or one a second."""
    hedge: Hedge | None = Field(default=None, examples=[{"quantile": 0.95, "budget": 0.05}])
    """A second request where the first takes long (`upstream` with several addresses); null: none."""
    eject: Eject | None = Field(default=None, examples=[{"failures": 5, "seconds": "30s"}])
    """When an address of `upstream` is left out; null: as `upstream.eject` says."""
    shed: AsShed = Shed()
    """Which calls are refused early because they would wait too long; false: none, until the queue is full."""
    concurrency: Literal["adaptive", "fixed"] = "adaptive"
    """Requests at once to `upstream`: as few as answer most, or always up to its connections."""
    retry_on: tuple[Literal["unavailable", "model_failed"], ...] = ("unavailable",)
    """What `retries` tries again where the model is here: one that was not there, and one that raised."""
    breaker: Breaker | None = Field(default=None, examples=[{"fail_max": 5, "cooldown": "30s"}])
    """When the model is left alone because it failed; null: never."""
    fallback: tuple[AsRung, ...] = Field(default=(), max_length=8, examples=[["cache", {"value": {"p_churn": 0.27}}]])
    """What answers instead of the model, in order: `cache`, an endpoint, a version, a value; empty: its error."""
    reserve: Share = Field(default=0.2, ge=0, le=0.9)
    """Share of a call's time that is kept for the fallbacks."""
