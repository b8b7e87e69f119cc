"""The generic cell rate algorithm in exact whole numbers (ITU-T I.371, annex A: virtual scheduling).

A limit remembers one number, the theoretical arrival time: when it would be empty if nothing more came. A call of cost
``n`` puts it off by ``n`` steps from now, or from itself where that is later, and fits while the result is not further
ahead than a whole burst. Time is counted so finely that a step is a whole number of it: no sum is ever rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from fairlead.contracts.limits import Rate

SECOND: Final = 10**9
"""Nanoseconds."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A rate in whole numbers. ``scale``: parts of a tick.  ``step``: parts that one unit takes.

    ``most``: parts that a burst takes.
    """

    scale: int
    step: int
    most: int

    @property
    def burst(self) -> int:
        """Whole units that may come at once."""
        return self.most // self.step


def burst_of(rate: Rate) -> Fraction:
    """Units that may come at once: what is said, else what one second has, and one at least."""
    if rate.burst:
        return _written(rate.burst)
    return max(Fraction(1), _written(rate.amount) / _written(rate.seconds))


def _written(number: float) -> Fraction:
    """As people wrote it: 0.1 is a tenth, which no float is."""
    return Fraction(repr(number))


def terms(rate: Rate, ticks: int = SECOND) -> Terms:
    """``ticks``: of a second, by the clock that will be asked."""
    tick = _written(rate.seconds) * ticks / _written(rate.amount)
    most = burst_of(rate) * tick
    scale = math.lcm(tick.denominator, most.denominator)
    return Terms(scale, int(tick * scale), int(most * scale))


def after(one: Terms, tat: int, now: int, cost: int) -> int:
    """The theoretical arrival time once the call is charged. ``now``: ticks."""
    at = now * one.scale
    return (max(at, tat)) + cost * one.step


def wait(one: Terms, tat: int, now: int, cost: int) -> int:
    """Ticks until the call fits, rounded up; 0: it does now. One that is larger than a burst never does: -1."""
    over = after(one, tat, now, cost) - now * one.scale - one.most
    if over <= 0:
        return 0
    return -1 if cost * one.step > one.most else -(-over // one.scale)
