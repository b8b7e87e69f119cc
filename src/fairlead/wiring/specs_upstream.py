"""What a spec makes of an endpoint on other servers, and of what it says about retries and ejection."""

from __future__ import annotations

from fairlead.contracts.errors import UsageError
from fairlead.kit import upstreams
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint
from fairlead.kit.upstreams import Remote
from fairlead.serve.remote.settings import Hedge, Outlying, Upstream
from fairlead.serve.resilience.backoff import Backoff

_NOT_THERE = (
    "executor",
    "processes",
    "hang_seconds",
    "threads",
    "providers",
    "runtime",
    "trust_pickle",
    "replicas",
    "env",
)
"""What is decided where the model runs."""
_ELSEWHERE = {
    "idempotent": "says whether a request may be sent to another server twice",
    "hedge": "sends a second request to another address",
    "eject": "leaves out an address",
}
"""Parts of ``resilience`` that mean nothing without addresses."""
_TWICE = ("retries", "eject")
"""Parts that ``upstream`` and ``resilience`` have."""


def upstream(name: str, endpoint: Endpoint) -> Upstream | None:
    """None for an endpoint whose model is loaded here. Raises UsageError for an address that is none."""
    asked, safety = endpoint.upstream, endpoint.resilience
    if asked is None:
        return None
    addresses = upstreams.unique(upstreams.address(url) for url in asked.urls)
    eject = safety.eject or asked.eject
    return Upstream(
        Remote(addresses, asked.model or name, asked.version),
        asked.connections,
        _retries(endpoint),
        eject.failures,
        eject.seconds,
        asked.ca,
        asked.token,
        asked.token_header.lower(),
        Backoff(safety.backoff.base, safety.backoff.cap, safety.backoff.jitter),
        safety.retry_budget,
        safety.idempotent,
        None if safety.hedge is None else Hedge(safety.hedge.quantile, safety.hedge.budget, safety.hedge.after),
        Outlying(eject.errors, eject.slower, eject.window, eject.requests, eject.most),
    )


def _retries(endpoint: Endpoint) -> int:
    if endpoint.resilience.retries is not None:
        return endpoint.resilience.retries
    return endpoint.upstream.retries if endpoint.upstream else 0


def check(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    """What the spec's own types cannot know. Raises UsageError."""
    for part in _TWICE:
        _once(file, name, endpoint, part)
    try:
        upstream(name, endpoint)
    except UsageError as error:
        place = ("resilience", "hedge") if str(error).startswith("hedge") else ("upstream",)
        raise UsageError(f"{file.at('endpoints', name, *place)}: {error}") from None
    _check_backoff(file, name, endpoint)
    hedge = endpoint.resilience.hedge
    if hedge is not None and hedge.after is not None and "quantile" in hedge.model_fields_set:
        here, there = (file.at("endpoints", name, "resilience", "hedge", part) for part in ("quantile", "after"))
        raise UsageError(f"{here} and {there} both say when the second request is sent; leave one of them out")
    if told := [part for part in _NOT_THERE if part in endpoint.model_fields_set]:
        where = file.at("endpoints", name, told[0])
        raise UsageError(f"{where} is decided by the servers that run the model; leave it out beside upstream")


def check_here(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    """The same for an endpoint that is answered here: no other server is asked. Raises UsageError."""
    for part, meaning in _ELSEWHERE.items():
        if part in endpoint.resilience.model_fields_set and getattr(endpoint.resilience, part) is not None:
            where = file.at("endpoints", name, "resilience", part)
            raise UsageError(f"{where} {meaning}, and this endpoint is answered here; leave it out, or give upstream")


def _once(file: SpecFile, name: str, endpoint: Endpoint, part: str) -> None:
    """A part that may be said in two places, and is said in both. Raises UsageError that names both lines."""
    both = endpoint.upstream, endpoint.resilience
    if all(one is not None and part in one.model_fields_set and getattr(one, part) is not None for one in both):
        here = file.at("endpoints", name, "resilience", part)
        there = file.at("endpoints", name, "upstream", part)
        raise UsageError(f"{here} and {there} say the same thing; leave one of them out")


def _check_backoff(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    backoff = endpoint.resilience.backoff
    if backoff.cap < backoff.base:
        where = file.at("endpoints", name, "resilience", "backoff")
        raise UsageError(f"{where}: cap is {backoff.cap:g} seconds, shorter than base, {backoff.base:g}; raise cap")
