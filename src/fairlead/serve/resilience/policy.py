"""What is done when an endpoint's model does not answer: the settings, checked once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.contracts.errors import (
    Cancelled,
    CircuitOpen,
    FairleadError,
    Forbidden,
    InputError,
    ModelFailed,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UsageError,
)
from fairlead.serve.resilience.backoff import Backoff
from fairlead.serve.resilience.breaker import BreakerPolicy

_CALLERS = (InputError, NotFound, Unauthenticated, Forbidden, RateLimited, Cancelled)
"""Errors that are the caller's own, or would be another's answer: no fallback stands in."""


@dataclass(frozen=True, slots=True)
class Cached:
    """What was answered to the same call. ``ttl``: seconds it may be old.  ``limit``: bytes that are kept."""

    ttl: float = 3600.0
    limit: int = 64 * 2**20

    @property
    def name(self) -> str:
        return "cache"


@dataclass(frozen=True, slots=True)
class Another:
    """Another endpoint, given the same call."""

    endpoint: str

    @property
    def name(self) -> str:
        return f"endpoint:{self.endpoint}"


@dataclass(frozen=True, slots=True)
class Older:
    """Another version of the same registered model."""

    version: str

    @property
    def name(self) -> str:
        return f"version:{self.version}"


@dataclass(frozen=True, slots=True)
class Constant:
    """A value for each output."""

    value: Mapping[str, Any]

    @property
    def name(self) -> str:
        return "value"


Rung = Cached | Another | Older | Constant
"""``name`` is what ``fairlead-degraded`` and the metrics say."""


@dataclass(frozen=True, slots=True)
class Safety:
    """Of one endpoint. ``fallback``: in order.  ``reserve``: share of a call's time that is kept for them.

    ``retries``: of a call whose model was not there; ``retry_failed``: of one whose model raised, too.
    ``retry_budget``: share of the calls that may be tried again.  ``places``: what errors call each fallback.
    """

    breaker: BreakerPolicy | None = None
    fallback: tuple[Rung, ...] = ()
    reserve: float = 0.2
    retries: int = 0
    retry_failed: bool = False
    backoff: Backoff = Backoff()
    retry_budget: float = 0.2
    places: tuple[str, ...] = ()

    @property
    def off(self) -> bool:
        """Whether calls go straight to the model."""
        return self.breaker is None and not self.fallback and not self.retries

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Endpoints that it falls back to."""
        return tuple(one.endpoint for one in self.fallback if isinstance(one, Another))


def check(policy: BreakerPolicy) -> None:
    """Raises UsageError for one that contradicts itself, naming both fields."""
    if policy.minimum_calls > policy.window:
        raise UsageError(
            f"minimum_calls is {policy.minimum_calls} and window {policy.window}; a window never has more calls than "
            "it is long: lower the one or lengthen the other"
        )
    if (policy.slow_call > 0) != (policy.slow_call_rate > 0):
        given, other = ("slow_call", "slow_call_rate") if policy.slow_call else ("slow_call_rate", "slow_call")
        raise UsageError(f"{given} is set and {other} is not; both together say when slow calls open it")
    if not (policy.fail_max or policy.failure_rate or policy.slow_call_rate):
        raise UsageError("fail_max is 0, and neither failure_rate nor slow_call_rate is set: it would never open")


def stands_in(error: FairleadError) -> bool:
    """Whether a fallback may answer instead of this error."""
    return not isinstance(error, _CALLERS)


def tried_again(error: FairleadError, failed_too: bool) -> bool:
    """Whether the same may pass on a second try. ``failed_too``: a model that raised may, as well."""
    if isinstance(error, ModelFailed):
        return failed_too
    return isinstance(error, Unavailable) and not isinstance(error, CircuitOpen) and error.retry_after is not None
