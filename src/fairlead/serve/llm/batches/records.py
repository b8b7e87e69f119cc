"""What is written down of files and batches."""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import msgspec

from fairlead.contracts.access import Caller

WINDOW: Final = 24 * 3600
"""Seconds that a batch may take."""
OVER: Final = frozenset({"failed", "completed", "expired", "cancelled"})
"""Statuses of a batch that nothing more happens to."""
_FORM: Final = re.compile(r"(file-|batch_)[0-9a-f]{28}")


class File(msgspec.Struct, frozen=True):
    """``created_at``, ``expires_at``: Unix seconds.  ``filename``: as the caller said, of no meaning here."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str

    def document(self) -> dict[str, Any]:
        """As the API tells it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Problem(msgspec.Struct, frozen=True):
    """Why a batch was not begun. ``line``: of its input, from 1; None: of the whole."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Counts(msgspec.Struct, frozen=True):
    """Requests of a batch; ``failed``: those that ended with an error."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class Batch(msgspec.Struct, frozen=True):
    """``caller``: as who made it was known then.  ``output``, ``mistakes``: ids that its files will have.

    ``keep``: seconds that they are kept.  ``..._at``: Unix seconds; 0: not yet.
    ``ending``: how it ends, where that was decided before every request was answered.  ``wrote``, ``erred``: whether it
    has those files.
    """

    id: str
    endpoint: str
    input_file_id: str
    caller: Caller | None
    created_at: int
    expires_at: int
    output: str
    mistakes: str
    keep: int
    metadata: dict[str, str] | None = None
    status: str = "validating"
    in_progress_at: int = 0
    finalizing_at: int = 0
    completed_at: int = 0
    failed_at: int = 0
    expired_at: int = 0
    cancelling_at: int = 0
    cancelled_at: int = 0
    counts: Counts = Counts()
    errors: tuple[Problem, ...] = ()
    ending: str = ""
    wrote: bool = False
    erred: bool = False

    @property
    def over(self) -> bool:
        return self.status in OVER

    def at(self, status: str, now: int) -> Batch:
        """The same with another status, since now."""
        return msgspec.structs.replace(self, status=status, **{f"{status}_at": now})

    def document(self) -> dict[str, Any]:
        """As the API tells it."""
        moments = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": [msgspec.to_builtins(one) for one in self.errors]}
            if self.errors
            else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output if self.wrote else None,
            "error_file_id": self.mistakes if self.erred else None,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            **{f"{one}_at": getattr(self, f"{one}_at") or None for one in moments},
            "request_counts": msgspec.to_builtins(self.counts),
            "metadata": self.metadata,
        }


def fresh(kind: str, wall_ms: int) -> str:
    """A new id, ``file-`` or ``batch_`` before it; those made later sort behind, but for some within a millisecond."""
    return f"{kind}{wall_ms:012x}{secrets.token_hex(8)}"


def is_id(text: str, kind: str) -> bool:
    """Whether it can be one: what is none never becomes part of a path."""
    return text.startswith(kind) and _FORM.fullmatch(text) is not None
