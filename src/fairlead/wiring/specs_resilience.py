"""What a spec makes of breakers, retries and fallbacks."""

from __future__ import annotations

from dataclasses import replace

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest
from fairlead.kit.spec import fallback
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint
from fairlead.package.sources import Kind, parse
from fairlead.serve.resilience.backoff import Backoff
from fairlead.serve.resilience.breaker import BreakerPolicy
from fairlead.serve.resilience.policy import Another, Cached, Constant, Older, Rung, Safety, check

_PATH = ("resilience", "fallback")
_MIB = 2**20


def safety(endpoint: Endpoint) -> Safety:
    """Of one endpoint. Raises UsageError for a breaker that contradicts itself."""
    asked = endpoint.resilience
    return Safety(
        _breaker(asked.breaker),
        tuple(map(_rung, asked.fallback)),
        asked.reserve,
        0 if endpoint.upstream else asked.retries or 0,  # those of upstreams are the fleet's
        "model_failed" in asked.retry_on,
        Backoff(asked.backoff.base, asked.backoff.cap, asked.backoff.jitter),
        asked.retry_budget,
    )


def placed(file: SpecFile, name: str, asked: Safety) -> Safety:
    """The same, whose fallbacks know their lines."""
    places = tuple(file.at("endpoints", name, *_PATH, place) for place in range(len(asked.fallback)))
    return replace(asked, places=places)


def checked(file: SpecFile, name: str, endpoint: Endpoint) -> tuple[str, ...]:
    """The endpoints that it falls back to. Raises UsageError that names the line of what cannot be."""
    asked, known = endpoint.resilience, list(file.spec.endpoints)
    try:
        found = safety(endpoint)
    except UsageError as error:
        raise UsageError(f"{file.at('endpoints', name, 'resilience', 'breaker')}: {error}") from None
    _check_retries(file, name, endpoint)
    if "reserve" in asked.model_fields_set and not found.fallback:
        where = file.at("endpoints", name, "resilience", "reserve")
        raise UsageError(f"{where} keeps time for fallbacks, and there is none; say fallback too, or leave it out")
    seen: set[str] = set()
    for place, rung in enumerate(found.fallback):
        where = file.at("endpoints", name, *_PATH, place)
        if rung.name in seen:
            raise UsageError(f"{where} is {rung.name} once more; leave one of them out")
        seen.add(rung.name)
        if isinstance(rung, Constant) and place + 1 < len(found.fallback):
            after = file.at("endpoints", name, *_PATH, place + 1)
            raise UsageError(f"{after} is never asked: {where} always has an answer; put the value last")
        if isinstance(rung, Another):
            _check_endpoint(where, name, rung.endpoint, known)
        if isinstance(rung, Older):
            _check_version(where, endpoint, rung.version)
    return found.endpoints


def _check_retries(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    asked, here = endpoint.resilience, not endpoint.upstream

    def at(part: str) -> str:
        return file.at("endpoints", name, "resilience", part)

    if not here and "retry_on" in asked.model_fields_set:
        raise UsageError(f"{at('retry_on')} is decided by what other servers answer; leave it out beside upstream")
    if here and not asked.retries:
        for part in ("retry_on", "backoff", "retry_budget"):
            if part in asked.model_fields_set:
                raise UsageError(f"{at(part)} is about retries, and there are none; say retries too, or leave it out")
    if here and asked.backoff.cap < asked.backoff.base:
        base, cap = asked.backoff.base, asked.backoff.cap
        raise UsageError(f"{at('backoff')}: cap is {cap:g} seconds, shorter than base, {base:g}; raise cap")


def _check_endpoint(where: str, name: str, other: str, known: list[str]) -> None:
    if other == name:
        raise UsageError(f"{where} is the endpoint itself; name another one, or a version")
    if other not in known:
        raise UsageError(f"{where} names the endpoint {other!r}, and there is none{nearest(other, known)}")


def _check_version(where: str, endpoint: Endpoint, version: str) -> None:
    source = parse(endpoint.model) if endpoint.model else None
    if source is None or not source.model:
        raise UsageError(f"{where} needs a registered model, models:/NAME; name an endpoint instead")
    if source.kind is Kind.VERSION and source.pointer == version:
        raise UsageError(f"{where} is the version that the endpoint serves; name another one")


def _breaker(asked: fallback.Breaker | None) -> BreakerPolicy | None:
    if asked is None:
        return None
    policy = BreakerPolicy(
        asked.fail_max,
        asked.cooldown,
        asked.failure_rate,
        asked.slow_call,
        asked.slow_call_rate,
        asked.window,
        asked.minimum_calls,
        asked.half_open_calls,
    )
    check(policy)
    return policy


def _rung(asked: fallback.Rung) -> Rung:
    if asked.cache is not None:
        return Cached(asked.cache.ttl, max(1, round(asked.cache.max_mb * _MIB)))
    if asked.endpoint:
        return Another(asked.endpoint)
    if asked.version:
        return Older(asked.version)
    return Constant({name: list(one) if isinstance(one, tuple) else one for name, one in asked.value.items()})
