"""What a spec makes of the server."""

from __future__ import annotations

from fairlead.kit.spec.spec import Spec
from fairlead.serve.settings import ServerSettings


def server(spec: Spec, *, insecure: bool = False) -> ServerSettings:
    asked = spec.server
    return ServerSettings(
        asked.host,
        asked.port,
        max(1, round(asked.max_body_mb * 2**20)),
        asked.grace,
        workers=asked.workers,
        tls_cert=asked.tls.cert if asked.tls else "",
        tls_key=asked.tls.key if asked.tls else "",
        tls_client_ca=asked.tls.client_ca if asked.tls else "",
        grpc_port=asked.grpc_port,
        memory=round(asked.memory_mb * 2**20),
        model_control=asked.model_control,
        max_connections=asked.max_connections,
        max_connections_per_address=asked.max_connections_per_address,
        stream_keep_alive=asked.stream_keep_alive,
        chaos=asked.chaos,
        insecure=insecure,
    )
