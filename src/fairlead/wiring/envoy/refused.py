"""What Envoy cannot express: an error that names the field and its line, never something left out in silence.

Only what Envoy takes over can be lost: calls of an endpoint with ``upstream`` go from Envoy to the other servers. For
every other endpoint the server stands behind Envoy and keeps its own policies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fairlead.contracts.errors import UsageError
from fairlead.contracts.plans import TrafficSplit
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.resilience import Eject
from fairlead.kit.spec.spec import Endpoint

_KNOWN = ("idempotent", "retries", "backoff", "retry_budget", "hedge", "eject")
"""Parts of ``resilience`` that are rendered, or looked at here."""
_OUTLIERS = {
    "slower": "Envoy leaves no address out for being slow",
    "most": "Envoy has one bound for all reasons, and failures in a row have none here",
}
_BEHIND = ("batching", "record", "monitor", "explain", "rollout", "retrain")
"""What the server does with calls that it sees."""


def check(file: SpecFile, splits: Mapping[str, TrafficSplit]) -> None:
    """Raises UsageError for the first thing that cannot be expressed."""
    for name, endpoint in file.spec.endpoints.items():
        for why in (*_of_server(file), *_of_upstream(file, name, endpoint), *_of_split(file, name, splits)):
            raise UsageError(why)


def _of_server(file: SpecFile) -> Iterator[str]:
    server = file.spec.server
    if server.tls is not None and server.tls.client_ca:
        yield (
            f"{file.at('server', 'tls', 'client_ca')} asks callers for certificates, and behind Envoy the server would "
            "see none of them; leave it out"
        )


def _of_upstream(file: SpecFile, name: str, endpoint: Endpoint) -> Iterator[str]:
    if endpoint.upstream is None:
        return

    def at(*path: str | int) -> str:
        return file.at("endpoints", name, *path)

    urls = endpoint.upstream.urls
    for number, url in enumerate(urls):
        if url.startswith("grpc"):
            yield f"{at('upstream', 'urls', number)} is {url}, and Envoy makes no gRPC of REST; give http:// or https://"
        if url.partition(":")[0] != urls[0].partition(":")[0]:
            yield f"{at('upstream', 'urls', number)} is {url}, and Envoy speaks TLS to all addresses or to none"
    if file.spec.access.required:
        yield (
            f"{at('upstream')} is asked by Envoy itself, and {file.at('access', 'required')} is looked at by the "
            "server, which these calls would go around; serve them without Envoy, or leave one of them out"
        )
    for part in _BEHIND:
        if part in endpoint.model_fields_set:
            yield f"{at(part)} is done by the server, and Envoy sends calls around it to upstream; leave it out"
    for part in sorted(endpoint.access.model_fields_set - {"rate", "burst"}):
        yield f"{at('access', part)} is looked at by the server, and Envoy sends calls around it; leave it out"
    yield from _of_resilience(file, name, endpoint)


def _of_resilience(file: SpecFile, name: str, endpoint: Endpoint) -> Iterator[str]:
    safety = endpoint.resilience

    def at(*path: str) -> str:
        return file.at("endpoints", name, *path)

    for part in sorted(safety.model_fields_set - set(_KNOWN)):
        yield f"{at('resilience', part)} is done by the server, and Envoy sends calls around it; leave it out"
    if safety.backoff.model_fields_set & {"jitter"}:
        where = at("resilience", "backoff", "jitter")
        yield f"{where} cannot be said to Envoy, which draws each pause from 0 to all of it; leave it out"
    if safety.hedge is not None:
        if safety.hedge.after is None:
            where = at("resilience", "hedge")
            yield f"{where} needs a measured quantile, which Envoy has not; say when: hedge: {{after: 50ms}}"
        if "budget" in safety.hedge.model_fields_set:
            where = at("resilience", "hedge", "budget")
            yield f"{where} cannot be said to Envoy, which counts second requests as retries; leave it out"
    assert endpoint.upstream is not None  # noqa: S101 - asked by the caller
    for where, eject in (("upstream", endpoint.upstream.eject), ("resilience", safety.eject or Eject())):
        for part in sorted(eject.model_fields_set & _OUTLIERS.keys()):
            if part != "slower" or eject.slower:
                yield f"{at(where, 'eject', part)} cannot be said: {_OUTLIERS[part]}; leave it out"


def _of_split(file: SpecFile, name: str, splits: Mapping[str, TrafficSplit]) -> Iterator[str]:
    split = splits.get(name)
    if split is None:
        return
    where = file.at("endpoints", name, "rollout")
    if split.sticky:
        yield f"{where}: the split is by {split.sticky}, and Envoy draws for each call; render without --split"
    if any(one.shadow for one in split.shares):
        yield f"{where}: a version answers as a shadow, which the server does; render without --split"
