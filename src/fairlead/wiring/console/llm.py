"""Language models out of the traces of this home and its ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from fairlead.console.facts.llm import Budget, Guarded, LlmFacts, Span, Speaker, Spent, TraceFacts
from fairlead.console.facts.trouble import Trouble
from fairlead.contracts.answered import Traced
from fairlead.contracts.errors import FairleadError, NotFound
from fairlead.kit.clock import SystemClock
from fairlead.wiring import ledgering, statements
from fairlead.wiring.console.balances import balances
from fairlead.wiring.console.kept import Kept
from fairlead.wiring.llm import traced

SHOWN: Final = 50
"""Spans of one page."""
ROWS: Final = 200
_LONGEST: Final = 300
_AT: Final = (0.5, 0.95, 0.99)
_SIDES: Final = ("input", "output")


@dataclass(frozen=True, slots=True)
class LlmPage:
    """``Llms`` over the home. ``month``: what was added up."""

    kept: Kept
    month: statements.Month = field(default_factory=statements.Month)

    def llm(self, endpoint: str, since_ms: int, until_ms: int) -> LlmFacts:
        home = self.kept.home
        spans, cut = traced.newest(home, since_ms, until_ms)
        spans = [one for one in spans if endpoint in ("", one.endpoint)]
        month, spent, budgets, trouble = self._ledger()
        by_name: dict[str, list[Traced]] = {}
        for one in spans:
            by_name.setdefault(one.endpoint, []).append(one)
        return LlmFacts(
            since_ms,
            until_ms,
            traced.folder(home).is_dir(),
            cut,
            tuple(_speaker(name, some) for name, some in sorted(by_name.items())),
            _guarded(spans),
            tuple(map(_span, spans[:SHOWN])),
            max(0, len(spans) - SHOWN),
            month,
            tuple(one for one in spent if endpoint in ("", one.endpoint)),
            budgets,
            trouble,
        )

    def trace(self, request_id: str) -> TraceFacts:
        spans = traced.of_request(self.kept.home, request_id)
        if not spans:
            raise NotFound(f"no trace of request {request_id[:80]!r} is kept here; traces: {{file: true}} keeps them")
        begins, ends = min(one.start_ms for one in spans), max(one.end_ms for one in spans)
        told = tuple(_told(one.facts) for one in spans[:SHOWN])
        return TraceFacts(request_id, begins, ends, tuple(map(_span, spans[:SHOWN])), told)

    def _ledger(self) -> tuple[str, tuple[Spent, ...], tuple[Budget, ...], Trouble | None]:
        now = SystemClock.wall_ms()
        try:
            with ledgering.opened(self.kept.home) as store:
                stand = balances(self.kept, store, now)
                since, rows = self.month.rows(store, now)
        except FairleadError as error:
            return "", (), (), Trouble(error.code, str(error))
        spent = tuple(Spent(**row) for row in rows[:ROWS])
        return statements.moment(since), spent, stand, None


def _speaker(name: str, spans: Sequence[Traced]) -> Speaker:
    good = [one for one in spans if one.status == "ok"]
    cached = Counter(str(one.facts["cache"]) for one in spans if "cache" in one.facts)
    steps = Counter(_by(one) for one in good if _by(one))
    return Speaker(
        name,
        len(spans),
        len(spans) - len(good),
        _quantiles(one.first for one in good if "cache" not in one.facts),
        _quantiles(one.per_token for one in good if "cache" not in one.facts),
        _quantiles((one.end_ms - one.start_ms) / 1000 for one in good),
        sum(one.tokens[0] for one in spans),
        sum(one.tokens[1] for one in spans),
        sum(one.tokens[2] for one in spans),
        tuple(sorted(cached.items())),
        tuple(steps.most_common(10)),
    )


def _quantiles(values: Iterable[float | None]) -> tuple[float | None, float | None, float | None]:
    known = [one for one in values if one is not None]
    if not known:
        return None, None, None
    low, high, most = np.quantile(known, _AT).tolist()
    return low, high, most


def _by(one: Traced) -> str:
    """Who answered in the end, where somebody chose."""
    path = one.facts.get("cascade") or one.facts.get("route") or ()
    return str(path[-1])[:_LONGEST] if path else ""


def _guarded(spans: Iterable[Traced]) -> tuple[Guarded, ...]:
    """Counts alone: nothing that was found is in a trace."""
    found: Counter[tuple[str, str, str, str, str]] = Counter()
    for one in spans:
        for side in _SIDES:
            for name, value in one.facts.items():
                if name.startswith(f"guard_{side}."):
                    detector, kind, action = (*name.removeprefix(f"guard_{side}.").split("/", 2), "", "")[:3]
                    found[one.endpoint, side, detector, kind, action] += int(value)
                elif name.startswith(f"guard_{side}_missed."):
                    detector = name.removeprefix(f"guard_{side}_missed.")
                    found[one.endpoint, side, detector, str(value)[:_LONGEST], "missed"] += 1
    return tuple(Guarded(*key, count) for key, count in sorted(found.items())[:ROWS])


def _span(one: Traced) -> Span:
    nano = one.facts.get("cost_nano")
    return Span(
        one.request_id,
        one.endpoint,
        one.caller,
        one.start_ms,
        one.end_ms,
        one.status,
        one.outcome,
        one.first,
        one.per_token,
        one.tokens[0],
        one.tokens[2],
        str(one.facts.get("cache", "")),
        _by(one),
        nano if isinstance(nano, int) else None,
        str(one.facts.get("currency", "")),
    )


def _told(facts: Any) -> tuple[tuple[str, str], ...]:
    some = [(name, value) for name, value in facts.items() if not name.startswith("cost_nano")]
    return tuple(
        (name[:_LONGEST], (" → ".join(value) if isinstance(value, list) else str(value))[:_LONGEST])
        for name, value in some[:ROWS]
    )
