"""The only map from an error's stable code to an HTTP status."""

from __future__ import annotations

from typing import Final

STATUS: Final[dict[str, int]] = {
    "invalid_input": 400,
    "malformed_body": 400,
    "invalid_tensor": 400,
    "invalid_parameter": 400,
    "context_too_long": 400,
    "content_blocked": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "body_too_large": 413,
    "queue_full": 429,
    "rate_limited": 429,
    "over_budget": 429,
    "cancelled": 499,
    "internal": 500,
    "model_failed": 500,
    "refused": 503,
    "overloaded": 503,
    "unavailable": 503,
    "circuit_open": 503,
    "engine_lost": 503,
    "deadline_exceeded": 504,
}
"""Codes that are not here (a registry, a model that does not load) never reach a caller of predict: they are 500."""


def status_of(code: str) -> int:
    return STATUS.get(code, 500)
