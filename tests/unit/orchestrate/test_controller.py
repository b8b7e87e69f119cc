"""The loop over a state store in memory: killed at every step, cut off by another leader, raced by a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sights import failing, good, split

from fairlead.contracts.errors import (
    AliasMoved,
    Busy,
    Conflict,
    NotFound,
    RegistryUnreachable,
    SourceNotFound,
    UsageError,
)
from fairlead.contracts.plans import TrafficSplit
from fairlead.contracts.stores import Version
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.kit.codec.records import from_body, to_body
from fairlead.orchestrate import commands
from fairlead.orchestrate.controller import LEASE, Controller
from fairlead.orchestrate.observed import Observed
from fairlead.orchestrate.plan import Plan, Strategy
from fairlead.orchestrate.rollout import Phase, Rollout, Wish, ask
from fairlead.package.registry import Moves
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState
from fairlead.testing.stores import MemoryAliasHistory, MemoryRegistry

PLAN = Plan("churn", "model", "1", "2", steps=(50.0, 100.0), min_seconds=1.0, max_seconds=100.0, settle_seconds=1.0)
OLD = Signature((TensorSpec("x", DataType.FP32, (-1, 4)),))
NEW = Signature((TensorSpec("x", DataType.FP32, (-1, 5)),))
SIGNATURES = {"1": OLD, "2": OLD, "3": NEW, "4": None}


class Died(BaseException):
    """The process is gone."""


class World:
    """Everything outside the controller. ``dies_at``: the how-manieth call outward the process does not survive;
    ``late``: it dies after the call has had its effect, not before."""

    def __init__(self, see: Callable[[Rollout], Observed] = lambda rollout: split(rollout.weight)) -> None:
        self.clock = ManualClock()
        self.state = MemoryState(self.clock)
        self.registry = MemoryRegistry()
        self.registry._versions["model"] = [Version("model", str(n)) for n in range(1, 5)]
        self.registry.set_alias("model", "champion", "1")
        self.moves = Moves(self.registry, MemoryAliasHistory(), self.clock, "controller")
        self.references: list[str] = []
        self.see = see
        self.dies_at, self.late, self.calls = 0, False, 0

    def through(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            self.calls += 1
            dies = self.calls == self.dies_at
            if dies and not self.late:
                raise Died
            answer = call(*args, **named)
            if dies:
                raise Died
            return answer

        return counted

    def update(self, endpoint: str, model: str, version: str) -> None:
        self.references.append(version)

    def controller(self, owner: str = "a") -> Controller:
        world = self

        class Through:
            def __init__(self, part: object) -> None:
                self.part = part

            def __getattr__(self, name: str) -> Any:
                return world.through(getattr(self.part, name))

        return Controller(
            Through(self.state),
            observe=self.through(self.see),
            moves=Through(self.moves),
            update_reference=self.through(self.update),
            owner=owner,
        )

    def start(self, plan: Plan = PLAN) -> Rollout:
        return commands.start(
            self.state,
            plan,
            who="ann",
            now_ms=self.clock.wall_ms(),
            signature_of=self.signature_of,
            alias_at=self.moves.current,
        )

    def signature_of(self, model: str, version: str) -> Signature | None:
        self.registry.version(model, version)
        return SIGNATURES[version]

    def run(self, controller: Controller, ticks: int = 12) -> None:
        for _ in range(ticks):
            self.clock.advance(3)
            controller.tick(self.clock.wall_ms())

    def rollout(self) -> Rollout:
        return commands.rollouts(self.state)[0]

    def end(self) -> dict[str, Any]:
        """How it ended, without times and without the random part of the id."""
        rollout = self.rollout()

        def plain(value: Any) -> Any:
            return str(value).replace(rollout.id, "ID")

        split_now = self.state.get("split", "churn")
        claim = self.state.get("rollout-of", "churn")
        return {
            "phase": rollout.phase,
            "reason": plain(rollout.reason),
            "revision": rollout.revision,
            "pending": rollout.pending,
            "split": plain(split_now and split_now.body),
            "claim": claim and claim.body,
            "champion": self.moves.current("model", "champion"),
            "history": [(line.before, line.after) for line in self.moves.history("model", "champion")],
            "verdicts": [plain((one.body["id"], one.body["answer"])) for one in self.state.entries("verdict")],
            "timeline": [
                plain((one.body["text"], one.body["evidence"]["key"])) for one in self.state.entries("timeline")
            ],
            "reference": self.references[-1:],
        }


def promoted(rollout: Rollout) -> Observed:
    return split(rollout.weight)


def fails_late(rollout: Rollout) -> Observed:
    return failing() if rollout.weight == 100.0 else split(rollout.weight)


STORIES: dict[str, tuple[Callable[[Rollout], Observed], Plan]] = {
    "promoted": (promoted, PLAN),
    "rolled back at 100 %": (fails_late, PLAN),
    "blue-green": (promoted, replace(PLAN, strategy=Strategy.BLUE_GREEN, keep_seconds=5.0)),
    "shadow": (lambda _: good(60_000, 60_000), replace(PLAN, strategy=Strategy.SHADOW, shadow=50.0)),
}


def told(story: str, dies_at: int = 0, late: bool = False) -> World:
    see, plan = STORIES[story]
    world = World(see)
    world.start(plan)
    world.dies_at, world.late = dies_at, late
    try:
        world.run(world.controller("a"))
    except Died:
        world.clock.advance(11)  # the lease of the dead one runs out
        world.run(world.controller("b"))
    return world


@pytest.mark.parametrize("story", STORIES)
def test_killed_at_every_step_it_ends_as_it_would_have(story: str) -> None:
    whole = told(story)
    expected = whole.end()
    assert expected["phase"] is (Phase.ABORTED if "rolled" in story else Phase.DONE)
    assert expected["champion"] == ("2" if story in ("promoted", "blue-green") else "1")
    assert expected["claim"] == {"rollout": ""}
    assert not expected["pending"]
    until = next(calls for ticks in range(1, 30) if (calls := told_calls(story, ticks)))
    assert until > 20, "there are many places to die at"
    for late in (False, True):
        for dies_at in range(1, until + 1):
            found = told(story, dies_at, late).end()
            assert found == expected, f"died {'after' if late else 'before'} call {dies_at} had its effect"


def told_calls(story: str, ticks: int) -> int:
    """Calls outward that the rollout took, once it ended within ``ticks``; 0 before."""
    see, plan = STORIES[story]
    world = World(see)
    world.start(plan)
    world.run(world.controller("a"), ticks)
    return world.calls if world.end()["claim"] == {"rollout": ""} else 0


def test_only_the_leader_acts_and_one_that_lost_the_lease_writes_nothing() -> None:
    world = World()
    world.start()
    first, second = world.controller("a"), world.controller("b")
    assert first.tick(world.clock.wall_ms())
    before = world.end()
    assert not second.tick(world.clock.wall_ms())
    assert world.end() == before

    def slow(rollout: Rollout) -> Observed:
        world.clock.advance(11)
        assert world.state.acquire(LEASE, "b", 10.0) is not None
        return split(rollout.weight)

    world.see = slow
    stalled = world.controller("a")
    world.clock.advance(3)
    assert not stalled.tick(world.clock.wall_ms()), "it lost the lease while it looked"
    assert world.end() == before


def test_the_lease_may_go_between_two_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.start()
    acquire, times = world.state.acquire, []

    def once(name: str, owner: str, seconds: float) -> Any:
        times.append(owner)
        return acquire(name, owner, seconds) if len(times) == 1 else None

    monkeypatch.setattr(world.state, "acquire", once)
    assert not world.controller().tick(world.clock.wall_ms())
    assert world.state.get("split", "churn") is None


def test_a_pointer_to_nothing_is_passed_over() -> None:
    world = World()
    world.state.put("rollout-of", "a-ghost", {"rollout": "gone"}, 0)
    world.start()
    world.run(world.controller())
    assert world.rollout().phase is Phase.DONE


def test_a_promotion_that_lost_the_race_restores_the_split() -> None:
    def see(rollout: Rollout) -> Observed:
        if rollout.weight == 100.0:
            world.registry.set_alias("model", "champion", "4")
        return split(rollout.weight)

    world = World(see)
    world.start()
    world.run(world.controller())
    assert world.rollout().phase is Phase.ABORTED
    assert "not promoted" in world.rollout().reason
    assert world.moves.current("model", "champion") == "4"
    assert from_body(TrafficSplit, world.state.get("split", "churn").body).shares[0].version == "1"
    assert world.end()["claim"] == {"rollout": ""}


def test_a_candidate_that_was_deleted_meanwhile_ends_the_rollout() -> None:
    def see(rollout: Rollout) -> Observed:
        world.registry._versions["model"] = [Version("model", "1")]
        return split(rollout.weight)

    world = World(see)
    world.start()
    world.run(world.controller())
    assert world.rollout().phase is Phase.ABORTED
    assert world.moves.current("model", "champion") == "1"


def test_what_is_down_holds_one_rollout_and_not_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def see(rollout: Rollout) -> Observed:
        if rollout.plan.endpoint == "a-broken":
            raise RegistryUnreachable("no windows")
        return split(rollout.weight)

    world = World(see)
    world.start(replace(PLAN, endpoint="a-broken"))
    world.start()
    world.run(world.controller())
    phases = {one.plan.endpoint: one.phase for one in commands.rollouts(world.state)}
    assert phases == {"a-broken": Phase.CANARY, "churn": Phase.DONE}


def test_a_registry_that_is_down_at_the_promotion_is_waited_for() -> None:
    world = World()
    world.start()
    controller = world.controller()
    while world.rollout().weight < 100.0 or world.rollout().pending:
        world.run(controller, 1)
    world.registry.down = True
    world.run(controller, 5)
    assert world.rollout().phase is Phase.PROMOTING
    assert world.rollout().pending[0].move_alias
    world.registry.down = False
    world.run(controller, 5)
    assert (world.rollout().phase, world.moves.current("model", "champion")) == (Phase.DONE, "2")


def test_commands_are_noted_and_granted_at_the_next_tick() -> None:
    world = World(lambda _: Observed())
    world.start()
    controller = world.controller()
    world.run(controller, 2)
    commands.pause(world.state, "churn", who="bob", now_ms=1)
    world.run(controller, 1)
    assert commands.running(world.state, "churn").phase is Phase.PAUSED
    commands.resume(world.state, "churn", who="bob", now_ms=1)
    world.run(controller, 1)
    assert commands.running(world.state, "churn").phase is Phase.CANARY
    commands.promote(world.state, "churn", who="bob", now_ms=1, why="trust me")
    world.run(controller, 3)
    verdict = world.state.entries("verdict")[-1].body
    assert (verdict["forced"], verdict["answer"], verdict["who"]) == (True, "inconclusive", "bob")
    with pytest.raises(NotFound, match="no rollout runs"):
        commands.abort(world.state, "churn", who="bob", now_ms=1)


def test_abort_by_a_person() -> None:
    world = World(lambda _: Observed())
    world.start()
    world.run(world.controller(), 2)
    commands.abort(world.state, "churn", who="bob", now_ms=1, why="not today")
    world.run(world.controller(), 3)
    assert (world.rollout().phase, world.rollout().reason) == (Phase.ABORTED, "bob asked to abort: not today")


def test_a_wish_between_look_and_store_is_not_lost() -> None:
    def see(rollout: Rollout) -> Observed:
        if rollout.wish is None and not asked:
            asked.append(1)
            commands.abort(world.state, "churn", who="bob", now_ms=1)
        return split(rollout.weight)

    asked: list[int] = []
    world = World(see)
    world.start()
    world.run(world.controller(), 6)
    assert world.rollout().phase is Phase.ABORTED


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"candidate": "9"}, SourceNotFound, "'9'"),
        ({"candidate": "1"}, UsageError, "champion already"),
        ({"candidate": "3"}, UsageError, r"input 'x' had shape \[-1, 4\].*blue-green"),
        ({"candidate": "3", "strategy": Strategy.BLUE_GREEN, "shadow": 5.0}, UsageError, "leave shadow out"),
        ({"champion": "4"}, UsageError, "is 1 and not 4"),
        ({"alias": "nobody"}, UsageError, "is nothing and not 1"),
    ],
)
def test_a_start_that_cannot_be_is_refused_and_changes_nothing(
    change: dict[str, Any], error: type[Exception], said: str
) -> None:
    world = World()
    with pytest.raises(error, match=said):
        world.start(replace(PLAN, **change))
    assert world.state.all("rollout") == world.state.all("rollout-of") == []


def test_an_incompatible_version_may_go_blue_green() -> None:
    assert World().start(replace(PLAN, candidate="3", strategy=Strategy.BLUE_GREEN)).phase is Phase.SHADOW


def test_one_rollout_an_endpoint() -> None:
    world = World()
    first = world.start()
    with pytest.raises(Busy, match=first.id):
        world.start()
    world.run(world.controller())
    world.registry.set_alias("model", "champion", "1")
    assert world.start().id != first.id


def test_two_that_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    put = world.state.put

    def between(kind: str, *args: Any, **named: Any) -> Any:
        if kind == "rollout":
            monkeypatch.setattr(world.state, "put", put)
            world.start()
        return put(kind, *args, **named)

    monkeypatch.setattr(world.state, "put", between)
    with pytest.raises(Busy, match="same moment"):
        world.start()
    assert sorted(str(one.phase) for one in commands.rollouts(world.state)) == ["aborted", "canary"]


def test_a_command_gives_up_when_the_rollout_never_holds_still(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.start()

    def moved(*args: Any, **named: Any) -> Any:
        raise Conflict("moved")

    monkeypatch.setattr(world.state, "put", moved)
    with pytest.raises(Conflict, match="changed 5 times"):
        commands.pause(world.state, "churn", who="bob", now_ms=1)


def test_moves_of_the_registry_are_what_the_controller_takes() -> None:
    """``lost`` is for a race only: the mover raises AliasMoved for it."""
    world = World()
    with pytest.raises(AliasMoved):
        world.moves.move("model", "champion", "2", expected="3", why="x")
    stored = to_body(ask(world.start(), Wish("abort", "bob")))
    assert from_body(Rollout, stored).wish == Wish("abort", "bob")
