"""What every protocol edge does: read a request, write an answer, refuse in the protocol's own words.

Edges are pure: no I/O, no web framework, no state of a call. One object serves a protocol for a whole process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.types import Reply, Signature, Tensors

Scalar = str | int | float | bool
Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Request:
    """What the caller wants, already valid for the model.

    ``outputs``: names asked for, None for all.  ``id``: the caller's own id of the call, empty for none.
    ``memo``: what ``write`` of the same edge needs to know again.
    ``prediction``: the prediction id, known once there is a reply; empty where nothing is recorded.
    """

    inputs: Tensors
    parameters: dict[str, Scalar] = field(default_factory=dict)
    outputs: tuple[str, ...] | None = None
    id: str = ""
    memo: Any = None
    prediction: str = ""


class Answer(NamedTuple):
    """``headers``: lower-case names, content-type among them, content-length not."""

    status: int
    headers: Headers
    body: bytes


class Edge(Protocol):
    """One protocol."""

    def read(self, body: bytes, headers: Mapping[bytes, bytes], signature: Signature) -> Request:
        """The call in ``body``, validated. Header names are lower-case. Raises errors of the InputError family."""

    def write(self, reply: Reply, request: Request, signature: Signature) -> Answer:
        """The answer to ``request``. Raises InputError for a reply that cannot be written as the caller asked."""

    def refuse(self, error: FairleadError, request_id: str) -> Answer:
        """The error in the protocol's own shape and with its HTTP status."""


def json_headers() -> Headers:
    """Headers of a JSON answer; a fresh list, for the server adds to it."""
    return [(b"content-type", b"application/json")]


def pairs(lines: bytes) -> Headers:
    """Header lines, each ended by CRLF, as names and values."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines.splitlines())]
