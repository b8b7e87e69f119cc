"""Which address the next request goes to, and which are left alone for a while. Pure: time and chance are passed in.

Two addresses are drawn and the one that promises to answer sooner is taken: requests that it has now, times what it
took lately. An address that fails several times in a row is ejected, each time for longer, and so is one that does
worse than the others (``outliers.py``), but never most of them. Afterwards somebody asks whether it is well, and it is
given one request at a time until one succeeds. While all are out, nobody is asked.
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

FAILURES: Final = "failures"
UNWELL: Final = "unwell"
OTHER_MODEL: Final = "other_model"

_SOONER: Final = 0.1
_SOONEST: Final = 0.5
"""Seconds."""
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
    ``ejections``: since it was last well for as long as it had been out.  ``reason``: of the last one.
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
    reason: str = ""


class Balance:
    """``limit``: requests at once to one address.  ``failures``: in a row, until an address is out for ``seconds``.

    ``most``: share of the addresses that may be out when another does worse than they.
    """

    def __init__(
        self, count: int, limit: int, failures: int, seconds: float, chance: random.Random, most: float = 0.5
    ) -> None:
        self.seats = [Seat() for _ in range(count)]
        self._limit, self._failures, self._seconds = limit, failures, seconds
        self._chance = chance
        self._most = max(1, math.floor(most * count))

    def able(self, avoid: Collection[int] = ()) -> bool:
        """Whether anybody but for ``avoid`` can be asked, now or after the next ``done``."""
        return any(seat.state in (State.IN, State.TRIAL) and at not in avoid for at, seat in enumerate(self.seats))

    def choose(self, now: float, avoid: Collection[int] = ()) -> int | None:
        """Takes a place at one of them; None: those who are ``able`` are busy."""
        free = [at for at, seat in enumerate(self.seats) if at not in avoid and seat.in_flight < self._room(seat)]
        if len(free) > 2:
            free = self._chance.sample(free, 2)
        chosen = min(free, key=lambda at: self._promise(at, now), default=None)
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
        if seat.state is State.TRIAL:
            seat.state, seat.back = State.IN, now
            return True
        if seat.ejections and now - seat.back >= self._length(seat):
            seat.ejections = 0
        return False

    def failed(self, at: int, now: float, after: float | None = None) -> float:
        """It did not answer, or not as the protocol says: seconds for which it is out from now on, 0 for none.

        ``after``: what it said of when to come again, in seconds.
        """
        seat = self.seats[at]
        seat.in_flight -= 1
        seat.failures += 1
        if seat.state is State.TRIAL or (seat.state is State.IN and seat.failures >= self._failures):
            return self.eject(at, now, FAILURES, after or 0.0)
        return 0.0

    def outlier(self, at: int, now: float, reason: str) -> float:
        """It does worse than the others, or fails too often: seconds for which it is out, 0 when many are already."""
        out = sum(seat.state is State.OUT for seat in self.seats)
        if self.seats[at].state is not State.IN or out + 1 > self._most:
            return 0.0
        return self.eject(at, now, reason)

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

    def eject(self, at: int, now: float, reason: str, least: float = 0.0) -> float:
        """Out it goes; for how long, ``least`` or more."""
        seat = self.seats[at]
        seat.state, seat.reason = State.OUT, reason
        seat.ejections += 1
        length = max(least, self._length(seat))
        seat.until = now + length
        return length

    def hasten(self, now: float) -> list[tuple[int, float]]:
        """When nobody is left, those who did not answer are asked sooner how they are: who, and in how many seconds.

        A share of the first ejection: who is back is not missed for long, and one who is not is not troubled.
        """
        if self.able():
            return []
        found = []
        for at, seat in enumerate(self.seats):
            if seat.state is State.OUT and seat.reason in (FAILURES, UNWELL):
                until = min(seat.until, now + max(_SOONEST, _SOONER * self._seconds))
                if until < seat.until:
                    seat.until = until
                    found.append((at, until - now))
        return found

    def well(self, at: int) -> None:
        """It was asked how it is, and is well: it gets one request at a time, until one succeeds."""
        seat = self.seats[at]
        if seat.state in (State.OUT, State.ALIEN):
            seat.state, seat.latency, seat.failures = State.TRIAL, 0.0, 0

    def alien(self, at: int, now: float) -> float:
        """It answers for another model: nobody is sent there. Seconds until it should be asked again."""
        length = self.eject(at, now, OTHER_MODEL)
        self.seats[at].state = State.ALIEN
        return length

    def soonest(self, now: float) -> float:
        """Seconds until the first of those that are out is asked again."""
        ends = [seat.until - now for seat in self.seats if seat.state in (State.OUT, State.ALIEN)]
        return max(0.0, min(ends, default=0.0))

    def _room(self, seat: Seat) -> int:
        if seat.state is State.IN:
            return self._limit
        return 1 if seat.state is State.TRIAL else 0

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
