"""How many replicas a load needs: Little's law, and what callers wait when they come at random.

Little's law (J. D. C. Little, A proof for the queuing formula L = lambda W, Operations Research 9, 1961): calls in
flight are the calls a second times the seconds of one. One replica holds ``concurrency`` of them inside its deadline,
which is measured. The wait is that of M/M/c (A. K. Erlang, 1917): calls come by a Poisson process, times are
exponential, and all places of all replicas serve one queue. A balancer that sends calls to a busy replica while another
is idle does worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fairlead.contracts.errors import UsageError

HEADROOM: Final = 0.3
"""Of the load, beside it: for bursts, and while a replica starts or is replaced."""
PERCENTILE: Final = 0.99
_MOST: Final = 1_000_000
"""Places of all replicas together, for which the wait is worked out."""


@dataclass(frozen=True, slots=True)
class Load:
    """``rate``: calls a second.  ``seconds``: of one call inside a replica that holds ``concurrency`` of them.

    ``headroom``: share of the load that is added to it.
    """

    rate: float
    seconds: float
    concurrency: float
    headroom: float = HEADROOM

    def __post_init__(self) -> None:
        for name, least in (("rate", 0.0), ("seconds", 0.0), ("concurrency", 1.0)):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise UsageError(f"{name} is {value:g}; expected a finite number")
            if not value >= least or (name == "seconds" and value == 0):
                raise UsageError(f"{name} is {value:g}; expected {'at least 1' if least else 'more than 0'}")
        if not 0 <= self.headroom <= 10:
            raise UsageError(f"headroom is {self.headroom:g}; expected 0 to 10, a share of the load, such as 0.3")

    @property
    def in_flight(self) -> float:
        """Calls in flight, on average: L = lambda W."""
        return self.rate * self.seconds

    @property
    def target(self) -> float:
        """Calls in flight for each replica at which another one is due, so that ``headroom`` stays free."""
        return self.concurrency / (1 + self.headroom)


@dataclass(frozen=True, slots=True)
class Wait:
    """``share``: of the calls that wait at all.  ``mean``, ``p99``: seconds, over all calls."""

    share: float
    mean: float
    p99: float


@dataclass(frozen=True, slots=True)
class Planned:
    """``floor``: replicas below which the queue grows without end.  ``utilization``: share of all places that is taken.

    ``wait``: None for a load that leaves no place free.
    """

    load: Load
    floor: float
    replicas: int
    utilization: float
    wait: Wait | None


def plan(load: Load, most_wait: float | None = None, least: int = 1) -> Planned:
    """The replicas for a load. ``most_wait``: seconds that 99 % of the calls wait at most, else more replicas.

    Raises UsageError for a load beyond what one queue is worked out for.
    """
    if most_wait is not None and not most_wait > 0:
        raise UsageError(f"the longest wait is {most_wait:g} s; expected more than 0")
    if load.in_flight * (1 + load.headroom) > _MOST or load.concurrency > _MOST:
        raise UsageError(f"there would be more than {_MOST:,} calls at once; plan a part of the load")
    few = max(least, _ceil(load.in_flight / load.target))
    if most_wait is None or _short(at(load, few), most_wait):
        return at(load, few)
    many = few + 1
    while not _short(at(load, many), most_wait):
        few, many = many, 2 * many
    while many - few > 1:  # the wait falls with every replica
        middle = (few + many) // 2
        few, many = (few, middle) if _short(at(load, middle), most_wait) else (middle, many)
    return at(load, many)


def at(load: Load, replicas: int) -> Planned:
    """The same load on a number of replicas."""
    places = replicas * load.concurrency
    return Planned(
        load, load.in_flight / load.concurrency, replicas, load.in_flight / places, wait(load, math.floor(places))
    )


def wait(load: Load, places: int) -> Wait | None:
    """M/M/c with ``places`` servers. None when there is no end of waiting."""
    if load.in_flight >= places:
        return None
    if load.rate == 0:
        return Wait(0.0, 0.0, 0.0)
    blocked = 1.0  # Erlang's B, by its recursion: no factorial, and nothing overflows
    for number in range(1, places + 1):
        blocked = load.in_flight * blocked / (number + load.in_flight * blocked)
    share = blocked / (1 - load.in_flight / places * (1 - blocked))  # Erlang's C
    drained = places / load.seconds - load.rate  # calls a second that end beyond those that come
    return Wait(share, share / drained, max(0.0, math.log(share / (1 - PERCENTILE)) / drained) if share else 0.0)


def _short(found: Planned, most_wait: float) -> bool:
    return found.wait is not None and found.wait.p99 <= most_wait


def _ceil(value: float) -> int:
    """Rounded up; what a float has beyond the last digit that means anything is no replica."""
    return math.ceil(round(value, 9))
