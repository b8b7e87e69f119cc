"""When a candidate is given up that nobody can load, also where servers answer for one arm each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairlead.kit.codec.records import to_body
from fairlead.orchestrate.plan import Plan
from fairlead.orchestrate.rollout import Rollout, begin
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState
from fairlead.wiring.unloadable import PATIENCE_MS, unloadable


def world(told: dict[str, tuple[str, str]], shadow: float = 0.0) -> tuple[MemoryState, int]:
    """``told``: arm and error by place."""
    clock = ManualClock()
    state = MemoryState(clock)
    plan = Plan("churn", "model", "1", "2", shadow=shadow)
    rollout: Rollout = replace(begin(plan, "r", "", 0)[0], pending=())
    state.put("rollout", "r", to_body(rollout), 0)
    state.put("rollout-of", "churn", {"rollout": "r"}, 0)
    state.put("split", "churn", to_body(plan.split(5.0, salt="r")), 0)
    clock.advance(PATIENCE_MS / 1000 + 1)
    for place, (arm, error) in told.items():
        body = {"revision": 1, "arm": arm, "error": error, "at_ms": clock.wall_ms()}
        state.put("applied", f"churn/{place}", body, 0)
    return state, clock.wall_ms()


@pytest.mark.parametrize(
    ("told", "shadow", "expected"),
    [
        ({"a.0": ("", "no file"), "b.0": ("", "no file")}, 0.0, "no file"),
        ({"a.0": ("", "no file"), "b.0": ("", "")}, 0.0, ""),
        ({"a.0": ("champion", ""), "b.0": ("candidate", "no file")}, 0.0, "no file"),
        ({"a.0": ("champion", ""), "b.0": ("candidate", "no file"), "c.0": ("candidate", "")}, 0.0, ""),
        ({"a.0": ("champion", ""), "b.0": ("candidate", "no file")}, 20.0, ""),
        ({"a.0": ("champion", "no file"), "b.0": ("candidate", "no file")}, 20.0, "no file"),
        ({"a.0": ("candidate", "no file"), "route": ("", "no server yet")}, 0.0, "no file"),
        ({"a.0": ("champion", ""), "route": ("", "no server yet")}, 0.0, ""),
        ({}, 0.0, ""),
    ],
)
def test_who_is_asked(told: dict[str, tuple[str, str]], shadow: float, expected: str) -> None:
    state, now = world(told, shadow)
    assert unloadable(state, "churn", now) == expected


def test_there_is_time_to_try_again() -> None:
    state, now = world({"a.0": ("", "no file")})
    assert unloadable(state, "churn", now - 2000) == ""
    assert unloadable(state, "other", now) == ""
