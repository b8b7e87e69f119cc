"""What every route needs of its caller, told once. A route that is not here is open to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.access import Action


@dataclass(frozen=True, slots=True)
class Need:
    """``action``: what the caller must be allowed; None: to be known is enough.

    ``server``: of the server as a whole, not of an endpoint.  ``open``: nobody need be known.
    ``told``: what was done is written down by the handler, which knows more of it.
    """

    action: Action | None = None
    server: bool = False
    open: bool = False
    told: bool = False


OPEN: Final = Need(open=True)
KNOWN: Final = Need()
_PREDICT, _EXPLAIN, _FEEDBACK = Need(Action.PREDICT), Need(Action.EXPLAIN), Need(Action.FEEDBACK)
_GENERATE = Need(Action.GENERATE)
_DESCRIBE, _ADMIN, _METRICS = Need(Action.DESCRIBE), Need(Action.ADMIN), Need(Action.METRICS, server=True)

UNKNOWN_ROUTE: Final = ""
"""The path of a request that no route takes."""

HTTP: Final[Mapping[str, Need]] = {
    "/v2/models/{endpoint}/infer": _PREDICT,
    "/v2/models/{endpoint}/versions/{version}/infer": _PREDICT,
    "/v1/models/{endpoint}:predict": _PREDICT,
    "/v1/models/{endpoint}:explain": _EXPLAIN,
    "/invocations": _PREDICT,
    "/serving-endpoints/{endpoint}/invocations": _PREDICT,
    "/v1/chat/completions": _GENERATE,
    "/v1/completions": _GENERATE,
    "/v1/responses": _GENERATE,
    "/v1/embeddings": _GENERATE,
    "/tokenize": _GENERATE,
    "/detokenize": _GENERATE,
    "/v1/feedback": _FEEDBACK,
    "/v2/repository/models/{endpoint}/load": _ADMIN,
    "/v2/repository/models/{endpoint}/unload": _ADMIN,
    "/chaos/{endpoint}": Need(Action.ADMIN, told=True),
    "/v2/models/{endpoint}": _DESCRIBE,
    "/v2/models/{endpoint}/ready": _DESCRIBE,
    "/v2/models/{endpoint}/versions/{version}": _DESCRIBE,
    "/v2/models/{endpoint}/versions/{version}/ready": _DESCRIBE,
    "/v1/models/{endpoint}": _DESCRIBE,
    "/metrics": _METRICS,
    "/": KNOWN,
    "/docs": KNOWN,
    "/openapi.json": KNOWN,
    "/v2": KNOWN,
    "/v2/repository/index": KNOWN,
    "/v1/models": KNOWN,
    "/version": KNOWN,
    "/v1/responses/{id}": KNOWN,
    "/v1/files": KNOWN,
    "/v1/files/{id}": KNOWN,
    "/v1/files/{id}/content": KNOWN,
    "/v1/batches": KNOWN,
    "/v1/batches/{id}": KNOWN,
    "/v1/batches/{id}/cancel": KNOWN,
    UNKNOWN_ROUTE: KNOWN,
    "/console": OPEN,  # it asks for a key itself
    "/console.json": OPEN,
    "/console/{path:path}": OPEN,
    "/healthz": OPEN,
    "/readyz": OPEN,
    "/v2/health/live": OPEN,
    "/v2/health/ready": OPEN,
    "/ping": OPEN,
    "/health": OPEN,
}
"""By the pattern of the route."""

_OIP: Final = "/inference.GRPCInferenceService"

GRPC: Final[Mapping[str, Need]] = {
    f"{_OIP}/ModelInfer": _PREDICT,
    f"{_OIP}/ModelStreamInfer": _PREDICT,
    f"{_OIP}/ModelReady": _DESCRIBE,
    f"{_OIP}/ModelMetadata": _DESCRIBE,
    f"{_OIP}/RepositoryModelLoad": _ADMIN,
    f"{_OIP}/RepositoryModelUnload": _ADMIN,
    f"{_OIP}/RepositoryIndex": KNOWN,
    f"{_OIP}/ServerMetadata": KNOWN,
    f"{_OIP}/ServerLive": OPEN,
    f"{_OIP}/ServerReady": OPEN,
    "/grpc.health.v1.Health/Check": OPEN,
    "/grpc.health.v1.Health/Watch": OPEN,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": KNOWN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": KNOWN,
}
"""By the path of the method. Health of an endpoint, by its name, needs what its description needs."""

NEEDS: Final[Mapping[str, Need]] = {**HTTP, **GRPC}
