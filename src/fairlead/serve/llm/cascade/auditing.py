"""Whether the answers of the cheap model that were kept still agree with the dear one's. Pure.

A few are asked again. Every ``LOOK`` of them the share that disagrees is looked at: where its lower bound is above what
is allowed, the threshold rises to the middle of the answers that were looked at, so that about half as many are kept;
when that has not helped ``RAISES`` times, none are. Disagreeing is not being wrong: what is allowed is for whoever
knows the two models to say.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from fairlead.serve.llm.cascade.bounds import lower

LOOK: Final = 40
RAISES: Final = 3
DELTA: Final = 0.05
AGREES: Final = 0.5
"""Share of words in common from which on two texts say the same, about."""
_NUMBER: Final = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Alarm:
    """``share``: of those that were asked again, that disagreed; ``low``: its lower bound.

    ``threshold``: from now on; infinity: no answer of the cheap model is kept.  ``allowed``: as the spec says.
    """

    endpoint: str
    step: str
    asked: int
    share: float
    low: float
    allowed: float
    threshold: float
    wall_ms: int


class Audit:
    """Of one step. ``allowed``: share that may disagree."""

    def __init__(self, threshold: float, allowed: float) -> None:
        self.threshold = threshold
        self._allowed = allowed
        self._raised = 0
        self._scores: list[float] = []
        self._apart = 0
        self.asked = self.disagreed = 0
        """Since the beginning."""

    def saw(self, score: float, agree: bool) -> tuple[int, float, float] | None:
        """How many, the share and its bound, where that is too much: the threshold has risen then."""
        self._scores.append(score)
        self._apart += not agree
        self.asked += 1
        self.disagreed += not agree
        count = len(self._scores)
        if count < LOOK:
            return None
        share, low = self._apart / count, lower(self._apart, count, DELTA)
        scores, self._scores, self._apart = sorted(self._scores), [], 0
        if low <= self._allowed:
            return None
        self._raised += 1
        middle = scores[count // 2]
        rises = self._raised <= RAISES and middle > self.threshold
        self.threshold = middle if rises else math.inf
        return count, share, low


def agree(one: str, other: str) -> bool:
    """Whether two answers say the same, about: the same last number where both have one, else enough of the words."""
    numbers: list[list[str]] = [_NUMBER.findall(text) for text in (one, other)]
    if all(numbers):
        return numbers[0][-1].replace(",", "") == numbers[1][-1].replace(",", "")
    words = [Counter(re.findall(r"\w+", text.lower())) for text in (one, other)]
    total = sum(words[0].values()) + sum(words[1].values())
    return not total or 2 * (words[0] & words[1]).total() / total >= AGREES
