"""Which worker gets the next connection: the one with the fewest open ones, in turn where several have as few.

A connection is the unit because a kept one stays where it is: with a few of them, chance would leave a worker idle.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(slots=True)
class _Load:
    open: int = 0
    turn: int = 0
    """When it last got one; the smallest has waited longest."""


class Spread(Generic[Name]):
    """Counts what each worker has. Pure: no socket, no clock."""

    def __init__(self) -> None:
        self._loads: dict[Name, _Load] = {}
        self._turn = 0

    def join(self, worker: Name) -> None:
        """A worker that may get connections."""
        self._loads[worker] = _Load()

    def leave(self, worker: Name) -> None:
        """It gets no more; what it has is not counted any longer."""
        self._loads.pop(worker, None)

    def __iter__(self) -> Iterator[Name]:
        return iter(self._loads)

    def next(self, busy: Container[Name] = ()) -> Name | None:
        """Who gets the next connection; counts it. None when there is nobody, or all are ``busy``."""
        free = [worker for worker in self._loads if worker not in busy]
        if not free:
            return None
        chosen = min(free, key=lambda worker: (self._loads[worker].open, self._loads[worker].turn))
        self._turn += 1
        self._loads[chosen].open += 1
        self._loads[chosen].turn = self._turn
        return chosen

    def closed(self, worker: Name, count: int = 1) -> None:
        """So many connections of a worker ended."""
        load = self._loads.get(worker)
        if load is not None:
            load.open = max(0, load.open - count)

    def open(self, worker: Name) -> int:
        """How many connections a worker has."""
        load = self._loads.get(worker)
        return 0 if load is None else load.open
