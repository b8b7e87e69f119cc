"""The pages that one finds from everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Entry:
    """``section``: the name by which pages say that they are part of it."""

    section: str
    label: str
    path: str


HOME: Final = Entry("home", "Endpoints", "/console")
TIMELINE: Final = Entry("timeline", "Timeline", "/console/timeline")
ROLLOUTS: Final = Entry("rollouts", "Rollouts", "/console/rollouts")
RETRAINING: Final = Entry("retraining", "Retraining", "/console/retraining")
MODELS: Final = Entry("llm", "Language models", "/console/llm")
ACCESS: Final = Entry("access", "Access", "/console/access")

EVERY: Final = (HOME, TIMELINE, ROLLOUTS, RETRAINING, MODELS, ACCESS)
