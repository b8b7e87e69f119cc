"""What is told of guardrails beside the answer: headers, facts, metrics. Never a text that was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fairlead.contracts.errors import ContentBlocked
from fairlead.contracts.guardrail import GuardMeter
from fairlead.serve.llm.ask import Notes
from fairlead.serve.llm.guard.rules import Found, counts

HEADER: Final = "fairlead-guard"
INPUT: Final = "input"
OUTPUT: Final = "output"


def blocked(one: Found, side: str) -> ContentBlocked:
    """The error for what does not pass: it names the kind, never the text."""
    what = "the request" if side == INPUT else "the answer"
    return ContentBlocked(f"guardrail {one.rule.name} found {one.kind} in {what}; it was not passed on")


def note(notes: Notes, meter: GuardMeter, side: str, many: Sequence[Found]) -> None:
    """Findings of one side, added to those that were told before."""
    if not many:
        return
    facts = notes.facts.setdefault(f"guard_{side}", {})
    assert isinstance(facts, dict)  # noqa: S101 - made here
    for (detector, kind, action), number in counts(many).items():
        meter.found(side, detector, kind, action, number)
        key = f"{detector}/{kind}/{action}"
        facts[key] = facts.get(key, 0) + number


def silent(notes: Notes, meter: GuardMeter, side: str, missed: dict[str, str]) -> None:
    """Detectors that did not answer."""
    for detector, why in missed.items():
        meter.missed(side, detector, why)
        facts = notes.facts.setdefault(f"guard_{side}_missed", {})
        assert isinstance(facts, dict)  # noqa: S101 - made here
        facts[detector] = why


def head(notes: Notes, told: str) -> None:
    """Add to the header; what is there already stays."""
    before = notes.headers.get(HEADER)
    if before is None:
        notes.headers[HEADER] = told
    elif told not in before.split(", "):
        notes.headers[HEADER] = f"{before}, {told}"
