"""The record of looks: bounded, in order, the first and the newest there; kept by the controller whoever dies."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sights import failing, split
from test_controller import PLAN, Died, World

from fairlead.orchestrate import commands, looks
from fairlead.orchestrate.looks import BOUND, EXACT, Look, Looks, Measured, added
from fairlead.orchestrate.observed import Observed
from fairlead.orchestrate.plan import Strategy
from fairlead.orchestrate.rollout import Phase, Rollout


def one(number: int) -> Look:
    return Look(number, 10 * number, "canary", 0, 5.0, number, number, "inconclusive", (Measured("pass", 0.1),))


def oracle(count: int) -> list[int]:
    """Which are there after ``count`` looks: the newest hundred, and of those before each 2^k-th, k the least that
    keeps to the bound at every look so far."""
    every, kept = 1, list[int]()
    for newest in range(count):
        kept.append(newest)
        while len(kept) > BOUND or any(n % every and n <= newest - EXACT for n in kept):
            if len([n for n in kept if n % every == 0 or n > newest - EXACT]) > BOUND:
                every *= 2
            kept = [n for n in kept if n % every == 0 or n > newest - EXACT]
    return kept


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 3_000))
def test_it_is_bounded_in_order_and_has_the_first_and_the_newest(count: int) -> None:
    record = Looks()
    for number in range(count):
        before = len(record.looks)
        record = added(record, one(number))
        assert len(record.looks) <= min(BOUND, before + 1)
    numbers = [look.number for look in record.looks]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    assert numbers[-min(count, EXACT) :] == list(range(max(0, count - EXACT), count)), "the newest are exact"
    older = [number for number in numbers if number <= count - 1 - EXACT]
    assert older == list(range(0, max(0, count - EXACT), record.every)), "the older ones are equally far apart"
    assert len(numbers) >= min(count, (BOUND - EXACT) // 2), "and no more went than had to"


@pytest.mark.parametrize("count", [1, 100, 400, 401, 402, 700, 1301])
def test_thinning_is_what_an_oracle_does(count: int) -> None:
    record = Looks()
    for number in range(count):
        record = added(record, one(number))
    assert [look.number for look in record.looks] == oracle(count)


def test_every_look_is_told_with_its_limits_and_every_turn() -> None:
    world = World()
    rollout = world.start()
    world.run(world.controller())
    record = looks.read(world.state, rollout.id)
    assert [(turn.phase, turn.weight) for turn in record.turns] == [
        ("canary", 50.0), ("canary", 100.0), ("promoting", 100.0), ("done", 100.0),
    ]  # fmt: skip
    verdicts = [entry.body for entry in world.state.entries("verdict")]
    assert [turn.verdict for turn in record.turns][1:3] == [one["id"] for one in verdicts]
    told = looks.told(record)
    assert [(one["step"], one["answer"]) for one in told if one["answer"] == "pass"] == [(0, "pass"), (1, "pass")]
    for look, verdict in zip([one for one in told if one["answer"] == "pass"], verdicts, strict=True):
        for check in verdict["checks"]:
            seen = look["gates"][check["name"]]
            assert seen["answer"] == check["answer"]
            if "log_evidence_fine" in check["evidence"]:
                assert seen["fine"] == pytest.approx(check["evidence"]["log_evidence_fine"], rel=1e-5)
                assert seen["worse"] == pytest.approx(check["evidence"]["log_evidence_worse"], rel=1e-5)
                assert seen["fine"] >= seen["pass_at"]
            if seen["margin"] is not None:
                assert seen["upper"] <= seen["margin"] == check["evidence"]["margin"]
        assert look["champion"] > 0 < look["candidate"]


def test_a_failing_look_is_there_and_what_a_person_did() -> None:
    world = World(lambda _: failing())
    failed = world.start()
    world.run(world.controller())
    record = looks.read(world.state, failed.id)
    newest = looks.told(record)[-1]
    assert newest["answer"] == "fail"
    assert newest["gates"]["error_rate"]["lower"] >= newest["gates"]["error_rate"]["margin"]
    assert [turn.phase for turn in record.turns] == ["canary", "aborting", "aborted"]
    world.see = lambda _: Observed()
    second = world.start()
    controller = world.controller()
    world.run(controller, 3)
    commands.pause(world.state, "churn", who="ann", now_ms=1)
    world.run(controller, 2)
    turns = looks.read(world.state, second.id).turns
    assert (turns[-1].phase, turns[-1].why) == ("paused", "ann asked to pause")


def test_a_look_is_kept_a_second_after_the_last_and_later_where_the_step_is_old() -> None:
    calls = [1_000]

    def grows(rollout: Rollout) -> Observed:
        calls[0] += 10
        return split(50.0, calls[0])

    world = World(grows)
    rollout = world.start(replace(PLAN, max_seconds=1e9, min_calls=10**9))
    controller = world.controller()
    for pause, ticks in ((0.5, 60), (1_000.0, 1), (0.5, 60)):
        for _ in range(ticks):
            world.clock.advance(pause)
            controller.tick(world.clock.wall_ms())
    record = looks.read(world.state, rollout.id)
    gaps = [b - a for a, b in pairwise(look.at_ms for look in record.looks)]
    assert min(gaps) == looks.PAUSE_MS
    assert gaps[:20] == [looks.PAUSE_MS] * 20
    assert min(gaps[-5:]) >= 1_000_000 / looks.PART, "after 1,000 s"
    assert max(gaps[-5:]) <= 1_100_000 / looks.PART + 500
    document = world.state.get(looks.KIND, rollout.id)
    assert document is not None
    assert document.revision == len(record.looks), "and it is written as seldom"


def test_nothing_is_looked_at_while_a_new_version_is_only_loaded_or_kept() -> None:
    plan = replace(PLAN, strategy=Strategy.BLUE_GREEN, keep_seconds=5.0)
    world = World()
    rollout = world.start(plan)
    world.run(world.controller())
    assert world.rollout().phase is Phase.DONE
    assert {look.phase for look in looks.read(world.state, rollout.id).looks} == {"canary"}


def test_a_record_that_cannot_be_read_is_begun_anew() -> None:
    world = World()
    rollout = world.start()
    world.state.put(looks.KIND, rollout.id, {"looks": "of another release"}, 0)
    world.run(world.controller())
    assert world.rollout().phase is Phase.DONE
    assert looks.read(world.state, rollout.id).looks


def test_a_controller_that_dies_loses_no_verdict_of_it() -> None:
    """Wherever it dies, the record has the look that every verdict stands on."""
    for dies_at in range(3, 40, 4):
        world = World()
        rollout = world.start()
        world.dies_at = dies_at
        with suppress(Died):
            world.run(world.controller("a"))
        world.clock.advance(11)
        world.run(world.controller("b"))
        record = looks.read(world.state, rollout.id)
        assert {look.step for look in record.looks if look.answer == "pass"} == {0, 1}
        assert [turn.phase for turn in record.turns] == ["canary", "canary", "promoting", "done"]
