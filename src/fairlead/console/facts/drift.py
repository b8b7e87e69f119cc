"""What the drift page shows: columns against their reference, and how well the model predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fairlead.console.facts.endpoint import Mark


@dataclass(frozen=True, slots=True)
class Test:
    """One test of one column, as ``fairlead monitor drift`` shows it. ``band``: the size that chance stays under."""

    test: str
    size: float | None
    high: float | None
    moderate: float
    large: float
    p: float | None
    n: int
    verdict: str
    band: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Column:
    """One feature or output. ``reference``, ``current``: shares of the bins that ``labels`` names.

    ``band``: PSI that chance alone stays under.  ``trend``: PSI in the parts of ``DriftFacts.spans``, None where a part
    has too few rows.
    """

    name: str
    kind: str
    verdict: str
    psi: float | None
    band: float | None
    p: float | None
    importance: float | None
    reference: tuple[float, ...]
    current: tuple[float, ...]
    labels: tuple[str, ...]
    trend: tuple[float | None, ...]
    tests: tuple[Test, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert about the model. ``status``: ``firing`` or ``resolved``."""

    name: str
    status: str
    since_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class DriftFacts:
    """``columns``: what matters first, ``left`` more are not shown.  ``rows``: that were compared; None: none could be.

    ``state``, ``why``: what is to be said in one word and one sentence.  ``spans``: of trends, Unix ms.
    """

    name: str
    version: str
    versions: tuple[str, ...]
    reference: str
    since_ms: int
    until_ms: int
    state: str
    why: str
    rows: int | None
    columns: tuple[Column, ...]
    left: int
    alarms: int
    warnings: int
    spans: tuple[tuple[int, int], ...]
    moderate: float
    large: float
    marks: tuple[Mark, ...]
    alerts: tuple[Firing, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric with its 95 % interval. ``why``: what it is None for."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    rows: int
    why: str


@dataclass(frozen=True, slots=True)
class Period:
    """One window of predictions: what was known of it when it ended, and what is known now."""

    start_ms: int
    end_ms: int
    predictions: int
    labelled_then: int
    labelled_now: int
    corrected: int
    then: tuple[Measure, ...]
    now: tuple[Measure, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """How labels come in. ``half_ms``, ``most_ms``: age at which half, 90 % are there.  ``mature_ms``: predictions made
    before have 95 % of theirs.
    """

    rows: int
    labelled: int
    corrected: int
    waiting: int
    half_ms: int | None
    most_ms: int | None
    mature_ms: int | None


@dataclass(frozen=True, slots=True)
class Expected:
    """What calibrated scores expect of themselves (CBPE), and what labels said. ``agrees``: None without labels."""

    metric: str
    expected: Measure
    realised: Measure | None
    agrees: bool | None
    trusted: bool
    why: str


@dataclass(frozen=True, slots=True)
class Decay:
    """A fall of performance: most likely since ``since_ms``, found at ``at_ms``."""

    name: str
    since_ms: int
    at_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class PerformanceFacts:
    """``metric``: the one that is watched; ``baseline``: its value on the reference."""

    name: str
    version: str
    since_ms: int
    until_ms: int
    metric: str
    baseline: float | None
    periods: tuple[Period, ...]
    labels: Labels | None
    estimates: tuple[Expected, ...]
    decays: tuple[Decay, ...]
    marks: tuple[Mark, ...]
    notes: tuple[str, ...]


class Drifts(Protocol):
    """Gives both pages. ``version``: empty for the one that serves. Raises NotFound."""

    def drift(self, name: str, version: str, since_ms: int, until_ms: int) -> DriftFacts: ...

    def performance(self, name: str, version: str, since_ms: int, until_ms: int) -> PerformanceFacts: ...
