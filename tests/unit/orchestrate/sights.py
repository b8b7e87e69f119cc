"""What tests of a rollout let it see."""

from __future__ import annotations

import numpy as np

from fairlead.orchestrate.observed import Arm, Moments, Observed

EDGES = np.geomspace(1e-3, 10.0, 61)


def arm(calls: int, errors: int = 0, *, slow: int = 0, mean: float = 1.0, shift: int = 0) -> Arm:
    """Answers take 10 ms (``slow``: bins later), scores are uniform over ten bins (``shift``: bins later)."""
    latency, scores = np.zeros(60, np.int64), np.zeros(20, np.int64)
    answered = calls - errors
    latency[15 + slow] = answered
    scores[shift : shift + 10] = answered // 10
    return Arm(calls, errors, latency, scores, {"revenue": Moments(answered, mean, 0.25)})


def good(control: int = 20_000, candidate: int = 20_000) -> Observed:
    return Observed(arm(control, control // 200), arm(candidate, candidate // 200), EDGES, candidate, candidate // 50)


def failing(calls: int = 5_000) -> Observed:
    return Observed(arm(calls, calls // 200), arm(calls, calls // 4), EDGES, calls, 0)


def split(weight: float, calls: int = 400_000) -> Observed:
    """A good candidate that gets its share."""
    return good(round(calls * (100 - weight) / 100) or 20_000, round(calls * weight / 100) or 20_000)
