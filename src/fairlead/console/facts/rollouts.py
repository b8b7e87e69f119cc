"""What the pages of rollouts show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fairlead.contracts.plans import Check


@dataclass(frozen=True, slots=True)
class Row:
    """A rollout from version ``before`` to ``after``. ``weight``: percent of the calls that ``after`` gets.
    ``ladder``: its steps, in percent.  ``step``: place in it, -1 before the first.  ``wish``: who asked for what and
    when, while the controller has not done it.  ``may``: what can be asked of it now.
    """

    id: str
    endpoint: str
    model: str
    before: str
    after: str
    strategy: str
    phase: str
    weight: float
    ladder: tuple[float, ...]
    step: int
    answer: str
    checks: tuple[Check, ...]
    verdict: str
    reason: str
    who: str
    started_ms: int
    ended: bool
    wish: str
    may: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RolloutsFacts:
    """``running``: of the endpoint, None without one, and on the page of all.  ``rows``: newest first;
    ``more`` are left out.
    """

    name: str
    running: Row | None
    rows: tuple[Row, ...]
    more: int


class Rollouts(Protocol):
    def rollouts(self, endpoint: str) -> RolloutsFacts:
        """Empty ``endpoint``: of every one. Raises StateError."""

    def wished(self, what: str, endpoint: str, rollout: str, who: str) -> Row:
        """Ask it of the rollout with this id. Raises Conflict (another runs), Busy (something is asked already)."""
