"""What the home page shows: each endpoint as one row, with its operations and its model apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fairlead.console.facts.trouble import Trouble


@dataclass(frozen=True, slots=True)
class Operations:
    """How an endpoint answers. ``state``: ``ok``, ``alarm`` or ``none`` (nobody watches it), with ``why``.

    ``rate``: calls a second lately.  ``calls``: in the time shown.  ``errors``: the share of calls that failed.
    ``p50``, ``p99``: seconds.  ``rates`` and ``p99s``: over the time shown, in equal parts; None where nothing came.
    """

    state: str
    why: str
    calls: int
    rate: float | None
    errors: float | None
    p50: float | None
    p99: float | None
    rates: tuple[float | None, ...] = ()
    p99s: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """How well its model does: ``drift`` and ``performance`` are ``ok``, ``alarm`` or ``none``, with ``why``.

    ``since_ms``: since when what alarms does.
    """

    drift: str
    performance: str
    why: str
    since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A version's part of the traffic. ``weight``, ``shadow``: shares from 0 to 1."""

    version: str
    arm: str
    weight: float
    shadow: float


@dataclass(frozen=True, slots=True)
class Change:
    """The newest line of the timeline."""

    what: str
    text: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Row:
    """``rollout``: the phase of the one that runs, empty for none.  ``trouble``: why the row is not whole."""

    name: str
    operations: Operations
    model: Model
    split: tuple[Part, ...] = ()
    rollout: str = ""
    last: Change | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class HomeFacts:
    """``controller``: who moves rollouts, empty for nobody.  ``left``: endpoints that are not shown."""

    since_ms: int
    until_ms: int
    rows: tuple[Row, ...]
    controller: str = ""
    left: int = 0


class Homes(Protocol):
    """Gives the home page. Raises Unavailable and its like where the state store does not answer."""

    def home(self, now_ms: int) -> HomeFacts: ...
