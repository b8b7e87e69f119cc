"""The pages of retrainings out of the state store: the same records as ``fairlead retrain`` and ``fairlead runs``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fairlead.console.facts.retraining import Compared, RetrainingFacts, RetrainingsFacts, Row, Tested
from fairlead.contracts.plans import Answer, Check, RetrainRequest
from fairlead.wiring import retrained
from fairlead.wiring.console.kept import Kept
from fairlead.wiring.retrained import Ran

ROWS: Final = 100
RUNNING: Final = "running"
_DRY: Final = "dry run: "
_RATIOS: Final = {"latency": "seconds", "size": "bytes"}


@dataclass(frozen=True, slots=True)
class RetrainingPage:
    """``Retrainings`` over the home."""

    kept: Kept

    def retrainings(self, endpoint: str, now_ms: int) -> RetrainingsFacts:
        every = retrained.every(self.kept.state)
        found = [(state, one) for state, one in every if endpoint in ("", one.endpoint)]
        rows = tuple(Row(one, state, _answer(one), _took(one, state, now_ms)) for state, one in found[:ROWS])
        return RetrainingsFacts(rows, max(0, len(found) - ROWS), tuple(sorted({one.endpoint for _, one in every})))

    def one(self, name: str, now_ms: int) -> RetrainingFacts:
        found = retrained.one(self.kept.state, name)
        checks = found.gate.checks if found.gate is not None else ()
        compared = {check.name: tuple(_compared(check)) for check in checks}
        log = self.kept.home.root / "runs" / f"{found.request.id}.log"
        return RetrainingFacts(
            found.request,
            found.state,
            found.tests,
            found.gate,
            found.rollout,
            _answer(found.request),
            _took(found.request, found.state, now_ms),
            tuple(map(_tested, found.tests.checks)) if found.tests is not None else (),
            tuple(one for some in compared.values() for one in some),
            tuple(check for check in checks if not compared[check.name]),
            _again(found),
            str(log) if log.is_file() else "",
        )


def _answer(one: RetrainRequest) -> str:
    said = one.outcome.removeprefix(_DRY).partition(";")[0]
    return said if one.status == "done" and said in set(Answer) else ""


def _took(one: RetrainRequest, state: str, now_ms: int) -> int | None:
    ended = one.ended_ms or (now_ms if state == RUNNING else 0)
    return max(0, ended - one.started_ms) if one.started_ms and ended else None


def _again(found: Ran) -> str:
    """The command that runs it, or runs it again."""
    words = ["fairlead", "retrain", found.request.endpoint]
    if found.state == "open":
        words += ["--request", found.request.id]
    elif found.state == "blocked" and found.tests is not None:
        for check in found.tests.checks:
            words += ["--accept", check.name] if check.answer is Answer.FAIL else []
        words += ["--why", "WHAT HAS CHANGED"]
    return shlex.join(words)


def _tested(check: Check) -> Tested:
    told = check.evidence
    answer = check.answer.value
    if check.answer is Answer.PASS:
        answer = "accepted" if told.get("by") else "warn" if told.get("warning") else answer
    figure, most, least = (_number(told, name) for name in ("figure", "at_most", "at_least"))
    return Tested(check.name, answer, check.why, figure, most, least, str(told.get("unit", "")))


def _compared(check: Check) -> Iterator[Compared]:
    """What a check of the gate measured of both models; nothing where it measured none."""
    told = check.evidence
    if check.name == "slices":
        for name, one in told.get("slices", {}).items():
            yield _lift(check.name, name, one, str(one.get("answer", "")))
    elif check.name in _RATIOS and "limit" in told:
        alpha = _number(told, "alpha")
        yield Compared(
            check.name,
            "",
            "ratio",
            _RATIOS[check.name],
            None,
            _number(told, "champion"),
            _number(told, "challenger"),
            _number(told, "estimate", "ratio"),
            _number(told, "lower"),
            _number(told, "upper"),
            None if alpha is None else 1 - 2 * alpha,
            _number(told, "limit"),
            check.answer.value,
        )
    elif "first" in told:
        yield _lift(check.name, "", told, check.answer.value)


def _lift(name: str, slice_: str, told: Mapping[str, Any], answer: str) -> Compared:
    """Both bounds hold at ``alpha`` each: together they are an interval at ``1 - 2 alpha``."""
    alpha, rows = _number(told, "alpha"), _number(told, "rows")
    return Compared(
        str(told.get("metric", name)),
        slice_,
        "lift",
        "number",
        None if rows is None else int(rows),
        _number(told, "second"),
        _number(told, "first"),
        _number(told, "estimate", "lift"),
        _number(told, "lower"),
        _number(told, "upper"),
        None if alpha is None else 1 - 2 * alpha,
        _number(told, "null"),
        answer,
    )


def _number(told: Mapping[str, Any], *names: str) -> float | None:
    found = next((told[name] for name in names if name in told), None)
    return found if isinstance(found, int | float) else None
