"""Rollouts that a controller looked at each second, of a candidate that is as good: for tests of what shows them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fairlead.contracts.state import StateStore
from fairlead.contracts.types import Signature
from fairlead.kit.clock import SystemClock
from fairlead.orchestrate import commands
from fairlead.orchestrate.controller import Controller
from fairlead.orchestrate.observed import Arm, Observed
from fairlead.orchestrate.plan import Plan
from fairlead.orchestrate.rollout import Rollout

CALLS = (950, 50)
"""Of champion and candidate, each second."""


def started(state: StateStore, endpoint: str = "churn") -> Rollout:
    def unknown(model: str, version: str) -> Signature | None:
        return None

    return commands.start(
        state,
        Plan(endpoint, "m", "3", "4"),
        who="ann",
        now_ms=SystemClock.wall_ms(),
        signature_of=unknown,
        alias_at=lambda model, alias: "3",
    )


def looked(state: StateStore, seconds: int, endpoint: str = "churn") -> Rollout:
    """The first tick sets the split, each of the others looks."""
    rollout, rng = started(state, endpoint), np.random.default_rng(5)
    edges = np.geomspace(1e-3, 10.0, 61)
    calls = [0, 0]

    def observe(_: Rollout) -> Observed:
        arms = []
        for side, more in enumerate(CALLS):
            calls[side] += more
            latency = np.zeros(60, np.int64)
            latency[20] = calls[side] - calls[side] // 200
            arms.append(Arm(calls[side], calls[side] // 200, latency, rng.multinomial(calls[side], np.full(10, 0.1))))
        return Observed(arms[0], arms[1], edges)

    class Still:
        def current(self, model: str, alias: str) -> str:
            return "3"

        def move(self, *_: Any, **__: Any) -> None:
            raise AssertionError("nothing is promoted in so short a time")

    controller = Controller(state, observe=observe, moves=Still(), update_reference=print, owner="a", lease_seconds=60)
    began = SystemClock.wall_ms() - 1000 * seconds
    for second in range(seconds):
        controller.tick(began + 1000 * second)
    return rollout
