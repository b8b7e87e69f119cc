"""The whole configuration: what Envoy reads when it starts (v3, static)."""

from __future__ import annotations

from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.kit import noted_yaml
from fairlead.kit.hosts import loopback
from fairlead.kit.noted_yaml import Noted
from fairlead.kit.spec.read import SpecFile
from fairlead.wiring.envoy import refused
from fairlead.wiring.envoy.asked import Rendering, seconds, typed
from fairlead.wiring.envoy.clusters import clusters
from fairlead.wiring.envoy.routes import LIMITER, longest, routes

_FILTERS: Final = "extensions.filters"
_READ_SECONDS: Final = 30.0
_IDLE_SECONDS: Final = 75.0
_BUFFER: Final = 1024 * 1024


def bootstrap(file: SpecFile, how: Rendering) -> dict[str, Any]:
    """Raises UsageError for what Envoy cannot express, naming the field and its line."""
    refused.check(file, how.splits)
    if not loopback(how.listen.host) and not file.spec.access.required:
        raise UsageError(
            f"--listen {how.listen} is open to others, and {file.at('access', 'required')} is not true; say who may "
            "call, or listen on 127.0.0.1"
        )
    found: dict[str, Any] = {
        "static_resources": {
            "listeners": [_listener(file, how)],
            "clusters": clusters(file, how),
        }
    }
    if how.admin is not None:
        found["admin"] = {"address": how.admin.socket}
    return found


def render(file: SpecFile, how: Rendering) -> str:
    """The same as YAML, with where each value comes from. Raises UsageError."""
    head = f"# Envoy (v3), rendered from {file.name} by `fairlead render envoy`: change that file, not this one.\n"
    return head + noted_yaml.text(bootstrap(file, how))


def _listener(file: SpecFile, how: Rendering) -> dict[str, Any]:
    found = routes(file, how)
    filters: list[Any] = []
    if any("typed_per_filter_config" in noted_yaml.plain(one) for one in found):
        limiter = typed(f"{_FILTERS}.http.local_ratelimit.v3.LocalRateLimit", stat_prefix="rate")
        filters.append({"name": LIMITER, "typed_config": limiter})
    filters.append({"name": "envoy.filters.http.router", "typed_config": typed(f"{_FILTERS}.http.router.v3.Router")})
    server = file.spec.server
    manager = typed(
        f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="fairlead",
        codec_type="AUTO",
        request_headers_timeout=seconds(_READ_SECONDS),
        stream_idle_timeout=seconds(max(_IDLE_SECONDS, longest(file) + 1)),
        common_http_protocol_options={"idle_timeout": seconds(_IDLE_SECONDS)},
        use_remote_address=True,
        generate_request_id=True,
        preserve_external_request_id=True,
        normalize_path=False,
        merge_slashes=False,
        drain_timeout=Noted(seconds(server.grace), file.at("server", "grace")),
        route_config={
            "name": "fairlead",
            "virtual_hosts": [
                {
                    "name": "fairlead",
                    "domains": ["*"],
                    "include_attempt_count_in_response": Noted(True, "x-envoy-attempt-count tells what was tried"),
                    "routes": found,
                }
            ],
        },
        http_filters=filters,
    )
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    }
    if server.tls is not None:
        certificate = {
            "certificate_chain": {"filename": server.tls.cert},
            "private_key": {"filename": server.tls.key or server.tls.cert},
        }
        context = typed(
            "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [certificate]},
        )
        socket = {"name": "envoy.transport_sockets.tls", "typed_config": context}
        chain["transport_socket"] = Noted(socket, file.at("server", "tls"))
    return {
        "name": "fairlead",
        "address": Noted(how.listen.socket, "--listen"),
        "per_connection_buffer_limit_bytes": _BUFFER,
        "filter_chains": [chain],
    }
