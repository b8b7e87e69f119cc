"""An endpoint under load without a clock: calls come at given times, batches take what the model takes."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from fairlead.contracts.errors import Refused
from fairlead.serve.batcher import Batcher, Part
from fairlead.serve.call import LANES, Call


@dataclass
class Seen:
    """``good``: answered in time, ``late``: answered after its deadline or never, both by lane; ``shed`` likewise by
    reason and lane. ``waits``: of answered calls, from arrival to the answer.
    """

    came: Counter[str] = field(default_factory=Counter)
    good: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    shed: Counter[tuple[str, str]] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    """Seconds after which refused calls were told to come back."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Arrival:
    at: float
    allowed: float
    lane: int = 1


def poisson(rate: float, seconds: float, allowed: float, seed: int, lane: int = 1) -> list[Arrival]:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
    return [Arrival(float(at), allowed, lane) for at in times]


def bursts(rate: float, size: int, seconds: float, allowed: float) -> list[Arrival]:
    """The same number of calls, ``size`` of them at a time."""
    times = np.arange(0, seconds, size / rate)
    return [Arrival(float(at) + 1e-6 * number, allowed) for at in times for number in range(size)]


def run(
    make: Callable[[Counter[tuple[str, str]]], Batcher], arrivals: Iterable[Arrival], takes: Callable[[int], float]
) -> Seen:
    """Let them come. ``make``: a batcher that counts there what it sheds.  ``takes``: seconds of so many rows."""
    seen = Seen()
    batcher = make(seen.shed)
    coming = sorted(arrivals, key=lambda one: one.at)
    running: list[tuple[float, int, float, list[Part]]] = []
    serial = now = 0.0
    place = 0
    while place < len(coming) or running or batcher.calls:
        at = coming[place].at if place < len(coming) else np.inf
        now = min(at, running[0][0]) if running else at
        if running and running[0][0] <= at:
            ends, _, began, batch = heapq.heappop(running)
            batcher.ended(batch, ends - began, True, ends)
            for part in batch:
                lane = LANES[part.call.lane]
                (seen.good if ends <= part.call.deadline else seen.late)[lane] += 1
                seen.waits.append(ends - part.call.arrived)
        elif place < len(coming):
            one, place = coming[place], place + 1
            seen.came[LANES[one.lane]] += 1
            call = Call(
                {"x": np.zeros((1, 1))}, 1, lambda _: None, arrived=at, deadline=at + one.allowed, lane=one.lane
            )
            try:
                batcher.offer(call, at)
            except Refused as error:
                seen.after.append(error.retry_after or 0.0)
        for call in [call for call in batcher.waiting() if call.deadline <= now]:
            seen.late[LANES[call.lane]] += 1
            batcher.discard(call)
        while len(running) < batcher.workers and (batch := batcher.take(now)):
            serial += 1
            heapq.heappush(running, (now + takes(len(batch)), int(serial), now, batch))
    seen.seconds = now
    return seen
