"""The batching decision. Pure: no clock, no loop, no thread; state in, decision out.

- Counts rows, not calls. A call with more rows than a batch holds is split; any other call rides whole.
- Work-conserving: ``take`` gives what is there. Only a policy with ``max_wait`` holds a batch back, and never longer.
- Calls of one group (same parameters, same free dimensions) share batches; groups take turns.
- Lanes: interactive before standard before batch. A lane's calls count as if they had come ``AGE`` seconds later than
  those of the lane before, so that none waits longer than that for calls that come after it. Where a batch has room,
  calls of the same group in other lanes ride with it. When the queue is full, who waits in a later lane makes room.
- Where a full batch would make calls late, by the model's pace, the batch is the one that answers most calls in time
  for each second of the model; who cannot be in it waits, and may expire. Which calls are refused because they would
  wait too long: ``resilience.shedding``.
- A finished call (cancelled, expired) is never taken: its rows do not reach the model.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from fairlead.contracts.errors import QueueFull
from fairlead.contracts.shedding import Shed
from fairlead.serve.call import LANES, Call
from fairlead.serve.pace import Pace
from fairlead.serve.resilience.concurrency import Limiter
from fairlead.serve.resilience.shedding import Shedding, overloaded

AGE: Final = 0.5
"""Seconds by which a lane's calls stand behind those of the lane before it."""
STRICT: Final = 1e6
"""The same while a queue stands: then lanes are served one after the other."""

Told = Callable[[str, str], None]
"""Hears why a call was shed, and its lane."""


@dataclass(frozen=True, slots=True)
class Policy:
    """``max_rows``: most rows in a batch.  ``max_wait``: seconds that a batch may wait for company (0: never).

    ``coalesce``: False runs every call alone (batching does not pay for this model).
    ``queue_rows``, ``queue_calls``: most that may wait; one call may always wait, however large.
    ``shed``: when calls are refused although there is room; None: never.
    """

    max_rows: int = 64
    max_wait: float = 0.0
    coalesce: bool = True
    queue_rows: int = 16_384
    queue_calls: int = 4_096
    shed: Shed | None = field(default_factory=Shed)


class Part(NamedTuple):
    """Rows ``start`` to ``start + rows`` of a call."""

    call: Call
    start: int
    rows: int


class Batcher:
    """A bounded queue that hands out batches, ``workers`` of them at a time. ``pace``: how long they take, if known.

    ``limiter``: says how many batches at a time, where that is to be found out.
    """

    def __init__(
        self,
        policy: Policy,
        pace: Pace | None = None,
        workers: int = 1,
        told: Told = lambda _reason, _lane: None,
        limiter: Limiter | None = None,
    ) -> None:
        self.policy = policy
        self._pace, self.workers, self._told, self.limiter = pace, workers, told, limiter
        self._came = [0] * len(LANES)
        self.shedding = Shedding(policy.shed, pace, self._came)
        self._lanes: tuple[OrderedDict[Hashable, deque[Call]], ...] = tuple(OrderedDict() for _ in LANES)
        self._of_lane = [0] * len(LANES)
        self.rows = 0
        """Rows that wait."""
        self.calls = 0
        """Calls that wait, split ones included until their last rows are taken."""

    def offer(self, call: Call, now: float = 0.0) -> list[Call]:
        """Queue a call. Gives back those of later lanes that made room for it and are no longer queued.

        Raises QueueFull or Overloaded, and then the queue is as it was.
        """
        policy = self.policy
        gone: list[Call] = []
        if self.calls:
            self.admit(call.lane, call.rows, call.arrived, call.deadline, now)
        else:
            self.shedding.first(now)
        if self.calls and (self.calls >= policy.queue_calls or self.rows + call.rows > policy.queue_rows):
            gone = self._make_room(call, now)
        lane = self._lanes[call.lane]
        group = lane.get(call.group)
        if group is None:
            group = lane[call.group] = deque()
        group.append(call)
        self.rows += call.rows
        self._of_lane[call.lane] += call.rows
        self._came[call.lane] += call.rows
        self.calls += 1
        return gone

    def take(self, now: float = 0.0) -> list[Part]:
        """The next batch; empty when nothing waits."""
        batch = self._take(now)
        if batch:
            self.shedding.began(id(batch), sum([part.rows for part in batch]), batch[0].call.arrived, now)
        return batch

    def _take(self, now: float) -> list[Part]:
        while (lane := self._next()) is not None:
            key, group = next(iter(lane.items()))
            rows, until = _aim(self.policy, self._pace, group, now)
            batch = self._fill(group, rows, until)
            if group:
                lane.move_to_end(key)
            else:
                del lane[key]
            if not batch:
                continue
            if self.policy.coalesce and (not group or until):
                self._company(lane, key, batch, rows, until)
            return batch
        return []

    def hold(self, now: float) -> float:
        """Seconds that the next batch should still wait for company; 0.0 means take it now."""
        policy = self.policy
        if not policy.max_wait or not self.calls or self.rows >= policy.max_rows:
            return 0.0
        oldest = min(group[0].arrived for lane in self._lanes for group in lane.values())
        return max(0.0, oldest + policy.max_wait - now)

    def ended(self, batch: list[Part], seconds: float, whole: bool, now: float, well: bool = True) -> None:
        """A batch that was taken has ended. ``seconds``: in the model.  ``whole``: all its rows were there at once.

        ``well``: it was not refused, lost or late.
        """
        rows = sum([part.rows for part in batch])
        if whole and self._pace is not None:
            self._pace.took(rows, seconds)
        self.shedding.ended(id(batch), rows, seconds, now)
        if self.limiter is not None:
            self.workers = self.limiter.ended(rows, well, self.calls > 0, now)

    def admit(self, lane: int, rows: int, arrived: float, deadline: float, now: float) -> None:
        """Let a call come that is like this, behind those that wait. Raises Overloaded."""
        shedding = self.shedding
        wait = self.wait(lane, now)
        refused = shedding.refusal(lane, wait, shedding.own(min(rows, self.policy.max_rows)), arrived, deadline, now)
        if refused is not None and self.calls:
            self._told(refused[0], LANES[lane])
            raise overloaded(*refused)

    def wait(self, lane: int, now: float) -> float:
        """Seconds that a call of this lane will wait, about."""
        return self.shedding.wait(lane, sum(self._of_lane[: lane + 1]), self.workers, now)

    def discard(self, call: Call) -> None:
        """Forget a finished call at once, so that it does not count against the limits."""
        lane = self._lanes[call.lane]
        group = lane.get(call.group)
        if group is None:
            return
        try:
            group.remove(call)
        except ValueError:
            return  # all its rows are taken
        self._leave(call, call.rows - call.offset)
        if not group:
            del lane[call.group]

    def waiting(self) -> Iterator[Call]:
        """Every call that waits."""
        for lane in self._lanes:
            for group in lane.values():
                yield from group

    def _next(self) -> OrderedDict[Hashable, deque[Call]] | None:
        """The lane whose turn it is: that of the call which, with its age, came first."""
        first, second, third = self._lanes
        if not first and not third:
            return second or None
        age = STRICT if self.shedding.standing else AGE
        waiting = [
            (next(iter(lane.values()))[0].arrived + number * age, number)
            for number, lane in enumerate(self._lanes)
            if lane
        ]
        return self._lanes[min(waiting)[1]] if waiting else None

    def _company(self, taken: object, key: Hashable, batch: list[Part], rows: int, until: float) -> None:
        """Let calls of the other lanes ride along, first lane first."""
        room = rows - sum(part.rows for part in batch)
        for lane in self._lanes:
            group = None if lane is taken else lane.get(key)
            if group is None or room <= 0:
                continue
            more = self._fill(group, room, until, begun=True)
            room -= sum(part.rows for part in more)
            batch += more
            if not group:
                del lane[key]

    def _fill(self, group: deque[Call], room: int, until: float, *, begun: bool = False) -> list[Part]:
        """Parts for so much room, of calls whose time lasts ``until`` then. ``begun``: others are in the batch."""
        batch: list[Part] = []
        passed: list[Call] = []
        while group and room > 0:
            call = group.popleft()
            left = call.rows - call.offset
            if call.finished:
                self._leave(call, left)
                continue
            if call.deadline < until:
                passed.append(call)
                continue
            rows = min(left, room)
            if rows < left and (batch or begun or left <= self.policy.max_rows):
                group.appendleft(call)
                break  # it rides whole, or its split starts with a full batch
            batch.append(Part(call, call.offset, rows))
            call.offset += rows
            room -= rows
            if rows == left:
                self._leave(call, rows)
            else:
                group.appendleft(call)
                self.rows -= rows
                self._of_lane[call.lane] -= rows
            if not self.policy.coalesce:
                break
        group.extendleft(reversed(passed))
        return batch

    def _make_room(self, call: Call, now: float) -> list[Call]:
        """Take calls of later lanes out, the newest first, until this one fits. Raises QueueFull where it will not."""
        policy = self.policy
        gone = _leavers(self._lanes[: call.lane : -1], policy, self.rows + call.rows, self.calls)
        rows, calls = self.rows - sum(one.rows for one in gone), self.calls - len(gone)
        if calls and (calls >= policy.queue_calls or rows + call.rows > policy.queue_rows):
            self._told("queue_full", LANES[call.lane])
            raise _full(policy, self.rows, self.calls, self.wait(len(LANES) - 1, now))
        for one in gone:
            self._told("displaced", LANES[one.lane])
            self.discard(one)
        return gone

    def _leave(self, call: Call, rows: int) -> None:
        self._of_lane[call.lane] -= rows
        self.rows -= rows
        self.calls -= 1


def _full(policy: Policy, rows: int, calls: int, wait: float) -> QueueFull:
    """``wait``: seconds until what is there is gone."""
    return QueueFull(
        f"the queue is full: {rows} rows in {calls} calls wait "
        f"(limits: {policy.queue_rows} rows, {policy.queue_calls} calls); try again later",
        retry_after=max(1.0, wait),
    )


def _leavers(lanes: Iterable[OrderedDict[Hashable, deque[Call]]], policy: Policy, rows: int, calls: int) -> list[Call]:
    """Calls of these lanes, the newest first, that would have to go for the others to fit; maybe too few."""
    gone: list[Call] = []
    for lane in lanes:
        for one in heapq.merge(*map(reversed, lane.values()), key=lambda one: -one.arrived):
            if calls < policy.queue_calls and rows <= policy.queue_rows:
                return gone
            if not one.offset:  # one that has begun is answered
                gone.append(one)
                rows, calls = rows - one.rows, calls - 1
    return gone


def _aim(policy: Policy, pace: Pace | None, group: deque[Call], now: float) -> tuple[int, float]:
    """Rows of the next batch, and when it is answered where that is late for some; 0.0 where it is for none."""
    room = policy.max_rows
    if pace is None:
        return room, 0.0
    first = min(group[0].rows - group[0].offset, room)
    if not policy.coalesce:
        until = now + pace.seconds(first)
        late = group[0].deadline < until and any(call.deadline >= until and not call.finished for call in group)
        return room, until if late else 0.0
    if min([call.deadline for call in islice(group, room)]) - now > pace.seconds(room):
        return room, 0.0
    best, aim = 0.0, (first, 0.0)  # who is late anyhow is so alone
    total = sum(call.rows - call.offset for call in islice(group, room))
    for size in sorted({min(size, room) for size in (*pace.sizes, total)}):
        until = now + pace.seconds(size)
        rows = calls = 0
        for call in group:
            left = call.rows - call.offset
            if call.deadline >= until and not call.finished and (rows + left <= size or not rows):
                rows, calls = rows + left, calls + 1
        if rows and calls / pace.seconds(min(rows, room)) > best:
            best, aim = calls / pace.seconds(min(rows, room)), (min(rows, room), until)
    return aim
