"""Errors of ours as answers of HTTP."""

from __future__ import annotations

import math
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from fairlead.contracts import errors
from fairlead.contracts.errors import FairleadError
from fairlead.kit.codec.json import encode

_STATUS: Final = (
    (errors.BodyTooLarge, 413),
    (errors.InputError, 400),
    (errors.UsageError, 400),
    (errors.NotFound, 404),
    (errors.SourceNotFound, 404),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.RateLimited, 429),
    (errors.Conflict, 409),
    (errors.Busy, 409),
    (errors.AliasMoved, 409),
    (errors.Refused, 503),
    (errors.RegistryUnreachable, 503),
    (errors.StateError, 503),
    (errors.MissingExtra, 501),
)


def status_of(error: FairleadError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def as_ours(error: Exception) -> FairleadError:
    """What may be said of any error."""
    if isinstance(error, FairleadError):
        return error
    return FairleadError("the console failed here; its log says more")


def wants_json(request: Request) -> bool:
    accepts = request.headers.get("accept", "")
    return request.url.path.endswith(".json") or ("application/json" in accepts and "text/html" not in accepts)


def json_of(data: Any, status: int = 200, retry: float | None = None) -> Response:
    """Numbers that are not finite become null."""
    response = Response(encode(data), status, media_type="application/json")
    response.headers["cache-control"] = "no-store"
    if status == 401:
        response.headers["www-authenticate"] = "Bearer"
    if retry is not None:
        response.headers["retry-after"] = str(max(1, math.ceil(retry)))
    return response
