"""What the patterns give: a place, how sure it is, and how far any of them may look."""

from __future__ import annotations

from typing import Final, NamedTuple


class Span(NamedTuple):
    """``start``, ``end``: characters of the folded text."""

    kind: str
    start: int
    end: int
    score: float


BEFORE: Final = 48
"""Characters before a number in which words that say what it is are looked for."""

REACH: Final = {
    "email": 136, "url_credentials": 120, "key": 104, "bearer": 104, "jwt": 104, "private_key": 104,
    "card": 96, "iban": 96, "phone": 104, "ssn": 64, "ip": 72,
}  # fmt: skip
"""By kind: characters from the start of a finding within which it is decided. One of an open end may be longer."""
SLACK: Final = 8
"""Of these, so many are what follows a finding."""
