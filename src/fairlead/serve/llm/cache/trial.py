"""Whether hits by meaning are right often enough. Pure: what was found goes in, a threshold comes out.

Some hits are asked of the model again, and the two answers compared. Looks are taken when 8, 16, 32, ... hits were
looked at, each with its share of ``1 - CONFIDENCE``, so that looking often does not find what is not there (a union
bound). One that shows too many false hits raises the threshold and begins anew; a threshold near 1 is no cache: off.

Source: Clopper and Pearson, The use of confidence or fiducial limits (Biometrika 1934), for the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

CONFIDENCE: Final = 0.95
FIRST: Final = 8
STEP: Final = 0.25
"""Of the way to 1 that a threshold is raised by."""
HIGHEST: Final = 0.995


@dataclass(frozen=True, slots=True)
class Trial:
    """``budget``: share of hits that may be false.  ``looked``, ``false``: hits at this ``threshold``, so far."""

    threshold: float
    budget: float
    looked: int = 0
    false: int = 0

    @property
    def off(self) -> bool:
        return self.threshold > HIGHEST

    def bounds(self) -> tuple[float, float]:
        """The share of false hits lies between, each bound with ``CONFIDENCE``."""
        return lower(self.false, self.looked, 1 - CONFIDENCE), upper(self.false, self.looked, 1 - CONFIDENCE)

    def seen(self, *, same: bool) -> Trial:
        """After one more."""
        after = replace(self, looked=self.looked + 1, false=self.false + (not same))
        look = math.log2(after.looked / FIRST) if after.looked >= FIRST else -1.0
        if look < 0 or look != int(look):
            return after
        share = (1 - CONFIDENCE) * 6 / (math.pi * (look + 1)) ** 2
        if lower(after.false, after.looked, share) <= self.budget:
            return after
        return Trial(self.threshold + STEP * (1 - self.threshold), self.budget)


def upper(false: int, looked: int, alpha: float) -> float:
    """The share is not above this, at 1 - ``alpha``."""
    if false >= looked:
        return 1.0
    return _solved(lambda share: _at_most(false, looked, share) - alpha)


def lower(false: int, looked: int, alpha: float) -> float:
    """The share is not below this, at 1 - ``alpha``."""
    if false <= 0:
        return 0.0
    return _solved(lambda share: alpha - (1 - _at_most(false - 1, looked, share)))


def _at_most(count: int, of: int, share: float) -> float:
    """The chance of ``count`` or fewer of ``of``."""
    if share <= 0:
        return 1.0
    if share >= 1:
        return 1.0 if count >= of else 0.0
    log, other = math.log(share), math.log1p(-share)
    whole = math.lgamma(of + 1)
    return min(
        1.0,
        math.fsum(
            math.exp(whole - math.lgamma(one + 1) - math.lgamma(of - one + 1) + one * log + (of - one) * other)
            for one in range(count + 1)
        ),
    )


def _solved(falling: Callable[[float], float]) -> float:
    """Where it is 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
