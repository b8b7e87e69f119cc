"""What an endpoint promises its callers: objectives that alerts and boards are made of."""

from __future__ import annotations

from pydantic import Field, model_validator

from fairlead.kit.spec.part import Part, Seconds

_DAY = 86_400


class Slo(Part):
    """Service level objectives of an endpoint; the controller and the rules of `render prometheus` watch them."""

    availability: float | None = Field(default=None, gt=0.5, lt=1, examples=[0.999])
    """Share of the calls that are answered; what the caller did wrong or gave up is not counted."""
    latency_ms: float | None = Field(default=None, gt=0, examples=[100])
    """Time in which `latency_share` of the answers are there; for a language model the time to the first token."""
    latency_share: float = Field(default=0.99, gt=0.5, lt=1)
    """Share of the answers that `latency_ms` is about."""
    window: Seconds = Field(default=30.0 * _DAY, ge=7 * _DAY, le=90 * _DAY)
    """Time over which both hold."""

    @model_validator(mode="after")
    def _something(self) -> Slo:
        if self.availability is None and self.latency_ms is None:
            raise ValueError("give availability, latency_ms, or both")
        return self
