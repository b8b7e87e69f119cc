"""Exact bounds of a share that was counted: k of n. Pure.

Source: Clopper and Pearson, Biometrika 26 (1934).
"""

from __future__ import annotations

import math
from collections.abc import Callable

_HALVINGS = 60


def upper(k: int, n: int, delta: float) -> float:
    """The share is above this with probability ``delta`` at most. 1.0 for nothing counted."""
    if k >= n:
        return 1.0
    return _solve(lambda share: at_most(k, n, share) > delta)


def lower(k: int, n: int, delta: float) -> float:
    """The share is below this with probability ``delta`` at most."""
    if k <= 0:
        return 0.0
    return _solve(lambda share: 1.0 - at_most(k - 1, n, share) <= delta)


def needed(share: float, delta: float) -> int:
    """How many without a single hit it takes to say that the share is at most this."""
    return math.ceil(math.log(delta) / math.log1p(-share))


def allowed(n: int, share: float, delta: float) -> int:
    """The greatest k of n for which ``upper`` is at most ``share``; -1 for none."""
    low, high = -1, n  # it is low, and high is too many
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at_most(middle, n, share) <= delta else (low, middle)
    return low


def at_most(k: int, n: int, share: float) -> float:
    """Probability of k or fewer of n."""
    if share <= 0.0:
        return 1.0
    if share >= 1.0:
        return float(k >= n)
    yes, no, all_ = math.log(share), math.log1p(-share), math.lgamma(n + 1)
    terms = [all_ - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * yes + (n - i) * no for i in range(k + 1)]
    return min(1.0, math.fsum(map(math.exp, terms)))


def _solve(below: Callable[[float], bool]) -> float:
    """Where it turns from true to false, between 0 and 1."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if below(middle):
            low = middle
        else:
            high = middle
    return high
