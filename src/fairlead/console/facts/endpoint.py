"""What the page of an endpoint shows: how it answers over time, its versions and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fairlead.console.facts.home import Model
from fairlead.console.facts.trouble import Trouble


@dataclass(frozen=True, slots=True)
class Series:
    """Equal parts of the time shown: when each begins (Unix ms), and what it holds; None where nothing came."""

    at_ms: tuple[int, ...]
    rate: tuple[float | None, ...]
    errors: tuple[float | None, ...]
    p50: tuple[float | None, ...]
    p95: tuple[float | None, ...]
    p99: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened then. ``kind``: ``deploy``, ``alert`` or ``other``."""

    at_ms: int
    label: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version comes from, as the registry and the verdicts say; empty: they do not."""

    run: str = ""
    source: str = ""
    data: str = ""
    code: str = ""
    created_ms: int | None = None
    aliases: tuple[str, ...] = ()
    verdict: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True)
class VersionLine:
    """What a version answered in an arm in the time shown. ``weight``, ``shadow``: shares now, None where it is
    not in the split.
    """

    version: str
    arm: str
    calls: int
    errors: float | None
    p50: float | None
    p99: float | None
    weight: float | None
    shadow: float | None
    lineage: Lineage


@dataclass(frozen=True, slots=True)
class Placed:
    """What one worker of a server has loaded. ``error``: why it did not apply the split."""

    worker: str
    versions: tuple[str, ...]
    error: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Burn:
    """``rate``: times as fast as the error budget allows, over ``window`` and lately. From ``threshold`` on it is told.

    ``since_ms``: since when it is told; None: it is not.
    """

    window: str
    rate: float
    threshold: float
    since_ms: int | None


@dataclass(frozen=True, slots=True)
class Objective:
    """An objective, in words. ``left``: of its error budget over ``days``, 1 for all; None: not read so far back.

    ``bad`` of ``calls`` were against it, as far back as was read.
    """

    text: str
    days: float
    left: float | None
    burns: tuple[Burn, ...]
    bad: int
    calls: int


@dataclass(frozen=True, slots=True)
class Inside:
    """What a running server measured since it started, over all versions: seconds, rows, calls, at shares 0.5 and 0.99.

    They are from histograms: each is the upper end of the bin that holds it.  ``url``: which server.
    """

    url: str
    queue: tuple[float | None, float | None]
    compute: tuple[float | None, float | None]
    batch_rows: tuple[float | None, float | None]
    batch_calls: tuple[float | None, float | None]
    waiting: float | None


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """``codes``: calls by error code.  ``inside``: None with ``inside_why`` where no server said it.

    ``objectives_ms``: when error budgets were looked at last; None: nothing is promised, or nobody looked.
    """

    name: str
    model_name: str
    since_ms: int
    until_ms: int
    calls: int
    rows: int
    degraded: int
    rate: float | None
    errors: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    codes: tuple[tuple[str, int], ...]
    series: Series
    marks: tuple[Mark, ...]
    versions: tuple[VersionLine, ...]
    placed: tuple[Placed, ...]
    model: Model
    objectives: tuple[Objective, ...]
    objectives_ms: int | None
    inside: Inside | None
    inside_why: str
    url: str
    lineage_trouble: Trouble | None = None
    objectives_trouble: Trouble | None = None


class Endpoints(Protocol):
    """Gives the page of an endpoint. Raises NotFound for one that nobody knows."""

    def endpoint(self, name: str, since_ms: int, until_ms: int, now_ms: int) -> EndpointFacts: ...
