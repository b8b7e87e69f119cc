"""What a spec makes of an endpoint on other servers."""

from __future__ import annotations

from fairlead.contracts.errors import UsageError
from fairlead.kit import upstreams
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint
from fairlead.kit.upstreams import Remote
from fairlead.serve.remote.settings import Upstream

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


def upstream(name: str, endpoint: Endpoint) -> Upstream | None:
    """None for an endpoint whose model is loaded here. Raises UsageError for an address that is none."""
    asked = endpoint.upstream
    if asked is None:
        return None
    addresses = upstreams.unique(upstreams.address(url) for url in asked.urls)
    return Upstream(
        Remote(addresses, asked.model or name, asked.version),
        asked.connections,
        asked.retries,
        asked.eject.failures,
        asked.eject.seconds,
        asked.ca,
        asked.token,
        asked.token_header.lower(),
    )


def check(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    """What the spec's own types cannot know. Raises UsageError."""
    try:
        upstream(name, endpoint)
    except UsageError as error:
        raise UsageError(f"{file.at('endpoints', name, 'upstream')}: {error}") from None
    if told := [part for part in _NOT_THERE if part in endpoint.model_fields_set]:
        where = file.at("endpoints", name, told[0])
        raise UsageError(f"{where} is decided by the servers that run the model; leave it out beside upstream")
