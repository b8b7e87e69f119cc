"""The heads of chains, kept away from the files: who removes the last lines, or a whole file, must change both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from fairlead.contracts.errors import Conflict
from fairlead.contracts.state import StateStore
from fairlead.kit.codec.records import from_body, to_body

KIND: Final = "audit"


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain that was durable. ``home``: the folder of the log, as ``HOST:PATH``."""

    chain: str
    seq: int
    hash: str
    home: str
    at_ms: int = 0


class Heads(Protocol):
    """Raises Unavailable when it does not answer."""

    def get(self, chain: str) -> Head | None: ...

    def all(self) -> list[Head]: ...

    def put(self, head: Head) -> None:
        """Keep the newest head of its chain. Only one process has a chain at a time."""


class StoredHeads:
    """In the state store."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def get(self, chain: str) -> Head | None:
        found = self._store.get(KIND, chain)
        return None if found is None else from_body(Head, found.body)

    def all(self) -> list[Head]:
        return [from_body(Head, one.body) for one in self._store.all(KIND)]

    def put(self, head: Head) -> None:
        for _ in range(3):
            found = self._store.get(KIND, head.chain)
            try:
                self._store.put(KIND, head.chain, to_body(head), found.revision if found else 0)
            except Conflict:
                continue
            return
