"""Errors that crossed from another process, as a code and a sentence."""

from __future__ import annotations

from typing import Final

from fairlead.contracts import errors
from fairlead.contracts.errors import FairleadError

_KINDS: Final[dict[str, type[FairleadError]]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FairleadError)
}


def of(code: str, message: str, retry_after: float | None = None) -> FairleadError:
    """The error with this code; the root of the tree where nobody here knows it."""
    return _KINDS.get(code, FairleadError)(message, retry_after=retry_after)
