"""Looks at one text with detectors by name, for the command line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.guardrail import Action, Channel
from fairlead.kit.spec.guardrails import Guardrail
from fairlead.serve.llm.guard.examine import Examiner, Said
from fairlead.serve.llm.guard.masks import label
from fairlead.serve.llm.guard.rules import Found
from fairlead.wiring.llm.guards import rule

SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding as it may be printed."""

    found: Found

    def told(self) -> dict[str, Any]:
        one = self.found
        place = {"start": one.start, "end": one.end} if one.rule.detector.reach else {"start": None, "end": None}
        return {"detector": one.rule.name, "kind": one.kind, **place, "score": round(one.score, 3)}


@dataclass(frozen=True, slots=True)
class Trial:
    found: Sequence[Shown]
    masked: str
    seconds: float


def look(text: str, detectors: Sequence[str], channel: str, threshold: float | None) -> Trial:
    """``detectors``: ``NAME`` or ``NAME:KIND,KIND``. Raises UsageError, Unavailable, MissingExtra."""
    if channel not in list(Channel):
        raise UsageError(f"there is no channel {channel!r}; expected {', '.join(Channel)}")
    rules = []
    for told in detectors:
        name, _, kinds = told.partition(":")
        asked = Guardrail(name=name, kinds=tuple(filter(None, kinds.split(","))), threshold=threshold)
        made = rule(asked, "--detector")
        rules.append(made if made.action is not Action.BLOCK else rule(asked.model_copy(update={"action": "flag"})))
    began = time.perf_counter()
    examiner = Examiner(rules, SECONDS, time.monotonic)
    verdict = asyncio.run(examiner.later([Said(Channel(channel), text)], label))
    if verdict.refused is not None:
        raise verdict.refused
    seconds = time.perf_counter() - began
    return Trial([Shown(one) for one in verdict.found], verdict.texts[0].text, seconds)
