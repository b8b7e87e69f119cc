"""What the pages of retrainings show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fairlead.contracts.plans import Check, RetrainRequest, Verdict


@dataclass(frozen=True, slots=True)
class Row:
    """A retraining, as ``fairlead runs list --json`` has it. ``state``: status of the request, or ``lost`` where it
    says that it runs and its process is gone.  ``answer``: of its gate, empty without one.  ``took_ms``: up to now
    while it runs; None where that is not known.
    """

    request: RetrainRequest
    state: str
    answer: str
    took_ms: int | None


@dataclass(frozen=True, slots=True)
class RetrainingsFacts:
    """``rows``: newest first; ``more`` are left out.  ``endpoints``: those that were ever retrained."""

    rows: tuple[Row, ...]
    more: int
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """A data test. ``answer``: ``pass``, ``warn``, ``accepted`` or ``fail``.  ``figure``: what was found, in ``unit``;
    ``most`` or ``least``: what it may be; None where the test has none.
    """

    name: str
    answer: str
    why: str
    figure: float | None
    most: float | None
    least: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Compared:
    """Challenger against champion by one measure, on the rows of one slice (empty: on all).

    ``kind``: ``lift`` (``difference`` is by how much the challenger is better, and must lie above ``margin``) or
    ``ratio`` (times as much as the champion, ``margin`` at most).  ``low``, ``high``: interval at ``level``, from 0 to
    1.  ``unit`` of both models' figures: ``number``, ``seconds`` or ``bytes``.
    """

    name: str
    slice: str
    kind: str
    unit: str
    rows: int | None
    champion: float | None
    challenger: float | None
    difference: float | None
    low: float | None
    high: float | None
    level: float | None
    margin: float | None
    answer: str


@dataclass(frozen=True, slots=True)
class RetrainingFacts:
    """One retraining: ``request`` to ``rollout`` as ``fairlead runs show --json`` has them.

    ``tested``, ``compared``, ``conditions``: what both verdicts stood on.  ``again``: the command that runs it, or runs
    it again.  ``log``: the file with what it printed, empty where there is none here.
    """

    request: RetrainRequest
    state: str
    tests: Verdict | None
    gate: Verdict | None
    rollout: str
    answer: str
    took_ms: int | None
    tested: tuple[Tested, ...]
    compared: tuple[Compared, ...]
    conditions: tuple[Check, ...]
    again: str
    log: str


class Retrainings(Protocol):
    """Gives both pages. ``one`` raises NotFound."""

    def retrainings(self, endpoint: str, now_ms: int) -> RetrainingsFacts:
        """Empty ``endpoint``: of every one."""

    def one(self, name: str, now_ms: int) -> RetrainingFacts: ...
