"""What the pages of rollouts show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fairlead.console.facts.trouble import Trouble
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
class Evidence:
    """What the looks at one rollout said, as ``fairlead rollout status --json`` has it.  ``looks``: oldest first,
    thinned; each with ``gates`` by name.  ``turns``: the changes of phase and step.  ``trouble``: why there are none.
    """

    id: str
    started_ms: int
    looks: tuple[Mapping[str, Any], ...]
    turns: tuple[Mapping[str, Any], ...]
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class RolloutsFacts:
    """``running``: of the endpoint, None without one, and on the page of all.  ``shown``: the rollout whose
    ``evidence`` the page has: the one that was asked for, that runs, or was the last.  ``rows``: newest first;
    ``more`` are left out.
    """

    name: str
    running: Row | None
    shown: Row | None
    evidence: Evidence | None
    rows: tuple[Row, ...]
    more: int


class Rollouts(Protocol):
    def rollouts(self, endpoint: str, rollout: str = "") -> RolloutsFacts:
        """Empty ``endpoint``: of every one.  ``rollout``: the one to show. Raises NotFound, StateError."""

    def wished(self, what: str, endpoint: str, rollout: str, who: str) -> Row:
        """Ask it of the rollout with this id. Raises Conflict (another runs), Busy (something is asked already)."""
