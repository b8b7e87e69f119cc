"""Whom Envoy may send calls to: the server of the spec, and the addresses of each ``upstream``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.upstream import CONNECT_SECONDS
from fairlead.kit.hosts import loopback
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint
from fairlead.serve.remote.settings import Upstream
from fairlead.wiring.envoy.asked import GRPC, HTTP, Place, Rendering, seconds, typed
from fairlead.wiring.specs_upstream import upstream

AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
_LONGEST: Final = 10
_HTTP2: Final = "extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS: Final = "extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def clusters(file: SpecFile, how: Rendering) -> list[Any]:
    found = [_http(file, how)]
    if file.spec.server.grpc_port:
        found.append(_grpc(file, how))
    for name, endpoint in file.spec.endpoints.items():
        asked = upstream(name, endpoint)
        if asked is not None:
            found.append(_upstream(file, name, endpoint, asked))
    return found


def cluster_of(endpoint: str) -> str:
    return f"upstream_{endpoint}"


def servers(file: SpecFile, how: Rendering) -> Sequence[Place]:
    """Raises UsageError for a port that is not known before the server runs."""
    if how.servers:
        return how.servers
    asked = file.spec.server
    if not asked.port:
        raise UsageError(
            f"{file.at('server', 'port')} is 0, which is known when the server runs; give a port, or --server"
        )
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(asked.host, asked.host)  # noqa: S104 - it is not bound
    return (Place(host, asked.port),)


def _http(file: SpecFile, how: Rendering) -> dict[str, Any]:
    places = servers(file, how)
    return {
        "name": HTTP,
        **_places(HTTP, places, file.at("server") if not how.servers else "--server"),
        "connect_timeout": seconds(CONNECT_SECONDS),
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": _nobody(),
        "health_checks": Noted([_health()], "the server says at /readyz whether it can answer"),
        **_server_tls(file, places),
    }


def _grpc(file: SpecFile, how: Rendering) -> dict[str, Any]:
    port = file.spec.server.grpc_port or 0
    behind = servers(file, how)
    places = [Place(one.host, port) for one in behind]
    found = _places(GRPC, places, file.at("server", "grpc_port"))
    for one, http in zip(found["load_assignment"].value["endpoints"][0]["lb_endpoints"], behind, strict=True):
        one["endpoint"]["health_check_config"] = {"port_value": http.port}
    return {
        "name": GRPC,
        **found,
        "connect_timeout": seconds(CONNECT_SECONDS),
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": _nobody(),
        "health_checks": Noted([_health()], "asked at the port of HTTP"),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                _HTTP2, explicit_http_config={"http2_protocol_options": {}}
            )
        },
        **_server_tls(file, places),
    }


def _health() -> dict[str, Any]:
    return {
        "timeout": "1s",
        "interval": "2s",
        "no_traffic_interval": "2s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
    }


def _server_tls(file: SpecFile, places: Sequence[Place]) -> dict[str, Any]:
    """Envoy ends the callers' TLS, and speaks it to the server behind it."""
    tls = file.spec.server.tls
    if tls is None:
        return {}
    context: dict[str, Any] = {}
    if not all(loopback(one.host) for one in places):
        context = {
            "auto_host_sni": True,
            "auto_sni_san_validation": True,
            "common_tls_context": {"validation_context": {"trusted_ca": {"filename": AUTHORITIES}}},
        }
    note = f"{file.at('server', 'tls')} ({'checked' if context else 'not checked: it is this machine'})"
    return {
        "transport_socket": Noted({"name": "envoy.transport_sockets.tls", "typed_config": typed(_TLS, **context)}, note)
    }


def _upstream(file: SpecFile, name: str, endpoint: Endpoint, asked: Upstream) -> dict[str, Any]:
    found = asked.remote.addresses
    assert endpoint.upstream is not None  # noqa: S101 - asked by the caller
    if len({one.prefix for one in found}) > 1:
        where = file.at("endpoints", name, "upstream", "urls")
        raise UsageError(f"{where} have different paths, and Envoy sends one path to all of them; give each the same")
    total = asked.connections * len(found)
    connections = file.at("endpoints", name, "upstream", "connections")
    budget = file.at("endpoints", name, "resilience", "retry_budget")
    thresholds: dict[str, Any] = {
        "max_connections": Noted(total, f"{connections}, times addresses"),
        "max_requests": total,
        "max_pending_requests": Noted(
            endpoint.batching.queue_rows, file.at("endpoints", name, "batching", "queue_rows")
        ),
        "retry_budget": Noted(
            {"budget_percent": {"value": round(100 * asked.budget, 6)}, "min_retry_concurrency": 1},
            f"{budget}: a share of the requests that are under way",
        ),
    }
    return {
        "name": cluster_of(name),
        **_places(
            cluster_of(name),
            [Place(one.host, one.port) for one in found],
            file.at("endpoints", name, "upstream", "urls"),
        ),
        "connect_timeout": seconds(CONNECT_SECONDS),
        "lb_policy": Noted("LEAST_REQUEST", "two are drawn, and the one with fewer requests is taken"),
        "common_lb_config": _nobody(),
        "circuit_breakers": {
            "thresholds": [thresholds],
            "per_host_thresholds": [{"max_connections": Noted(asked.connections, connections)}],
        },
        "outlier_detection": _outliers(file, name, endpoint, asked),
        **_upstream_tls(file, name, asked),
    }


def _nobody() -> dict[str, Any]:
    return {
        "healthy_panic_threshold": Noted({"value": 0}, "while all are left out, nobody is asked"),
        "update_merge_window": Noted("0s", "who is left out is left out at once"),
    }


def _outliers(file: SpecFile, name: str, endpoint: Endpoint, asked: Upstream) -> dict[str, Any]:
    where = ("resilience" if endpoint.resilience.eject is not None else "upstream", "eject")

    def at(part: str) -> str:
        return file.at("endpoints", name, *where, part)

    outlying = asked.outlying
    errors = round(100 * outlying.errors)
    return {
        "split_external_local_origin_errors": Noted(True, "answers apart from connections and time-outs"),
        "consecutive_gateway_failure": Noted(asked.failures, at("failures")),
        "enforcing_consecutive_gateway_failure": 100,
        "consecutive_local_origin_failure": Noted(asked.failures, at("failures")),
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_consecutive_5xx": Noted(0, "500 is an error of the model"),
        "base_ejection_time": Noted(seconds(asked.seconds), at("seconds")),
        "max_ejection_time": Noted(seconds(_LONGEST * asked.seconds), "ten times as long"),
        "max_ejection_percent": Noted(100, "failures in a row leave out any number"),
        "interval": Noted(seconds(outlying.window), at("window")),
        "failure_percentage_threshold": Noted(errors, at("errors")),
        "failure_percentage_request_volume": Noted(outlying.requests, at("requests")),
        "failure_percentage_minimum_hosts": 1,
        "enforcing_failure_percentage": 100,
        "enforcing_failure_percentage_local_origin": 100,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
    }


def _upstream_tls(file: SpecFile, name: str, asked: Upstream) -> dict[str, Any]:
    if asked.remote.addresses[0].scheme != "https":
        return {}
    trusted = {"filename": asked.ca or AUTHORITIES}
    context = typed(
        _TLS,
        auto_host_sni=True,
        auto_sni_san_validation=True,
        common_tls_context={"validation_context": {"trusted_ca": trusted}},
    )
    note = file.at("endpoints", name, "upstream", "ca") if asked.ca else "the authorities of the machine"
    return {"transport_socket": Noted({"name": "envoy.transport_sockets.tls", "typed_config": context}, note)}


def _places(name: str, places: Sequence[Place], where: str) -> dict[str, Any]:
    endpoints: list[Any] = [
        {"endpoint": {"address": one.socket, **({} if one.numeric else {"hostname": one.host})}} for one in places
    ]
    return {
        "type": "STATIC" if all(one.numeric for one in places) else "STRICT_DNS",
        "load_assignment": Noted({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}, where),
    }
