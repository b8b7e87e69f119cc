"""Does a caller copy the model? Each caller is held against the others; state in, judgements out.

Three signals of a caller's rows: ``drift`` (mean PSI of the inputs against the endpoint's reference), ``near`` (share
of rows near an earlier one of the same caller: walks and small steps) and ``boundary`` (share of rows whose two best
scores are close). Each is put on a scale on which its noise is about normal, and held against the band of the other
callers' means (Student's t over callers: what differs between honest callers is in it). Where there are fewer than
``LEAST_CALLERS`` others, a caller is held against its own first readings. An alarm needs a difference that is large
too, not only unlikely. The level holds for a whole look: it is shared among all callers and signals (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from scipy import special

from fairlead.monitor.binning import Reference
from fairlead.monitor.callers import Asked
from fairlead.monitor.distances import psi

LEAST_ROWS: Final = 200
"""Rows of one reading."""
LEAST_CALLERS: Final = 5
"""Others that a band is made of."""
OWN: Final = 8
"""First readings of a caller that its later ones are held against, where there are too few others."""
READINGS: Final = 20
"""Readings of a caller that are kept."""
LEVEL: Final = 0.001
"""Chance that a look at honest callers finds anything."""
FLOORS: Final[Mapping[str, float]] = {"drift": 0.1, "near": 0.2, "boundary": 0.15}
"""By how much a signal is over what is usual, at least."""
SIGNALS: Final = tuple(FLOORS)
MOST_CALLERS: Final = 1000


@dataclass(frozen=True, slots=True)
class Reading:
    """One caller over some rows. A signal that could not be measured is None."""

    rows: int
    drift: float | None = None
    near: float | None = None
    boundary: float | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """What is remembered of a caller. ``waiting``: rows that make no reading yet.  ``first``: its first readings.

    ``lately``: its last ones.  ``seen_ms``: when the last came.
    """

    waiting: Asked = Asked()
    first: tuple[Reading, ...] = ()
    lately: tuple[Reading, ...] = ()
    seen_ms: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """``value`` against ``usual`` and ``band``, the most that is expected; ``against``: what these are of."""

    caller: str
    signal: str
    value: float
    usual: float
    band: float
    rows: int
    against: str
    alarm: bool

    @property
    def text(self) -> str:
        what = {"drift": "mean PSI of its rows", "near": "share of rows near its earlier ones"}
        name = what.get(self.signal, "share of rows at the decision boundary")
        return (
            f"caller {self.caller}: {name} is {self.value:.2f}; usual is {self.usual:.2f}, at most {self.band:.2f} "
            f"(by {self.against}, {self.rows:,} rows)"
        )


@dataclass(frozen=True, slots=True)
class Known:
    """Callers by name: JSON-able."""

    callers: dict[str, Caller] = field(default_factory=dict)


def reading(asked: Asked, reference: Reference | None) -> Reading:
    """The signals of these rows."""
    drift = None
    if reference is not None and asked.reference == reference.id and asked.counts:
        excess = []
        for name, counts in asked.counts.items():
            column = reference.columns.get(name)
            if column is None or column.constant:
                continue
            expected, actual = column.psi_counts().astype(float), np.asarray(counts, float)
            used = int(((expected + actual) > 0).sum())
            usual = (used - 1) * (1 / max(1.0, actual.sum()) + 1 / max(1.0, expected.sum()))
            excess.append(float(psi(expected, actual)) - usual)
        drift = max(0.0, float(np.mean(excess))) if excess else None
    return Reading(
        asked.rows,
        drift,
        asked.near / asked.rows if asked.rows else None,
        asked.close / asked.scored if asked.scored else None,
    )


def judge(
    known: Known, asked: Mapping[str, Asked], reference: Reference | None, now_ms: int, level: float = LEVEL
) -> tuple[Known, list[Judged]]:
    """What came since the last look, by caller: what is remembered from now on, and a judgement of each new reading."""
    callers = dict(known.callers)
    new: dict[str, Reading] = {}
    for name, more in asked.items():
        before = callers.get(name, Caller())
        waiting = before.waiting + more
        if waiting.rows < LEAST_ROWS:
            callers[name] = replace(before, waiting=waiting, seen_ms=now_ms)
            continue
        new[name] = reading(waiting, reference)
        callers[name] = replace(before, waiting=Asked(), seen_ms=now_ms)
    tries = max(1, len(SIGNALS) * len(new))
    judged = []
    for name, one in new.items():
        found = [
            told
            for signal in SIGNALS
            if (told := _judged(name, signal, one, callers, level / tries)) is not None
        ]  # fmt: skip
        judged += found
        callers[name] = _remembered(callers[name], one, alarmed=any(told.alarm for told in found))
    if len(callers) > MOST_CALLERS:
        newest = sorted(callers, key=lambda name: -callers[name].seen_ms)[:MOST_CALLERS]
        callers = {name: callers[name] for name in newest}
    return Known(callers), judged


def _remembered(caller: Caller, one: Reading, *, alarmed: bool) -> Caller:
    """What alarms is not what others are held against."""
    if alarmed:
        return caller
    first = caller.first if len(caller.first) >= OWN else (*caller.first, one)
    return replace(caller, first=first, lately=(*caller.lately, one)[-READINGS:])


def _judged(name: str, signal: str, one: Reading, callers: Mapping[str, Caller], level: float) -> Judged | None:
    value = getattr(one, signal)
    if value is None:
        return None
    means = _means(signal, (caller for other, caller in callers.items() if other != name))
    if len(means) >= LEAST_CALLERS:
        usual, band = _band(signal, means, one.rows, level)
        against = f"{len(means)} other callers"
    else:
        own = [found for found in (getattr(past, signal) for past in callers[name].first) if found is not None]
        if len(own) < OWN:
            return None
        usual, band = _band(signal, [_scaled(signal, past) for past in own], one.rows, level)
        against = f"its first {len(own)} readings"
    alarm = value > band and value > usual + FLOORS[signal]
    return Judged(name, signal, float(value), usual, max(band, usual + FLOORS[signal]), one.rows, against, alarm)


def _means(signal: str, callers: Iterable[Caller]) -> list[float]:
    """One number a caller, on the signal's scale."""
    found = []
    for caller in callers:
        values = [value for value in (getattr(one, signal) for one in caller.lately) if value is not None]
        if values:
            found.append(float(np.mean([_scaled(signal, value) for value in values])))
    return found


def _band(signal: str, means: Sequence[float], rows: int, level: float) -> tuple[float, float]:
    """What is usual, and what one more is at most, with probability 1 - level."""
    count = len(means)
    middle, spread = float(np.mean(means)), float(np.var(means, ddof=1))
    own = 0.25 / rows  # variance of arcsin(sqrt(share)), and the order of that of sqrt(PSI)
    width = float(special.stdtrit(count - 1, 1 - level)) * math.sqrt(spread * (1 + 1 / count) + own)
    return _unscaled(signal, middle), _unscaled(signal, middle + width)


def _scaled(signal: str, value: float) -> float:
    return math.sqrt(value) if signal == "drift" else math.asin(math.sqrt(min(1.0, value)))


def _unscaled(signal: str, scaled: float) -> float:
    if signal == "drift":
        return max(0.0, scaled) ** 2
    return math.sin(min(max(scaled, 0.0), math.pi / 2)) ** 2


def evidence(one: Judged) -> dict[str, Any]:
    """For an alert and a report."""
    return {
        "caller": one.caller,
        "signal": one.signal,
        "value": one.value,
        "usual": one.usual,
        "band": one.band,
        "rows": one.rows,
        "against": one.against,
    }
