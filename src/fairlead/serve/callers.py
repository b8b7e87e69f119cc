"""How many connections are open, in all and from each address: who may come in, and who is told to come later.

Pure: no socket, no clock. One for each port.
"""

from __future__ import annotations

import resource
from collections import Counter
from typing import Final

import msgspec

SPARE: Final = 256
"""Open files that are not for connections: models, logs, stores."""

LINGERING: Final = 128
"""Who may wait with a refusal that is not read yet; with more, the next ones are closed without a word."""

CODE: Final = "too_many_connections"


def refusal(why: str) -> bytes:
    """An answer of HTTP for who is one too many."""
    body = msgspec.json.encode({"error": why, "code": CODE})
    return (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
        b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body)
    )


class Callers:
    """``most``: open connections.  ``each``: of one address, 0 for any number."""

    def __init__(self, most: int, each: int = 0) -> None:
        self._most, self._each = most, each
        self._open = 0
        self._from: Counter[str] = Counter()
        self.refused = 0
        """Who was turned away and is not gone yet."""

    @property
    def open(self) -> int:
        return self._open

    def of(self, address: str) -> int:
        """How many an address has."""
        return self._from[address]

    def admit(self, address: str) -> str:
        """Count one more; else the sentence that says why not, and nothing is counted."""
        if self._open >= self._most:
            return f"the server has {self._open} open connections, and may have no more (max_connections): try later"
        if self._each and self._from[address] >= self._each:
            return (
                f"your address has {self._each} open connections, and may have no more "
                "(max_connections_per_address): use one for several requests"
            )
        self._open += 1
        self._from[address] += 1
        return ""

    def gone(self, address: str, count: int = 1) -> None:
        """So many of an address ended."""
        self._open -= count
        self._from[address] -= count
        if self._from[address] <= 0:
            del self._from[address]


def room(wanted: int) -> int:
    """So many connections, or as many as the system lets this process have open; 0 wants all.

    The soft limit of open files is raised towards the hard one as far as it takes.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else 2**20
    need = min(most, wanted + SPARE) if wanted else most
    if soft != resource.RLIM_INFINITY and soft < need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
        soft = need
    fit = max(1, (most if soft == resource.RLIM_INFINITY else soft) - SPARE)
    return min(wanted, fit) if wanted else fit
