"""The only map from an error's stable code to a gRPC status code, and how a status is written."""

from __future__ import annotations

from typing import Final

OK, CANCELLED, INVALID, DEADLINE, NOT_FOUND = 0, 1, 3, 4, 5
FORBIDDEN, EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 7, 8, 12, 13, 14, 16

STATUS: Final[dict[str, int]] = {
    "invalid_input": INVALID,
    "malformed_body": INVALID,
    "invalid_tensor": INVALID,
    "invalid_parameter": INVALID,
    "context_too_long": INVALID,
    "content_blocked": INVALID,
    "unauthenticated": UNAUTHENTICATED,
    "forbidden": FORBIDDEN,
    "not_found": NOT_FOUND,
    "body_too_large": EXHAUSTED,
    "queue_full": EXHAUSTED,
    "rate_limited": EXHAUSTED,
    "over_budget": EXHAUSTED,
    "cancelled": CANCELLED,
    "internal": INTERNAL,
    "model_failed": INTERNAL,
    "refused": UNAVAILABLE,
    "overloaded": UNAVAILABLE,
    "unavailable": UNAVAILABLE,
    "circuit_open": UNAVAILABLE,
    "engine_lost": UNAVAILABLE,
    "deadline_exceeded": DEADLINE,
}


def status_of(code: str) -> int:
    return STATUS.get(code, INTERNAL)


LONGEST: Final = 1000
"""Characters of a message: clients refuse trailers of more than 8 KiB as a whole."""


def percent_encoded(message: str) -> bytes:
    """As ``grpc-message`` carries it: printable ASCII but ``%`` as it is, every other byte of UTF-8 as ``%XX``."""
    if len(message) > LONGEST:
        message = f"{message[: LONGEST - 3]}..."
    raw = message.encode("utf-8", "replace")
    if raw.isascii() and message.isprintable() and "%" not in message:
        return raw
    return b"".join(b"%c" % byte if 0x20 <= byte < 0x7F and byte != 0x25 else b"%%%02X" % byte for byte in raw)
