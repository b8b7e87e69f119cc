"""How a cascade climbs, as the spec and what was fitted say."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.serve.llm.cascade.confidence import MEAN
from fairlead.serve.llm.cascade.router import Router


@dataclass(frozen=True, slots=True)
class Step:
    """An endpoint before the last.

    ``threshold``: least confidence of an answer that is kept; infinity: it is not asked.
    ``router``: where the question alone decides.
    """

    name: str
    threshold: float
    signal: str = MEAN
    router: Router | None = None


@dataclass(frozen=True, slots=True)
class Climbing:
    """``steps``: from cheap to dear; ``last``: the endpoint that answers what they do not.

    ``share``: of the time that is left, which one step may take.
    ``audit``: share of kept answers that the last one is asked for again.  ``allowed``: of these, may disagree.
    """

    steps: tuple[Step, ...]
    last: str
    share: float = 0.5
    audit: float = 0.0
    allowed: float = 0.3
