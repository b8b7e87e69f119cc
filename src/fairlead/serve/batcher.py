"""The batching decision. Pure: no clock, no loop, no thread; state in, decision out.

- Counts rows, not calls. A call with more rows than a batch holds is split; any other call rides whole.
- Work-conserving: ``take`` gives what is there. Only a policy with ``max_wait`` holds a batch back, and never longer.
- Calls of one group (same parameters, same free dimensions) share batches; groups take turns.
- A finished call (cancelled, expired) is never taken: its rows do not reach the model.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.contracts.errors import QueueFull
from fairlead.serve.call import Call


@dataclass(frozen=True, slots=True)
class Policy:
    """``max_rows``: most rows in a batch.  ``max_wait``: seconds that a batch may wait for company (0: never).

    ``coalesce``: False runs every call alone (batching does not pay for this model).
    ``queue_rows``, ``queue_calls``: most that may wait; one call may always wait, however large.
    """

    max_rows: int = 64
    max_wait: float = 0.0
    coalesce: bool = True
    queue_rows: int = 16_384
    queue_calls: int = 4_096


class Part(NamedTuple):
    """Rows ``start`` to ``start + rows`` of a call."""

    call: Call
    start: int
    rows: int


class Batcher:
    """A bounded queue that hands out batches."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._groups: OrderedDict[Hashable, deque[Call]] = OrderedDict()
        self.rows = 0
        """Rows that wait."""
        self.calls = 0
        """Calls that wait, split ones included until their last rows are taken."""

    def offer(self, call: Call) -> None:
        """Queue a call. Raises QueueFull, and then the queue is as it was."""
        policy = self.policy
        if self.calls and (self.calls >= policy.queue_calls or self.rows + call.rows > policy.queue_rows):
            raise QueueFull(
                f"the queue is full: {self.rows} rows in {self.calls} calls wait "
                f"(limits: {policy.queue_rows} rows, {policy.queue_calls} calls); try again later"
            )
        group = self._groups.get(call.group)
        if group is None:
            group = self._groups[call.group] = deque()
        group.append(call)
        self.rows += call.rows
        self.calls += 1

    def take(self) -> list[Part]:
        """The next batch, in the order of arrival; empty when nothing waits."""
        while self._groups:
            key, group = next(iter(self._groups.items()))
            batch = self._fill(group)
            if group:
                self._groups.move_to_end(key)
            else:
                del self._groups[key]
            if batch:
                return batch
        return []

    def hold(self, now: float) -> float:
        """Seconds that the next batch should still wait for company; 0.0 means take it now."""
        policy = self.policy
        if not policy.max_wait or not self._groups or self.rows >= policy.max_rows:
            return 0.0
        oldest = min(group[0].arrived for group in self._groups.values())
        return max(0.0, oldest + policy.max_wait - now)

    def discard(self, call: Call) -> None:
        """Forget a finished call at once, so that it does not count against the limits."""
        group = self._groups.get(call.group)
        if group is None:
            return
        try:
            group.remove(call)
        except ValueError:
            return  # all its rows are taken
        self._leave(call.rows - call.offset)
        if not group:
            del self._groups[call.group]

    def waiting(self) -> Iterator[Call]:
        """Every call that waits."""
        for group in self._groups.values():
            yield from group

    def _fill(self, group: deque[Call]) -> list[Part]:
        batch: list[Part] = []
        room = self.policy.max_rows
        while group and room > 0:
            call = group[0]
            left = call.rows - call.offset
            if call.finished:
                group.popleft()
                self._leave(left)
                continue
            if left > room and (batch or left <= self.policy.max_rows):
                break  # it rides whole, or its split starts with a full batch
            rows = min(left, room)
            batch.append(Part(call, call.offset, rows))
            call.offset += rows
            room -= rows
            if rows == left:
                group.popleft()
                self._leave(rows)
            else:
                self.rows -= rows
            if not self.policy.coalesce:
                break
        return batch

    def _leave(self, rows: int) -> None:
        self.rows -= rows
        self.calls -= 1
