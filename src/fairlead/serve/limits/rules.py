"""What the spec says of limits, as the limiter takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead.contracts.limits import Limits


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """``own``: of all its calls together.  ``each``: of every caller there.

    ``either``: of every caller there, and of all calls together where nobody says who they are.
    """

    own: Limits = Limits()
    each: Limits = Limits()
    either: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Rules:
    """``every``: of a key that has none of its own.  ``tenants``, ``endpoints``: by name.

    ``named``: whether callers say who they are, and so may bring limits of their own.
    ``project``: keeps the counts of several apart in one store.
    ``closed``: what cannot be counted together while the shared store is away is refused.
    """

    every: Limits = Limits()
    tenants: Mapping[str, Limits] = field(default_factory=dict)
    endpoints: Mapping[str, EndpointLimits] = field(default_factory=dict)
    named: bool = False
    project: str = ""
    closed: bool = False

    def of(self, own: Limits) -> Limits:
        """A key's limits: for each kind its own, else those of every key."""
        every = self.every
        return Limits(own.rates or every.rates, own.quotas or every.quotas, own.concurrency or every.concurrency)

    def at(self, endpoint: str) -> EndpointLimits:
        return self.endpoints.get(endpoint, _NONE)

    def limit(self, endpoint: str) -> bool:
        """Whether a call there can be over a limit at all."""
        here = self.at(endpoint)
        return self.named or bool(self.every or self.tenants or here.own or here.each or here.either)


_NONE = EndpointLimits()
