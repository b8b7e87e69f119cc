"""What a look at a rollout sees of the windows in the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.events import Columns
from fairlead.contracts.plans import Answer
from fairlead.kit.codec.records import to_body
from fairlead.monitor.pairs import pairs
from fairlead.monitor.reference import reference
from fairlead.monitor.sketches import Folder
from fairlead.orchestrate.plan import Plan
from fairlead.orchestrate.rollout import Phase, Rollout
from fairlead.orchestrate.routing import Routed
from fairlead.orchestrate.verdict import look
from fairlead.testing.state import MemoryState
from fairlead.wiring.observing import EDGES, observed

RNG = np.random.default_rng(0)
SHARES = np.linspace(0, 1, 200)
REFERENCE = reference({}, {"label": (SHARES > 0.5).astype(int), "p": np.stack([1 - SHARES, SHARES], axis=1)})
STEP = Rollout("r", Plan("churn", "m", "1", "2", settle_seconds=1.0), Phase.CANARY, "me", 0, 10_000, step=0)


def calls(version: str, arm: str, codes: list[str], at_ms: int, share: float = 0.5) -> Columns:
    answered = codes.count("")
    p = np.full(answered, share)
    return Columns(
        "churn",
        version,
        arm,
        [str(n) for n in range(len(codes))],
        np.full(len(codes), at_ms),
        np.full(len(codes), 0.01),
        codes,
        np.array([not code for code in codes], int),
        {},
        {"label": (p > 0.5).astype(int), "p": np.stack([1 - p, p], axis=1)},
    )


def put(state: MemoryState, columns: Columns, worker: str = "host.0", **more: Any) -> None:
    folder = Folder(REFERENCE, columns.endpoint, columns.version, columns.arm, f"{worker}.ab-{REFERENCE.id}", 1000)
    folder.add(columns)
    state.put_windows([replace(window, **more) for window in folder.windows()])


@pytest.fixture
def state() -> MemoryState:
    made = MemoryState()
    made.put("split", "churn", to_body(STEP.plan.split(5.0, salt="r")), 0)
    follow(made, "host.0", 10_500)
    return made


def follow(state: MemoryState, worker: str, at_ms: int, revision: int = 1, error: str = "") -> None:
    found = state.get("applied", f"churn/{worker}")
    body = {"revision": revision, "at_ms": at_ms, "error": error, "versions": []}
    state.put("applied", f"churn/{worker}", body, found.revision if found else 0)


def test_both_arms_since_the_split_is_followed(state: MemoryState) -> None:
    put(state, calls("1", "champion", [""] * 9, 11_000))  # before the split had settled
    put(state, calls("1", "champion", ["", "", "model_failed", "cancelled"], 12_000, 0.2))
    put(state, calls("2", "candidate", ["", "deadline_exceeded"], 13_000, 0.9))
    put(state, calls("2", "shadow", [""] * 5, 13_000))
    put(state, calls("3", "champion", [""] * 7, 13_000))
    seen = observed(state, STEP)
    assert (seen.champion.calls, seen.champion.errors) == (3, 1)  # who hangs up is no error
    assert (seen.candidate.calls, seen.candidate.errors) == (2, 1)
    assert len(seen.edges) == len(seen.champion.latency) + 1 == len(EDGES)
    assert seen.champion.latency.sum() == 4
    assert np.flatnonzero(seen.champion.scores).tolist() != np.flatnonzero(seen.candidate.scores).tolist()
    assert (seen.champion.scores.sum(), seen.candidate.scores.sum()) == (2, 1)


def test_nothing_counts_until_every_worker_that_answers_follows(state: MemoryState) -> None:
    put(state, calls("1", "champion", [""], 13_000))
    put(state, calls("1", "champion", [""], 13_000), worker="host.1")
    assert observed(state, STEP).champion.calls == 0
    follow(state, "host.1", 12_500)
    assert observed(state, STEP).champion.calls == 0  # not settled there
    put(state, calls("1", "champion", [""], 14_000), worker="host.1")
    assert observed(state, STEP).champion.calls == 1


def test_nothing_counts_while_the_candidate_does_not_load(state: MemoryState) -> None:
    put(state, calls("1", "champion", [""], 13_000))
    follow(state, "host.0", 10_700, error="no such file")
    assert observed(state, STEP).champion.calls == 0


def test_a_shadow_and_its_pairs(state: MemoryState) -> None:
    said = calls("2", "shadow", ["", ""], 13_000, 0.9)
    said = replace(said, paired=calls("1", "champion", ["", ""], 0, 0.2).outputs)
    put(state, said, pairs=pairs(said))
    put(state, calls("2", "candidate", [""], 13_000))
    seen = observed(state, replace(STEP, phase=Phase.SHADOW, step=-1))
    assert (seen.candidate.calls, seen.pairs, seen.flips) == (2, 2, 2)


def test_the_control_is_what_the_champion_did_before(state: MemoryState) -> None:
    put(state, calls("1", "champion", [""] * 4, 5_000))
    put(state, calls("1", "champion", [""] * 2, 6_000))  # its window reaches over the end
    put(state, calls("2", "candidate", [""], 13_000))
    seen = observed(state, replace(STEP, control_since_ms=5_000, control_until_ms=6_500))
    assert (seen.champion.calls, seen.candidate.calls) == (4, 1)


def test_arms_of_two_servers_are_compared_up_to_what_both_have_told(state: MemoryState) -> None:
    """A route in front of them: each hands its windows over when it likes."""
    state.put("applied", "churn/route", to_body(Routed(1, {"champion": "1", "candidate": "2"}, at_ms=10_600)), 0)
    for second in range(13, 20):
        put(state, calls("1", "champion", [""] * 10, second * 1000))
    assert observed(state, STEP).champion.calls == 50  # the candidate may have none: then that is seen
    for second in range(13, 18):
        put(state, calls("2", "candidate", [""], second * 1000))
    seen = observed(state, STEP)
    assert (seen.champion.calls, seen.candidate.calls) == (30, 3)
    alone = observed(state, replace(STEP, step=len(STEP.plan.ladder) - 1, control_since_ms=1, control_until_ms=2))
    assert alone.candidate.calls == 3  # a late call of the champion's holds nothing up


def test_calls_in_flight_are_not_missing(state: MemoryState) -> None:
    """Half of the calls go to a candidate that takes five seconds: its newest calls have not ended yet."""
    split = replace(STEP, step=2)
    for second in range(12, 30):
        put(state, calls("1", "champion", [""] * 200, second * 1000))
        if second < 24:
            put(state, replace(calls("2", "candidate", [""] * 200, second * 1000), seconds=np.full(200, 5.0)))
    seen = observed(state, split)
    assert (seen.champion.calls, seen.candidate.calls) == (3600, 2400)
    assert seen.ended == (2200, 2200)  # arrived from 12 to 23 s, and 29 - 5 is before the end of the last second
    (check,) = look(seen, (), alpha=0.05, comparisons=20, shares=(50.0, 50.0))
    assert check.answer is Answer.PASS
    (check,) = look(replace(seen, ended=None), (), alpha=0.05, comparisons=20, shares=(50.0, 50.0))
    assert check.answer is Answer.FAIL


def test_an_arm_that_answers_nothing_is_told_after_a_minute(state: MemoryState) -> None:
    for second in range(12, 72):
        put(state, calls("1", "champion", [""] * 20, second * 1000))
    assert observed(state, STEP).ended == (0, 0)
    for second in range(72, 92):
        put(state, calls("1", "champion", [""] * 20, second * 1000))
    assert observed(state, STEP).ended == (380, 0)


def test_whose_caller_hung_up_is_not_missing(state: MemoryState) -> None:
    put(state, calls("1", "champion", [""] * 3, 12_000))
    put(state, calls("2", "candidate", ["", "cancelled", "cancelled"], 12_000))
    assert observed(state, STEP).ended == (3, 3)


def test_nothing_counts_until_the_route_follows(state: MemoryState) -> None:
    put(state, calls("1", "champion", [""], 13_000))
    put(state, calls("1", "champion", [""], 16_000))
    state.put("applied", "churn/route", to_body(Routed(0)), 0)
    assert observed(state, STEP).champion.calls == 0
    state.put("applied", "churn/route", to_body(Routed(1, at_ms=10_600)), 1)
    assert observed(state, STEP).champion.calls == 1
    state.put("applied", "churn/route", to_body(Routed(1, error="why", at_ms=10_600)), 2)
    assert observed(state, STEP).champion.calls == 0
