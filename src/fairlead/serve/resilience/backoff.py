"""How long to wait before a call is tried again. Pure: the draw and what is left of the time are passed in.

The n-th pause (from 0) is ``min(cap, base * 2**n)`` and up to ``jitter`` more, evenly drawn, so that those who failed
together do not come back together. What a server said in ``Retry-After`` is a lower bound of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_DOUBLINGS = 1000
"""More would overflow, and the cap was met long before."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """All in seconds."""

    base: float = 0.05
    cap: float = 1.0
    jitter: float = 0.05

    def delay(self, retry: int, draw: float) -> float:
        """Before the ``retry``-th retry, from 0. ``draw``: evenly from 0 to 1."""
        return min(self.cap, math.ldexp(self.base, min(retry, _DOUBLINGS))) + draw * self.jitter

    def pause(self, retry: int, draw: float, left: float, after: float | None = None) -> float | None:
        """The same, at least ``after`` (``Retry-After``); None when ``left`` seconds would be over by then."""
        wait = max(self.delay(retry, draw), after or 0.0)
        return wait if wait < left else None
