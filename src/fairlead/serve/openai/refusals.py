"""Errors in the shape of OpenAI's API: ``{"error": {"message", "type", "param", "code"}}``, from our stable codes."""

from __future__ import annotations

import math
from typing import Final

from fairlead.contracts.errors import (
    ContextTooLong,
    FairleadError,
    InvalidParameter,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from fairlead.kit.codec import json
from fairlead.serve.edges.edge import Headers, pairs
from fairlead.serve.edges.status import status_of

INVALID: Final = "invalid_request_error"
SERVER: Final = "server_error"

KINDS: Final[dict[str, tuple[str, str | None]]] = {
    "invalid_input": (INVALID, None),
    "malformed_body": (INVALID, None),
    "invalid_tensor": (INVALID, None),
    "invalid_parameter": (INVALID, "invalid_value"),
    "context_too_long": (INVALID, "context_length_exceeded"),
    "content_blocked": (INVALID, "content_filter"),
    "unauthenticated": ("authentication_error", "invalid_api_key"),
    "forbidden": ("permission_error", "insufficient_permissions"),
    "not_found": (INVALID, "model_not_found"),
    "body_too_large": (INVALID, "request_too_large"),
    "queue_full": ("rate_limit_error", "queue_full"),
    "rate_limited": ("rate_limit_error", "rate_limit_exceeded"),
    "over_budget": ("insufficient_quota", "insufficient_quota"),
    "overloaded": (SERVER, "server_overloaded"),
}
"""Type and code by our stable code, whose HTTP status is that of ``edges.status``. What is not here is the server's own
fault: type ``server_error`` and our code.
"""

_QUOTA: Final = ("insufficient_quota", "insufficient_quota")


class Invalid(InvalidParameter):
    """A value of a body. ``param``: where it stands.  ``kind``: the API's code."""

    def __init__(self, message: str, param: str | None, kind: str | None = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.kind = kind


class Gone(NotFound):
    """Something that is not there. ``param``, ``kind``: as above."""

    def __init__(self, message: str, param: str | None, kind: str | None) -> None:
        super().__init__(message)
        self.param = param
        self.kind = kind


class WrongMethod(FairleadError):
    """405. ``allowed``: methods of the path."""

    code = "method_not_allowed"

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


def unsupported(param: str, why: str) -> Invalid:
    """A parameter of the API that is not honoured here, and why."""
    return Invalid(f"Unsupported parameter: '{param}' {why}", param, "unsupported_parameter")


def no_model(name: str, why: str = "does not exist or you do not have access to it.") -> Gone:
    return Gone(f"The model '{name}' {why}", "model", "model_not_found")


def told(error: FairleadError, prompt: str = "messages") -> dict[str, str | None]:
    """The inside of the object. ``prompt``: what the prompt of this route is called."""
    if isinstance(error, Invalid | Gone):
        return {"message": str(error), "type": INVALID, "param": error.param, "code": error.kind}
    if isinstance(error, WrongMethod):
        return {"message": str(error), "type": INVALID, "param": None, "code": "method_not_supported"}
    kind, code = KINDS.get(error.code, (SERVER, error.code))
    param: str | None = None
    if isinstance(error, ContextTooLong):
        param = prompt
    elif type(error) is NotFound:
        param = "model"
    elif isinstance(error, RateLimited):
        if error.kind == "quota":
            kind, code = _QUOTA
        elif error.kind in ("requests", "tokens"):
            kind = error.kind
    return {"message": str(error), "type": kind, "param": param, "code": code}


def document(error: FairleadError, prompt: str = "messages") -> bytes:
    return json.encode({"error": told(error, prompt)})


def status(error: FairleadError) -> int:
    return 405 if isinstance(error, WrongMethod) else status_of(error.code)


def headers(error: FairleadError) -> Headers:
    """Those that a refusal has beside the usual ones."""
    found: Headers = []
    if error.retry_after is not None:
        found.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
    if error.code == Unauthenticated.code:
        found.append((b"www-authenticate", b"Bearer"))
    elif type(error) is RateLimited:
        found += pairs(error.told)
    elif isinstance(error, WrongMethod):
        found.append((b"allow", error.allowed.encode()))
    return found
