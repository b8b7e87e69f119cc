"""A deployment over a target in memory: killed at every step, cut off, raced, stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairlead.contracts.errors import (
    Busy,
    LeaseLost,
    NotReady,
    ObjectConflict,
    ObjectRejected,
    TargetError,
    TargetForbids,
    TargetUnreachable,
    UsageError,
)
from fairlead.contracts.target import Body, Change, Difference, Ref
from fairlead.orchestrate.deploy import planning
from fairlead.orchestrate.deploy.journal import SILENT_MS, Record, read
from fairlead.orchestrate.deploy.run import Asked, Deployment, Outcome
from fairlead.orchestrate.deploy.waiting import Surroundings
from fairlead.testing.clock import ManualClock
from fairlead.testing.targets import API, MemoryTarget, thing

OLD = [thing("a", "1"), thing("b", "1")]
NEW = [thing("a", "2"), thing("b", "2"), thing("c", "2")]


class Died(BaseException):
    """The process is gone."""


class World:
    def __init__(self, ready_after: float = 0.0) -> None:
        self.clock = ManualClock()
        self.target = MemoryTarget(self.clock, ready_after)
        self.lines: list[str] = []
        self.stopped = False

    def deployment(self, holder: str = "one", **asked: Any) -> Deployment:
        around = Surroundings(self.clock, self.clock.advance, self.lines.append, lambda: self.stopped, holder)
        return Deployment(self.target, Asked("churn", **{"timeout": 30.0, **asked}), around)

    def deploy(self, bodies: list[dict[str, Any]], holder: str = "one", **asked: Any) -> Outcome:
        work = self.deployment(holder, **asked)
        return work.run(work.plan(bodies))

    def values(self) -> dict[str, str]:
        seen = {name: self.target.observe(Ref(API, "Thing", name)) for name in "abcd"}
        return {name: one.body["value"] for name, one in seen.items() if one}

    def record(self) -> Record:
        return read(self.target.note("churn").text)


def undone(world: World, holder: str = "two") -> list[Ref]:
    work = world.deployment(holder)
    work.open()
    return work.undo()


@pytest.fixture
def world() -> World:
    made = World()
    made.deploy(OLD)
    return made


def test_all_is_applied_and_waited_for() -> None:
    world = World(ready_after=5.0)
    outcome = world.deploy(OLD)
    assert [one.change for one in outcome.changed] == [Change.CREATE, Change.CREATE]
    assert outcome.seconds == pytest.approx(5.0)
    assert world.values() == {"a": "1", "b": "1"}
    assert world.record().before == ()
    assert world.record().holder == ""
    assert [ref.name for ref in world.record().made] == ["a", "b"]
    assert world.lines == ["created  Thing/a", "created  Thing/b", "waiting  Thing/a: it is not there yet",
                           "waiting  Thing/b: it is not there yet", "ready    Thing/a", "ready    Thing/b"]  # fmt: skip


def test_the_same_again_changes_nothing(world: World) -> None:
    asked: list[str] = []
    world.target.before = lambda method, name: asked.append(method)
    assert world.deploy(OLD).changed == ()
    assert "apply" not in asked


def test_what_fails_is_rolled_back(world: World) -> None:
    world.target.failing = {"b"}
    with pytest.raises(NotReady, match=r"Thing/b: it fails; rolled back to what was there"):
        world.deploy(NEW)
    assert world.values() == {"a": "1", "b": "1"}
    assert [ref.name for ref in world.record().made] == ["a", "b"]
    assert world.record().before == ()


def test_what_does_not_come_is_rolled_back(world: World) -> None:
    world.target.ready_after = 60.0
    began = world.clock.now()
    with pytest.raises(NotReady, match=r"not ready after 30 s: Thing/a: it is not there yet.*rolled back"):
        world.deploy(NEW)
    assert world.values() == {"a": "1", "b": "1"}
    assert world.clock.now() - began == pytest.approx(60.0)  # as long again for what was put back
    assert any("what was put back is not ready after 30 s" in line for line in world.lines)


def test_what_is_forbidden_halfway_is_rolled_back(world: World) -> None:
    world.target.forbidden = {"c"}
    with pytest.raises(NotReady, match=r"Thing/c is forbidden; rolled back") as caught:
        world.deploy(NEW)
    assert isinstance(caught.value.__cause__, TargetForbids)
    assert world.values() == {"a": "1", "b": "1"}


def test_somebody_stops_it(world: World) -> None:
    world.target.ready_after = 60.0
    work = world.deployment()
    plan = work.plan(NEW)
    world.target.before = lambda method, name: setattr(
        world, "stopped", world.stopped or (method, name) == ("apply", "b")
    )
    with pytest.raises(NotReady, match="stopped; rolled back"):
        work.run(plan)
    assert world.values() == {"a": "1", "b": "1"}


def steps_of(bodies: list[dict[str, Any]]) -> int:
    world = World()
    world.deploy(OLD)
    asked: list[str] = []
    world.target.before = lambda method, name: asked.append(method)
    world.deploy(bodies)
    return len(asked)


STEPS = steps_of(NEW)


@pytest.mark.parametrize("at", range(1, STEPS + 1))
@pytest.mark.parametrize("then", ["rollback", "forward", "failing"])
def test_killed_at_every_step(world: World, at: int, then: str) -> None:
    calls = 0

    def dies(method: str, name: str) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Died

    world.target.before = dies
    with pytest.raises(Died):
        world.deploy(NEW)
    world.target.before = None
    touched = world.record().before != ()
    if world.record().holder:
        with pytest.raises(Busy, match="one is at work"):
            world.deployment("two").plan(NEW)
    world.clock.advance(SILENT_MS / 1000)
    if then == "rollback" and not touched:
        with pytest.raises(UsageError, match="was not interrupted"):
            undone(world)
        return
    if then == "rollback":
        undone(world)
        assert world.values() == {"a": "1", "b": "1"}
    elif then == "forward":
        world.deploy(NEW, "two")
        assert world.values() == {"a": "2", "b": "2", "c": "2"}
    else:  # what the next one goes back to is what was there before the one that was killed
        world.target.failing = {"c"}
        with pytest.raises(NotReady, match="rolled back"):
            world.deploy([*NEW[:2], thing("c", "3")], "two")
        assert world.values() == {"a": "1", "b": "1"}
    assert world.record().before == ()
    assert world.record().holder == ""


def test_nothing_moves_while_the_line_is_down(world: World) -> None:
    world.target.ready_after = 3.0
    work = world.deployment()
    plan = work.plan(NEW)
    looks = 0

    def cut(method: str, name: str) -> None:
        nonlocal looks
        looks += method == "observe"
        world.target.down = 3 < looks < 12

    world.target.before = cut
    work.run(plan)
    assert world.values() == {"a": "2", "b": "2", "c": "2"}
    assert any("does not answer" in line for line in world.lines)


def test_a_line_that_stays_down_is_said_and_undone_later(world: World) -> None:
    world.target.ready_after = 3.0
    work = world.deployment()
    plan = work.plan(NEW)
    applied: list[str] = []

    def cut(method: str, name: str) -> None:
        world.target.down = world.target.down or (method == "observe" and len(applied) == len(NEW))
        applied.extend([name] if method == "apply" else [])

    world.target.before = cut
    with pytest.raises(
        NotReady, match=r"not rolled back: .*does not answer; .*: not tried; `fairlead deploy --rollback --name churn`"
    ):
        work.run(plan)
    world.target.before, world.target.down = None, False
    assert world.values() == {"a": "2", "b": "2", "c": "2"}
    world.clock.advance(SILENT_MS / 1000)
    undone(world)
    assert world.values() == {"a": "1", "b": "1"}


def test_another_process_took_over(world: World) -> None:
    world.target.ready_after = 20.0

    def another(seconds: float) -> None:
        note = world.target.note("churn")
        world.target.write(note, note.text)
        world.clock.advance(seconds)

    around = Surroundings(world.clock, another, world.lines.append, lambda: False, "one")
    work = Deployment(world.target, Asked("churn", timeout=30.0), around)
    plan = work.plan(NEW)
    with pytest.raises(LeaseLost, match="nothing more is touched"):
        work.run(plan)
    assert world.values() == {"a": "2", "b": "2", "c": "2"}


def test_what_is_gone_from_the_files_is_taken_away_only_when_asked(world: World) -> None:
    kept = world.deploy(OLD[:1])
    assert kept.pruned == ()
    assert world.values() == {"a": "1", "b": "1"}
    plan = world.deployment().plan(OLD[:1])
    assert planning.lines(plan, prune=False)[-1] == "keep    Thing/b (no longer in the files; --prune takes it away)"
    assert planning.lines(plan, prune=True)[-1] == "remove  Thing/b (no longer in the files)"
    pruned = world.deploy(OLD[:1], prune=True)
    assert [ref.name for ref in pruned.pruned] == ["b"]
    assert world.values() == {"a": "1"}


def test_what_another_made_is_never_taken_away(world: World) -> None:
    world.target.apply(thing("b", "theirs"), "other")
    world.deploy(OLD[:1], prune=True)
    assert world.values() == {"a": "1", "b": "theirs"}


def test_what_another_made_is_not_touched_unless_adopted(world: World) -> None:
    world.target.apply(thing("d", "theirs"), "other")
    with pytest.raises(ObjectConflict, match=r"Thing/d: made by deployment other, not by deployment 'churn'; --adopt"):
        world.deploy([*OLD, thing("d", "ours")])
    assert world.values()["d"] == "theirs"
    world.target.failing = {"d"}
    with pytest.raises(NotReady, match="rolled back"):
        world.deploy([*OLD, thing("d", "ours")], adopt=True)
    found = world.target.observe(Ref(API, "Thing", "d"))
    assert found is not None
    assert (found.body["value"], found.owner) == ("theirs", "other")


def test_a_namespace_is_left_where_it_is() -> None:
    world = World()
    world.target.failing = {"a"}
    with pytest.raises(NotReady, match="rolled back"):
        world.deploy([thing("ml", kind="Namespace"), thing("a")])
    assert world.target.observe(Ref(API, "Namespace", "ml")) is not None
    assert [ref.kind for ref in world.record().made] == ["Namespace"]


def lost(world: World, method: str, numbers: set[int]) -> None:
    """Answers to these calls of a method get lost; the calls have had their effect."""
    calls, plain = 0, getattr(world.target, method)

    def asked(*words: Any) -> Any:
        nonlocal calls
        calls += 1
        found = plain(*words)
        if calls in numbers:
            raise TargetUnreachable("the line was cut")
        return found

    setattr(world.target, method, asked)


@pytest.mark.parametrize("numbers", [{1}, {2}, {3}, {1, 2}, {2, 3, 4}, {99}])
def test_a_lost_answer_to_what_is_remembered_is_no_other_process(world: World, numbers: set[int]) -> None:
    world.target.ready_after = 12.0
    work = world.deployment("two")
    plan = work.plan(NEW)
    lost(world, "write", numbers)
    work.run(plan)
    assert world.values() == {"a": "2", "b": "2", "c": "2"}
    assert (world.record().holder, world.record().before) == ("", ())


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_target_that_does_not_answer_for_a_while_is_asked_again(world: World, number: int) -> None:
    """As while an API server is replaced: applying the same again changes nothing twice."""
    lost(world, "apply", set(range(number, number + 5)))
    world.deploy(NEW)
    assert world.values() == {"a": "2", "b": "2", "c": "2"}


def test_putting_back_outlasts_a_line_that_is_down_for_a_while(world: World) -> None:
    world.target.failing = {"b"}
    lost(world, "restore", {1, 2, 3})
    with pytest.raises(NotReady, match="rolled back to what was there"):
        world.deploy(NEW)
    assert world.values() == {"a": "1", "b": "1"}


def test_two_begin_at_once(world: World) -> None:
    first, second = world.deployment("one"), world.deployment("two")
    plans = first.plan(NEW), second.plan([thing("a", "3")])
    first.run(plans[0])
    with pytest.raises(Busy, match="begun by another process while this one planned; nothing was changed"):
        second.run(plans[1])
    assert world.values() == {"a": "2", "b": "2", "c": "2"}


def test_what_somebody_removes_meanwhile_is_made_once_more(world: World) -> None:
    world.target.ready_after = 5.0
    work = world.deployment()
    plan = work.plan(NEW)

    def removed(seconds: float) -> None:
        found = world.target.observe(Ref(API, "Thing", "b"))
        if found is not None and times:
            times.pop()
            world.target.remove(found)
        world.clock.advance(seconds)

    times = [1]
    around = Surroundings(world.clock, removed, world.lines.append, lambda: False, "one")
    work = Deployment(world.target, Asked("churn", timeout=30.0), around)
    work.run(work.plan(NEW))
    assert world.values() == {"a": "2", "b": "2", "c": "2"}
    times = [1, 2]
    work = Deployment(world.target, Asked("churn", timeout=30.0), around)
    plan = work.plan([thing("a", "4"), thing("b", "4")])
    with pytest.raises(NotReady, match="Thing/b: somebody removed it meanwhile; rolled back to what was there"):
        work.run(plan)
    assert world.values() == {"a": "2", "b": "2", "c": "2"}


def test_what_cannot_be_removed_is_said_and_the_rest_is_good(world: World) -> None:
    def refuses(method: str, name: str) -> None:
        if (method, name) == ("remove", "b"):
            raise TargetForbids("Thing/b is forbidden")

    world.target.before = refuses
    with pytest.raises(TargetError, match="all is ready, and not removed: Thing/b: Thing/b is forbidden"):
        world.deploy(OLD[:1], prune=True)
    assert (world.record().holder, world.record().before) == ("", ())  # nothing to undo: it is a good one
    assert [ref.name for ref in world.record().made] == ["a", "b"]
    world.target.before = None
    assert [ref.name for ref in world.deploy(OLD[:1], prune=True).pruned] == ["b"]


class Judging(MemoryTarget):
    """A target where fields have owners, and namespaces are made first."""

    def diff(self, body: Body, owner: str) -> Difference:
        found = super().diff(body, owner)
        taken = {"value": "an autoscaler"} if body["metadata"]["name"] == "a" else {}
        return replace(found, taken=taken, awaits="ml" if body["metadata"]["name"] == "b" else "")


def test_fields_of_others_and_namespaces_that_are_missing_are_found_before_anything_is_applied() -> None:
    world = World()
    world.target = Judging(world.clock)
    with pytest.raises(ObjectConflict, match=r"Thing/a: value is set by an autoscaler; leave it out .* --adopt"):
        world.deploy(OLD[:1])
    with pytest.raises(ObjectRejected, match="Thing/b: there is no namespace 'ml'; make it, or name another"):
        world.deploy(OLD[1:])
    assert world.values() == {}
    world.deploy([thing("ml", kind="Namespace"), *OLD], adopt=True)
    assert world.values() == {"a": "1", "b": "1"}
