"""Which address the next request goes to, and which are left alone for a while. Pure: time and chance are passed in.

Two addresses are drawn and the one that promises to answer sooner is taken: requests that it has now, times what it
took lately. An address that fails several times in a row is ejected, each time for longer; afterwards somebody asks
whether it is well (``due``), and it is given one request at a time until one succeeds. When all are out, the one that
is back soonest is tried all the same: there is nobody better.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

LONGEST: Final = 10
"""Ejections grow to so many times the first one."""

_LEARNS: Final = 0.25
"""Weight of the newest answer."""
_HALF_LIFE: Final = 10.0
"""Seconds after which half of what an address took is forgotten, so that a slow one is tried again."""
_LEAST: Final = 1e-6
_PATIENCE: Final = 4.0
_SHORT: Final = 0.05
"""A request that ran out of time says something of the address when it had so many seconds, and so many times what
the answers of the address usually take."""


class State(Enum):
    """``TRIAL``: one request at a time.  ``ALIEN``: it answers, for another model."""

    IN = "in"
    TRIAL = "trial"
    OUT = "out"
    ALIEN = "alien"


@dataclass(slots=True)
class Seat:
    """What is known of one address. ``latency``: seconds that its last requests took, also those that were given up.

    ``usual``: of its answers alone.  ``failures``: in a row.  ``until``: when its ejection ends.
    ``ejections``: since it was last well for as long as it had been out.
    """

    state: State = State.IN
    in_flight: int = 0
    latency: float = 0.0
    seen: float = 0.0
    usual: float = 0.0
    failures: int = 0
    ejections: int = 0
    until: float = 0.0
    back: float = 0.0


class Balance:
    """``limit``: requests at once to one address.  ``failures``: in a row, until an address is out for ``seconds``."""

    def __init__(self, count: int, limit: int, failures: int, seconds: float, chance: random.Random) -> None:
        self.seats = [Seat() for _ in range(count)]
        self._limit, self._failures, self._seconds = limit, failures, seconds
        self._chance = chance

    def possible(self, avoid: Collection[int] = ()) -> bool:
        """Whether there is anybody to ask but for ``avoid``."""
        return any(seat.state is not State.ALIEN and at not in avoid for at, seat in enumerate(self.seats))

    def choose(self, now: float, avoid: Collection[int] = ()) -> int | None:
        """Takes a place at one of them; None: all of them are busy, and a place is free after the next ``done``."""
        able = [at for at, seat in enumerate(self.seats) if at not in avoid and seat.state in (State.IN, State.TRIAL)]
        if able:
            free = [at for at in able if self.seats[at].in_flight < self._room(self.seats[at])]
            if len(free) > 2:
                free = self._chance.sample(free, 2)
            chosen = min(free, key=lambda at: self._promise(at, now), default=None)
        else:
            out = [at for at, seat in enumerate(self.seats) if at not in avoid and seat.state is State.OUT]
            free = [at for at in out if self.seats[at].in_flight < self._limit]
            chosen = min(free, key=lambda at: (self.seats[at].until, at), default=None)
        if chosen is not None:
            self.seats[chosen].in_flight += 1
        return chosen

    def answered(self, at: int, now: float, seconds: float | None) -> bool:
        """It answered, after so long. None for errors of a call or a model: they say nothing of how fast it is.

        Gives whether it is back: there is room for as many as before.
        """
        seat = self.seats[at]
        seat.in_flight -= 1
        if seconds is not None:
            known = self._latency(seat, now)
            seat.latency = seconds if not known else known + _LEARNS * (seconds - known)
            seat.usual = seconds if not seat.usual else seat.usual + _LEARNS * (seconds - seat.usual)
            seat.seen = now
        seat.failures = 0
        if seat.state in (State.TRIAL, State.OUT):
            seat.state, seat.back = State.IN, now
            return True
        if seat.ejections and now - seat.back >= self._length(seat):
            seat.ejections = 0
        return False

    def failed(self, at: int, now: float) -> float:
        """It did not answer, or not as the protocol says: seconds for which it is out from now on, 0 for none."""
        seat = self.seats[at]
        seat.in_flight -= 1
        seat.failures += 1
        if seat.state is State.TRIAL or (seat.state is State.IN and seat.failures >= self._failures):
            return self.eject(at, now)
        return 0.0

    def timed_out(self, at: int, now: float, seconds: float) -> float:
        """It had so many seconds, and they were not enough. The same as ``failed`` when others get by with less."""
        seat = self.seats[at]
        seat.latency, seat.seen = max(self._latency(seat, now), seconds), now
        if seconds >= max(_SHORT, _PATIENCE * seat.usual):
            return self.failed(at, now)
        seat.in_flight -= 1
        return 0.0

    def dropped(self, at: int) -> None:
        """The request was given up, or refused for want of room: that says nothing of the address."""
        self.seats[at].in_flight -= 1

    def eject(self, at: int, now: float) -> float:
        """Out it goes; for how long."""
        seat = self.seats[at]
        seat.state = State.OUT
        seat.ejections += 1
        length = self._length(seat)
        seat.until = now + length
        return length

    def well(self, at: int) -> None:
        """It was asked how it is, and is well: it gets one request at a time, until one succeeds."""
        seat = self.seats[at]
        if seat.state in (State.OUT, State.ALIEN):
            seat.state, seat.latency, seat.failures = State.TRIAL, 0.0, 0

    def alien(self, at: int, now: float) -> float:
        """It answers for another model: nobody is sent there. Seconds until it should be asked again."""
        length = self.eject(at, now)
        self.seats[at].state = State.ALIEN
        return length

    def soonest(self, now: float) -> float:
        """Seconds until the first of those that are out is asked again."""
        ends = [seat.until - now for seat in self.seats if seat.state in (State.OUT, State.ALIEN)]
        return max(0.0, min(ends, default=0.0))

    def _room(self, seat: Seat) -> int:
        return 1 if seat.state is State.TRIAL else self._limit

    def _length(self, seat: Seat) -> float:
        return self._seconds * min(math.ldexp(1.0, min(seat.ejections, 32) - 1), LONGEST)

    def _promise(self, at: int, now: float) -> tuple[float, float]:
        seat = self.seats[at]
        return (seat.in_flight + 1) * max(_LEAST, self._latency(seat, now)), self._chance.random()

    @staticmethod
    def _latency(seat: Seat, now: float) -> float:
        if not seat.latency:
            return 0.0
        return seat.latency * math.pow(0.5, max(0.0, (now - seat.seen) / _HALF_LIFE))
