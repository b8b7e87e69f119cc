"""The home page out of the stores: windows of the last hour, splits, rollouts, monitors, the newest line of each."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.console.facts.home import Change, HomeFacts, Model, Operations, Part, Row
from fairlead.console.facts.trouble import Trouble
from fairlead.contracts.errors import FairleadError, StateError
from fairlead.contracts.events import Window
from fairlead.contracts.plans import Happening, TrafficSplit
from fairlead.contracts.state import StateStore
from fairlead.kit.codec.records import from_body
from fairlead.monitor import timeline
from fairlead.monitor.mapping import SHADOW
from fairlead.wiring import burning, standing
from fairlead.wiring.console.folding import Slots, Strip
from fairlead.wiring.console.kept import Kept

SHOWN_MS: Final = 3_600_000
PARTS: Final = 61
LATELY_MS: Final = 300_000
MOST: Final = 500
"""Endpoints of one page."""
_LINES: Final = 2_000
_AGAIN: Final = 50
_WATCHED: Final = {"ErrorRate": "ops", "Drift": "drift", "PerformanceDecay": "performance"}
_NOBODY: Final = "no controller has looked at it yet"


class Newest:
    """The newest line of each endpoint's journal: a look reads what came since the one before. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, Happening] = {}
        self._number = 0

    def read(self, store: StateStore) -> dict[str, Happening]:
        """Of those among the newest 2,000 lines, and all since. Raises what the store raises."""
        with self._lock:
            # Numbers are given before lines are there to see: some that were read are read again.
            found = store.entries(timeline.KIND, after=max(0, self._number - _AGAIN), limit=_LINES)
            for one in found:
                self._lines[one.subject] = from_body(Happening, one.body)
            self._number = found[-1].number if found else self._number
            return dict(self._lines)


@dataclass(frozen=True, slots=True)
class HomePage:
    """``Homes`` over the stores."""

    kept: Kept
    newest: Newest = field(default_factory=Newest)

    def home(self, now_ms: int) -> HomeFacts:
        store = self.kept.state
        stored = standing.told(store, 0)
        watched = {one.key: one.body for one in store.all("monitor")}
        burns = {one.key: one for one in store.all(burning.FOUND)}
        newest = self.newest.read(store)
        names = list(dict.fromkeys([*self.kept.names, *sorted({*store.endpoints(), *stored.splits})]))
        rows = []
        for name in names[:MOST]:
            rolling = stored.rollouts.get(name)
            memory = watched.get(name)
            try:
                burnt = burning.firing(burns[name]) if name in burns else None
                seen = operations(recent(store, name, now_ms), memory, now_ms, burnt)
                known = model(memory)
            except FairleadError as error:
                rows.append(_broken(name, error))
                continue
            rows.append(
                Row(
                    name,
                    seen,
                    known,
                    parts(stored.splits.get(name)),
                    rolling.phase if rolling else "",
                    _change(newest.get(name)),
                )
            )
        return HomeFacts(now_ms - SHOWN_MS, now_ms, tuple(rows), stored.controller, max(0, len(names) - MOST))


def recent(store: StateStore, name: str, now_ms: int) -> list[Window]:
    return store.windows(name, since_ms=now_ms - SHOWN_MS, until_ms=now_ms + 60_000, columns=False)


def operations(
    windows: Sequence[Window], memory: Mapping[str, Any] | None, now_ms: int, burnt: Sequence[str] | None = None
) -> Operations:
    """What callers saw in the last hour, and whether the share of errors or the burn of an error budget alarms."""
    seen = [one for one in windows if one.arm != SHADOW]
    strip = Strip(Slots(now_ms - SHOWN_MS, now_ms, PARTS), seen)
    total = strip.total
    lately = [one for one in seen if one.start_ms >= now_ms - LATELY_MS]
    state, why = _judged(memory, burnt)
    return Operations(
        state,
        why,
        total.calls,
        sum(one.calls for one in lately) / max(1.0, (now_ms - lately[0].start_ms) / 1000) if lately else None,
        total.errors,
        total.quantile(0.5),
        total.quantile(0.99),
        strip.rates(),
        strip.quantiles(0.99),
    )


def _judged(memory: Mapping[str, Any] | None, burnt: Sequence[str] | None) -> tuple[str, str]:
    """``burnt``: kinds of objectives whose error budgets burn too fast; None: nothing is promised."""
    if burnt:
        return "alarm", f"the error budget of {' and '.join(burnt)} burns too fast"
    if memory is None and burnt is None:
        return "none", _NOBODY
    if _firing(memory, "ErrorRate"):
        return "alarm", "more calls fail than the rule ErrorRate allows"
    watched = [*(["errors"] if memory is not None else []), *(["error budgets"] if burnt is not None else [])]
    return "ok", f"{' and '.join(watched)} are watched"


def model(memory: Mapping[str, Any] | None) -> Model:
    """What the monitors remember of the model."""
    if memory is None:
        return Model("none", "none", _NOBODY)
    drift, decay = _firing(memory, "Drift"), _firing(memory, "PerformanceDecay")
    known = bool(memory.get("detector"))
    judged = memory.get("baseline") is not None
    told = []
    told.append("drift alarms" if drift else "no drift" if known else "no reference is kept, so drift is not known")
    told.append(
        "performance alarms" if decay else "performance holds" if judged else "too few labels to know its performance"
    )
    return Model(
        "alarm" if drift else "ok" if known else "none",
        "alarm" if decay else "ok" if judged else "none",
        "; ".join(told),
        min(one for one in (drift, decay) if one) if drift or decay else None,
    )


def parts(split: TrafficSplit | None) -> tuple[Part, ...]:
    if split is None:
        return ()
    return tuple(Part(one.version, one.arm, one.weight / 100, one.shadow / 100) for one in split.shares)


def _firing(memory: Mapping[str, Any] | None, rule: str) -> int:
    """Since when (Unix ms) a rule fires; 0 when it does not. Raises StateError."""
    try:
        known = (memory or {}).get("standings", {}).get(rule) or {}
        return int(known.get("since_ms", 0))
    except (AttributeError, TypeError, ValueError) as error:
        raise StateError(f"what the monitors remember cannot be read: {error}; it may be of another release") from error


def _change(line: Happening | None) -> Change | None:
    return None if line is None else Change(line.what, line.text, line.at_ms)


def _broken(name: str, error: FairleadError) -> Row:
    nothing = Operations("none", "", 0, None, None, None, None)
    return Row(name, nothing, Model("none", "none", ""), trouble=Trouble(error.code, str(error)))
