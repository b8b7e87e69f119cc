"""Which calls are refused because they would wait too long. Pure: time is passed in.

More calls than a model can answer make a queue that stands: it never empties, and whoever is in it waits as long as
who came before. Without a bound all are answered late, which is to nobody. So:

- **By deadline.** A call that cannot be in time though all goes well is refused when it comes, not when its time is up.
- **By queue delay.** A short queue is what absorbs a burst, and only one that does not go away is too long (controlled
  delay: Nichols and Jacobson, RFC 8289). A queue that was not empty, or with a ``target`` not below it, for a whole
  interval stands until it is empty once. While it stands a call is let in when its wait fits into a part of the time
  that it allows itself, and into the target where there is one. The two limits, a lenient one at first and a strict
  one while the queue stands, are those of Facebook's servers (Maurer, "Fail at Scale", ACM Queue 13-8).
- **By lane.** The limits of lane batch are tighter, those of lane interactive wider, and a call only waits for the
  lanes up to its own: batch is shed first and interactive last.

It is never the latency of the model that decides: where calls ride together it grows with the load by design. How long
a call will wait is what is before it, over what leaves: measured while a queue stands, when batches are as full as
they get; and before that by the model's measured pace.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final, Protocol

from fairlead.contracts.errors import Overloaded
from fairlead.contracts.shedding import Shed

OF_ALLOWED: Final = (0.9, 0.8, 0.5)
"""Of the time that a call allows itself it may need so much while a queue stands, by lane."""
OF_TARGET: Final = (2.0, 1.0, 0.5)
"""And so much of the target may it wait, by lane."""

EMPTY: Final = math.inf
_BATCHES: Final = 4.0
"""An interval is no shorter than so many batches: one that runs is not a queue that stands."""
_KEEPS: Final = 0.95
"""What the measured rate keeps of the past with every batch."""
_KNOWN: Final = 8
"""Batches that end while calls wait, until their rate is believed."""
_TOLD: Final = 0.1
"""Seconds after which the rates of the lanes are told anew."""
_FREE: Final = 0.05
"""Share of the model that is left to a lane, at least, however much the lanes before it take."""


class Pace(Protocol):
    """How long so many rows take."""

    def least(self, rows: int) -> float: ...

    def seconds(self, rows: int) -> float: ...


class Shedding:
    """``shed`` None: nobody is refused, and only the estimates are kept.  ``pace``: of the model, where it is known.

    ``came``: whoever lets calls in adds their rows here, by lane; it is emptied from time to time.
    """

    __slots__ = (
        "_came",
        "_known",
        "_last",
        "_longest",
        "_pace",
        "_rates",
        "_rows",
        "_running",
        "_seconds",
        "_shed",
        "_since",
        "_target",
        "_told",
        "early",
        "standing",
    )

    def __init__(self, shed: Shed | None, pace: Pace | None, came: list[int]) -> None:
        self._shed, self._pace, self._came = shed, pace, came
        self._target = shed.target if shed is not None else 0.0
        self.standing = False
        """Whether the queue was seen to stand."""
        self.early = True
        """Calls may be refused before they are read; False where something answers those that are refused."""
        self._since = EMPTY
        """Since when the queue has not been empty, or not below the target."""
        self._longest = 0.0
        """Seconds that batches take, about."""
        self._running: dict[Hashable, tuple[float, int]] = {}
        """When each batch began, and its rows."""
        self._last = EMPTY
        """When a batch last ended."""
        self._seconds = self._rows = 0.0
        """Of batches that ended while calls waited, the newest weighing most."""
        self._known = 0
        self._rates = [0.0] * len(came)
        """Rows of each lane that were let in in a second."""
        self._told = EMPTY

    # What happens.

    def first(self, now: float) -> None:
        """A call comes to an empty queue."""
        self._since, self.standing, self._known = now, False, 0

    def began(self, key: Hashable, rows: int, oldest: float, now: float) -> None:
        """A batch of so many rows was taken, whose first call came at ``oldest``."""
        self._running[key] = now, rows
        if now - self._told >= _TOLD:
            seconds = now - self._told
            self._rates = [old + 0.2 * (new / seconds - old) for old, new in zip(self._rates, self._came, strict=True)]
        if not 0.0 <= now - self._told < _TOLD:
            self._came[:] = [0] * len(self._came)
            self._told = now
        if self._target and not self.standing and now - oldest < self._target:
            self._since = now

    def ended(self, key: Hashable, rows: int, seconds: float, now: float) -> None:
        """It ended, after ``seconds`` in the model; 0.0 where it did not get there."""
        self._running.pop(key, None)
        if seconds:
            self._longest += 0.2 * (seconds - self._longest)
        if self._since <= self._last < EMPTY and now > self._last:  # calls have waited all the while
            self._seconds = _KEEPS * self._seconds + now - self._last
            self._rows = _KEEPS * self._rows + rows
            self._known += 1
        self._last = now

    # What is decided.

    def wait(self, lane: int, ahead: int, workers: int, now: float) -> float:
        """Seconds until a call of this lane is taken that has so many rows before it; 0.0 while nobody can know."""
        running = self._left(now) / workers
        if self._known >= _KNOWN and self._rows:
            row = self._seconds / self._rows
            return running + ahead * row / max(_FREE, 1.0 - sum(self._rates[:lane]) * row)
        return running + self._pace.least(ahead) / workers if self._pace is not None else 0.0

    def _left(self, now: float) -> float:
        """Seconds that the batches which run will still take together."""
        pace = self._pace
        if pace is None:
            return 0.0
        return sum([max(0.0, began + pace.seconds(rows) - now) for began, rows in self._running.values()])

    def own(self, rows: int) -> float:
        """Seconds of a batch of so many rows; 0.0 while nobody can know."""
        if self._pace is not None:
            return self._pace.seconds(rows)
        return self._longest if self._known >= _KNOWN else 0.0

    def stands(self, now: float) -> bool:
        """Whether the queue has been too long for a whole interval."""
        if not self.standing and self._shed is not None:
            self.standing = now - self._since >= max(self._shed.interval, _BATCHES * self._longest)
        return self.standing

    def refusal(
        self, lane: int, wait: float, own: float, arrived: float, deadline: float, now: float
    ) -> tuple[str, float, float] | None:
        """Why the call is refused, the seconds it would need from now, and those it may; None to let it in.

        ``own``: seconds of its own batch.
        """
        shed = self._shed
        if shed is None:
            return None
        needed, stands = wait + own, self.stands(now)
        if now + needed > deadline:
            return "deadline", needed, deadline - now
        if not stands:
            return None
        limit = OF_ALLOWED[lane] * (deadline - arrived) - (now - arrived)
        if shed.target:
            limit = min(limit, OF_TARGET[lane] * shed.target + own)
        return ("delay", needed, max(0.0, limit)) if needed > limit else None


def overloaded(reason: str, needed: float, limit: float) -> Overloaded:
    """What the caller is told. The time to come back is that after which the calls before it have made way."""
    if reason == "deadline":
        told = (
            f"the calls before this one and itself need {needed * 1000:.0f} ms, and it may take {limit * 1000:.0f} ms; "
            "try again later, or allow more with x-request-timeout-ms"
        )
    else:
        told = (
            f"more calls come than can be answered: this one would need {needed * 1000:.0f} ms, and now "
            f"{limit * 1000:.0f} ms are the limit for calls of its lane and deadline; try again later"
        )
    return Overloaded(told, retry_after=max(1.0, needed - limit))
