"""Which call goes where, how long it may take, and what is tried again."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

from fairlead.contracts.errors import UsageError
from fairlead.contracts.limits import Measure
from fairlead.contracts.plans import TrafficSplit
from fairlead.kit import limits
from fairlead.kit.codec import protos
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint
from fairlead.serve.remote.settings import Upstream
from fairlead.wiring.envoy.asked import GRPC, HTTP, Rendering, seconds, typed
from fairlead.wiring.envoy.clusters import cluster_of
from fairlead.wiring.specs_upstream import upstream

LIMITER: Final = "envoy.filters.http.local_ratelimit"
_LIMIT: Final = "extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_SERVER_SLACK: Final = 0.25
"""Seconds that the server has more than its callers, so that its own error is the one that they see."""
_STATUS: Final[tuple[int, ...]] = (429, 500, 502, 503, 504)
_MODEL_FAILED: Final = 500
_UNSENT_STATUS: Final[tuple[int, ...]] = (429,)
_SENT: Final = "connect-failure,refused-stream,reset,retriable-status-codes"
_UNSENT: Final = "connect-failure,refused-stream,retriable-status-codes"
_MILLION: Final = 1_000_000
_SERVICES: Final = tuple(f"/{name}/" for name in protos.SERVICES.values())
_REPOSITORY: Final = f"/{protos.SERVICES[protos.OIP]}/Repository"


def routes(file: SpecFile, how: Rendering) -> list[Any]:
    """In order: the first that fits is taken."""
    found = _guarded(file)
    for name, endpoint in file.spec.endpoints.items():
        asked = upstream(name, endpoint)
        if asked is not None:
            found += _to_upstream(file, name, endpoint, asked)
        elif name in how.splits:
            found += _to_versions(file, name, endpoint, how.splits[name])
        found.append(_to_server(file, name, endpoint))
    latest = longest(file)
    note = "the longest deadline_ms"
    if file.spec.server.grpc_port:
        for prefix in _SERVICES:
            found.append(
                {
                    "match": {"prefix": prefix, "grpc": {}},
                    "route": {
                        "cluster": GRPC,
                        "timeout": Noted("0s", "the caller's grpc-timeout holds, and the one below"),
                        "max_stream_duration": {
                            "max_stream_duration": Noted(seconds(latest), note),
                            "grpc_timeout_header_max": seconds(latest),
                        },
                    },
                }
            )
    found.append({"match": {"prefix": "/"}, "route": {"cluster": HTTP, "timeout": Noted(seconds(latest), note)}})
    return found


def longest(file: SpecFile) -> float:
    """Seconds that a call may take, whichever endpoint it is for."""
    return max(one.deadline_ms for one in file.spec.endpoints.values()) / 1000 + _SERVER_SLACK


def _guarded(file: SpecFile) -> list[Any]:
    """Loading and unloading is for this machine unless the spec says otherwise, and Envoy is not this machine alone."""
    if file.spec.server.model_control:
        return []
    note = f"{file.at('server', 'model_control')} is not true: nobody loads or unloads models from here"
    shut: tuple[dict[str, Any], ...] = (
        {"prefix": "/v2/repository/"},
        {"prefix": _REPOSITORY},
        {"safe_regex": {"regex": ".*%.*"}},  # no name of a spec needs an escape, and one hides a path
    )
    return [Noted({"match": one, "direct_response": {"status": 404}}, note) for one in shut]


def _to_server(file: SpecFile, name: str, endpoint: Endpoint) -> dict[str, Any]:
    """Every path of an endpoint; the server behind Envoy has its own policies for it."""
    word = re.escape(name)
    pattern = f"/(v1|v2)/models/{word}([:/].*)?|/serving-endpoints/{word}/.*"
    timeout = endpoint.deadline_ms / 1000 + _SERVER_SLACK
    note = f"{file.at('endpoints', name, 'deadline_ms')}, at which the server answers, and {_SERVER_SLACK:g} s"
    return {
        "match": {"safe_regex": {"regex": pattern}},
        "route": {"cluster": HTTP, "timeout": Noted(seconds(timeout), note)},
        **_limited(file, name, endpoint),
    }


def _to_versions(file: SpecFile, name: str, endpoint: Endpoint, split: TrafficSplit) -> list[Any]:
    """The shares of a rollout as they are now: of those that the first did not take the second takes its share."""
    found: list[Any] = []
    left = 100.0
    shares = [one for one in split.shares if one.weight > 0]
    timeout = endpoint.deadline_ms / 1000 + _SERVER_SLACK
    for number, one in enumerate(shares):
        match: dict[str, Any] = {"path": f"/v2/models/{name}/infer"}
        note = f"{one.weight:g} % of {name} for version {one.version} ({one.arm})"
        if number < len(shares) - 1:
            part = round(_MILLION * one.weight / left)
            match["runtime_fraction"] = {"default_value": {"numerator": part, "denominator": "MILLION"}}
            left -= one.weight
        found.append(
            Noted(
                {
                    "match": match,
                    "route": {
                        "cluster": HTTP,
                        "prefix_rewrite": f"/v2/models/{name}/versions/{quote(one.version, safe='')}/infer",
                        "timeout": Noted(seconds(timeout), file.at("endpoints", name, "deadline_ms")),
                    },
                    **_limited(file, name, endpoint),
                },
                note,
            )
        )
    return found


def _to_upstream(file: SpecFile, name: str, endpoint: Endpoint, asked: Upstream) -> list[Any]:
    remote = asked.remote
    version = f"/versions/{quote(remote.version, safe='')}" if remote.version else ""
    there = f"{remote.addresses[0].prefix}/v2/models/{quote(remote.model, safe='')}{version}/infer"
    action: dict[str, Any] = {
        "cluster": cluster_of(name),
        "prefix_rewrite": Noted(there, file.at("endpoints", name, "upstream", "model")),
        "timeout": Noted(seconds(endpoint.deadline_ms / 1000), file.at("endpoints", name, "deadline_ms")),
        **_again(file, name, endpoint, asked),
    }
    if any(re.search("[a-z]", one.host) for one in remote.addresses):
        action["auto_host_rewrite"] = True
    return [
        {"match": {"path": path}, "route": dict(action), **_limited(file, name, endpoint)}
        for path in (f"/v2/models/{name}/infer", f"/v2/models/{name}/versions/{asked.version}/infer")
    ]


def _again(file: SpecFile, name: str, endpoint: Endpoint, asked: Upstream) -> dict[str, Any]:
    """Retries and second requests."""

    def at(*path: str) -> str:
        return file.at("endpoints", name, "resilience", *path)

    after = asked.hedge.after if asked.hedge else None
    if not asked.retries and after is None:
        return {}
    said = (
        at("retries") if endpoint.resilience.retries is not None else file.at("endpoints", name, "upstream", "retries")
    )
    codes = _STATUS if asked.idempotent else _UNSENT_STATUS
    if len(asked.remote.addresses) == 1:
        codes = tuple(one for one in codes if one != _MODEL_FAILED)  # it is shown to another address only
    policy: dict[str, Any] = {
        "retry_on": Noted(_SENT if asked.idempotent else _UNSENT, at("idempotent")),
        "retriable_status_codes": list(codes),
        "num_retries": Noted(max(asked.retries, 1 if after else 0), said),
        "retry_host_predicate": Noted(
            [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
                }
            ],
            "another address first",
        ),
        "host_selection_retry_max_attempts": 8,
        "retry_back_off": {
            "base_interval": Noted(seconds(asked.backoff.base), f"{at('backoff', 'base')}; drawn from 0 to the whole"),
            "max_interval": Noted(seconds(max(asked.backoff.base, asked.backoff.cap)), at("backoff", "cap")),
        },
        "rate_limited_retry_back_off": Noted(
            {
                "reset_headers": [{"name": "retry-after", "format": "SECONDS"}],
                "max_interval": seconds(max(endpoint.deadline_ms / 1000, 0.001)),
            },
            "Retry-After of the server",
        ),
    }
    found: dict[str, Any] = {"retry_policy": policy}
    if after is not None:
        policy["per_try_timeout"] = Noted(seconds(after), at("hedge", "after"))
        found["hedge_policy"] = Noted({"hedge_on_per_try_timeout": True}, at("hedge"))
    return found


def _limited(file: SpecFile, name: str, endpoint: Endpoint) -> dict[str, Any]:
    """The rate of all callers of an endpoint together. What else there is to limit is counted by the server."""
    given = [one for one in endpoint.access.rate.split(",") if one.strip()]
    where = file.at("endpoints", name, "access", "rate")
    if len(given) > 1:
        raise UsageError(f"{where} has {len(given)} limits, and a route of Envoy one; give one")
    if not given:
        return {}
    rate = limits.rate(given[0], endpoint.access.burst)
    if rate.measure is not Measure.REQUESTS:
        raise UsageError(f"{where} counts {rate.measure.value}, and Envoy counts requests; give it in requests")
    per_second = rate.amount / rate.seconds
    filled = max(1, round(per_second)) if per_second >= 1 else 1
    bucket = {
        "max_tokens": max(1, round(rate.burst or per_second)),
        "tokens_per_fill": filled,
        "fill_interval": seconds(filled / per_second),
    }
    limit = typed(
        _LIMIT,
        stat_prefix=f"rate_{name}",
        token_bucket=bucket,
        filter_enabled={"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
        filter_enforced={"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
    )
    return {"typed_per_filter_config": Noted({LIMITER: limit}, f"{where}: of this Envoy, all callers together")}
