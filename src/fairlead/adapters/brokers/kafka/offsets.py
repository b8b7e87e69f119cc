"""How far a partition may be committed. Pure.

Kafka acknowledges by a mark: everything below it is done. Messages are done in any order, so the mark stands at the
first one that is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

Mark = tuple[int, int]
"""A partition, and the first offset that is not done."""


class Offsets:
    """What was given out of the partitions that this member has."""

    def __init__(self) -> None:
        self._given: dict[int, deque[int]] = {}
        self._done: dict[int, set[int]] = {}
        self._highest: dict[int, int] = {}

    def give(self, partition: int, offset: int) -> int:
        """Note that a message is given out; how often this process has given it, as far as it knows (1 or 2)."""
        self._given.setdefault(partition, deque()).append(offset)
        seen = offset <= self._highest.get(partition, -1)
        self._highest[partition] = max(offset, self._highest.get(partition, -1))
        return 2 if seen else 1

    def settle(self, messages: Iterable[tuple[int, int]]) -> list[Mark]:
        """These (partition, offset) are done; the marks that moved. Partitions that were taken away are passed over."""
        touched = set()
        for partition, offset in messages:
            if partition in self._given:
                self._done.setdefault(partition, set()).add(offset)
                touched.add(partition)
        moved = []
        for partition in sorted(touched):
            given, done = self._given[partition], self._done[partition]
            mark = -1
            while given and given[0] in done:
                mark = given.popleft()
                done.discard(mark)
            if mark >= 0:
                moved.append((partition, mark + 1))
        return moved

    def forget(self, partitions: Iterable[int]) -> None:
        """These belong to another member now, or begin anew."""
        for partition in partitions:
            self._given.pop(partition, None)
            self._done.pop(partition, None)
