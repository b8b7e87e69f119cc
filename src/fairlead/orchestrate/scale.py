"""How many replicas a load needs: the decision of Knative's autoscaler (its KPA), pure.

Calls in flight are averaged over a stable window, and there should be enough replicas for each to have ``target`` of
them. A rush is seen in a shorter window: where that one asks for twice as many replicas as there are, the scaler
panics, takes what the short window asks, and lets nobody go until the rush has been over for a stable window. After a
time without any call, and then at once, all end.

Source: Knative Serving, "Scaling" and the KPA's package documentation (stable and panic mode).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fairlead.contracts.scaling import Scaling

RUSH = 2.0
"""Times the replicas that there are, asked for by the short window: from there on the scaler panics."""

NEVER = -math.inf


@dataclass(frozen=True, slots=True)
class Seen:
    """What a decision remembers. ``looks``: end, length and concurrency of each look in the stable window.

    ``busy``: when a call was last in flight, or the first look began.  ``rushed``: when a rush was last seen.
    ``most``: replicas that it took.
    """

    looks: tuple[tuple[float, float, float], ...] = ()
    busy: float = NEVER
    rushed: float = NEVER
    most: int = 0


def average(looks: tuple[tuple[float, float, float], ...], now: float, window: float) -> float:
    """Calls in flight over the last ``window`` seconds, or over as much of them as was looked at."""
    seconds = area = 0.0
    for end, length, concurrency in looks:
        inside = min(end, now) - max(end - length, now - window)
        if inside > 0:
            seconds, area = seconds + inside, area + inside * concurrency
    return area / seconds if seconds else 0.0


def decide(
    scaling: Scaling, seen: Seen, now: float, seconds: float, concurrency: float, replicas: int
) -> tuple[Seen, int]:
    """What to remember, and the replicas that there should be.

    ``concurrency``: calls in flight, averaged over the last ``seconds``.  ``replicas``: those that answer now.
    """
    kept = tuple(look for look in seen.looks if look[0] > now - scaling.stable)
    looks = (*kept, (now, seconds, concurrency))
    began = now - seconds if seen.busy == NEVER else seen.busy
    busy = now if concurrency > 0 else began
    seen = replace(seen, looks=looks, busy=busy)
    wanted = _needed(average(looks, now, scaling.stable), scaling.target)
    rush = _needed(average(looks, now, scaling.panic), scaling.target)
    if rush >= RUSH * max(1, replicas):
        seen = replace(seen, rushed=now, most=max(seen.most, rush))
    if seen.rushed > now - scaling.stable:
        seen = replace(seen, most=max(seen.most, rush, replicas))
        wanted = max(wanted, seen.most)
    else:
        seen = replace(seen, rushed=NEVER, most=0)
    if scaling.least == 0 and now - busy >= scaling.idle:
        return replace(seen, rushed=NEVER, most=0), 0
    return seen, min(scaling.most, max(scaling.least, wanted, 1))


def _needed(concurrency: float, target: float) -> int:
    return math.ceil(concurrency / target - 1e-9)


class Kpa:
    """An ``Autoscaler``: remembers for ``decide``."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling
        self._seen = Seen()

    def decide(self, now: float, seconds: float, concurrency: float, replicas: int) -> int:
        self._seen, wanted = decide(self._scaling, self._seen, now, seconds, concurrency, replicas)
        return wanted
