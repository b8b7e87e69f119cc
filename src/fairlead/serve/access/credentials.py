"""What a request shows of who sends it: ``authorization: Bearer``, ``x-api-key`` or ``api-key``, one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fairlead.contracts.errors import Unauthenticated

AUTHORIZATION: Final = b"authorization"
NAMES: Final = (AUTHORIZATION, b"x-api-key", b"api-key")
"""The headers, in lower case; in gRPC the same as metadata."""
ANONYMOUS: Final = "anonymous"
"""The actor who is not known."""
LONGEST: Final = 16 * 1024
"""Bytes of a credential, at most."""

Headers = Mapping[bytes, bytes]
Certificate = Mapping[str, Any]
"""A certificate that a caller's connection showed, as ``ssl`` gives it."""


def refused() -> Unauthenticated:
    """What everybody is told who is not known: the same whatever was wrong."""
    return Unauthenticated(
        "this server answers known callers only: send a key that holds, as Authorization: Bearer KEY"
    )


def shown(headers: Headers) -> bytes | None:
    """The one credential; None for none. Raises Unauthenticated for two, and for what is no bearer token."""
    found: bytes | None = None
    for name in NAMES:
        value = headers.get(name)
        if value is None:
            continue
        if name == AUTHORIZATION:
            scheme, _, value = value.partition(b" ")
            if scheme.lower() != b"bearer":
                raise refused()
        value = value.strip(b" \t")
        if not value or len(value) > LONGEST or b"," in value or (found is not None and value != found):
            raise refused()
        found = value
    return found


def mapping(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name. Of one that came twice the last counts, but a credential that did is none: both are kept, with a
    comma between them, which no credential has.
    """
    pairs = list(raw)
    found = dict(pairs)
    if len(found) != len(pairs):
        for name in NAMES:
            several = [value for other, value in pairs if other == name]
            if len(several) > 1:
                found[name] = b",".join(several)
    return found


def single(raw: list[tuple[bytes, bytes]]) -> bool:
    """Whether no credential came twice."""
    return not any(sum(name == other for other, _ in raw) > 1 for name in NAMES)
