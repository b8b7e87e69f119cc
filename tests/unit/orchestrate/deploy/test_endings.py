"""How deployments end: killed while they remove, overtaken, out of time, and when putting back goes wrong."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.contracts.errors import Busy, LeaseLost, NotReady, TargetError, TargetForbids
from fairlead.orchestrate.deploy.journal import SILENT_MS, Record, read
from fairlead.orchestrate.deploy.run import Asked, Deployment, Outcome
from fairlead.orchestrate.deploy.waiting import Surroundings
from fairlead.testing.clock import ManualClock
from fairlead.testing.targets import MemoryTarget, thing

OLD = [thing("a", "1"), thing("b", "1")]


class Died(BaseException):
    """The process is gone."""


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.target = MemoryTarget(self.clock)
        self.lines: list[str] = []
        self.stopped = self.refuses = False
        self.deploy(OLD)

    def deployment(self, holder: str = "one", **asked: Any) -> Deployment:
        around = Surroundings(self.clock, self.clock.advance, self.lines.append, lambda: self.stopped, holder)
        return Deployment(self.target, Asked("churn", **{"timeout": 30.0, **asked}), around)

    def deploy(self, bodies: list[dict[str, Any]], holder: str = "one", **asked: Any) -> Outcome:
        work = self.deployment(holder, **asked)
        return work.run(work.plan(bodies))

    def values(self) -> dict[str, str]:
        found = {ref.name: body["value"] for ref, (body, *_) in self.target._objects.items()}
        return dict(sorted(found.items()))

    def record(self) -> Record:
        return read(self.target._notes["churn"].text)


@pytest.fixture
def world() -> World:
    return World()


def test_killed_while_it_removes_it_is_a_good_one_with_nothing_to_put_back(world: World) -> None:
    def dies(method: str, name: str) -> None:
        if (method, name) == ("remove", "b"):
            raise Died

    world.target.before = dies
    with pytest.raises(Died):
        world.deploy([thing("a", "2")], prune=True)
    world.target.before = None
    assert world.record().before == ()
    assert [one.number for one in world.record().history.revisions] == [1, 2]
    world.clock.advance(SILENT_MS / 1000)
    done = world.deploy([thing("a", "2")], "two", prune=True)
    assert ([ref.name for ref in done.pruned], done.revision, world.values()) == (["b"], 2, {"a": "2"})


def test_who_slept_and_was_overtaken_touches_nothing_more(world: World) -> None:
    work = world.deployment()
    plan = work.plan([thing("a", "2"), thing("b", "2")])

    def sleeps(method: str, name: str) -> None:
        if (method, name) == ("apply", "a"):
            world.target.before = None
            world.clock._start_ms += SILENT_MS  # the monotonic clock stands still meanwhile
            undone = world.deployment("two")
            undone.open()
            undone.undo()

    world.target.before = sleeps
    with pytest.raises(LeaseLost):
        work.run(plan)
    assert world.values() == {"a": "2", "b": "1"}  # a was under way; b was not begun


def test_what_another_took_over_meanwhile_is_not_put_back(world: World) -> None:
    work = world.deployment()
    plan = work.plan([thing("a", "2"), thing("b", "2")])

    def takes(method: str, name: str) -> None:
        if (method, name) == ("apply", "b"):
            world.target.before, world.target.failing = None, {"b"}
            world.target.apply(thing("a", "theirs"), "other")

    world.target.before = takes
    with pytest.raises(NotReady, match="not rolled back: Thing/a: deployment 'other' has taken it over"):
        work.run(plan)
    assert world.values() == {"a": "theirs", "b": "1"}


def test_the_rest_can_be_undone_at_once(world: World) -> None:
    def refuses(method: str, name: str) -> None:
        if (method, name) == ("restore", "a"):
            raise TargetForbids("Thing/a is forbidden")

    world.target.before, world.target.failing = refuses, {"b"}
    with pytest.raises(NotReady, match="not rolled back: Thing/a: Thing/a is forbidden; `fairlead deploy --rollback"):
        world.deploy([thing("a", "2"), thing("b", "2")])
    world.target.before = None
    work = world.deployment("two")
    work.open()
    work.undo()
    assert world.values() == {"a": "1", "b": "1"}


def test_each_look_may_be_the_last(world: World) -> None:
    bodies = [thing(name, "2") for name in "abcd"]
    work = world.deployment()
    plan = work.plan(bodies)
    looked: list[str] = []

    def slow(method: str, name: str) -> None:
        world.refuses = world.refuses or (method, name) == ("apply", "d")  # from here on it looks
        if method == "observe" and world.refuses and not world.stopped:
            looked.append(name)
            world.clock.advance(9.0)
            world.stopped = name == "b"

    world.target.before = slow
    with pytest.raises(NotReady, match="stopped; rolled back"):
        work.run(plan)
    assert looked == ["a", "b"]
    assert world.values() == {"a": "1", "b": "1"}


def test_a_target_that_stays_silent_is_given_up_once(world: World) -> None:
    undone: list[str] = []

    def silent(method: str, name: str) -> None:
        if world.target.down and method in ("observe", "restore", "remove"):
            world.clock.advance(61.0)
            undone.append(name)
        world.target.down = world.target.down or (method, name) == ("apply", "c")

    world.target.before = silent
    with pytest.raises(NotReady, match="not rolled back: Thing/c: .*; Thing/b: not tried; Thing/a: not tried; `"):
        world.deploy([thing(name, "2") for name in "abc"])
    assert set(undone) == {"c"}


def test_its_time_is_that_of_all_objects_together(world: World) -> None:
    def slow(method: str, name: str) -> None:
        if (method, name) in {("apply", "a"), ("apply", "b")}:
            world.clock.advance(12.0)

    world.target.before, world.target.ready_after = slow, 10.0
    with pytest.raises(NotReady, match="not ready after 30 s: Thing/b: it is not there yet; rolled back"):
        world.deploy([thing("a", "2"), thing("b", "2")])
    world.target.ready_after = 5.0
    assert world.deploy([thing("a", "2"), thing("b", "2")]).seconds == pytest.approx(29.0)


def test_why_it_failed_is_said_also_when_the_end_cannot_be_remembered(world: World) -> None:
    def refuses(method: str, name: str) -> None:
        world.refuses = world.refuses or method == "restore"
        if method == "write" and world.refuses:
            raise TargetForbids("notes are forbidden")

    world.target.before, world.target.failing = refuses, {"b"}
    with pytest.raises(NotReady, match="Thing/b: it fails; rolled back .* not be remembered: notes are forbidden; `"):
        world.deploy([thing("a", "2"), thing("b", "2")])
    assert world.values() == {"a": "1", "b": "1"}


@pytest.mark.parametrize("name", ["b", "c"])
def test_what_another_made_since_it_was_compared_is_not_overruled(world: World, name: str) -> None:
    work = world.deployment()
    plan = work.plan([thing(one, "2") for one in "abc"])
    world.target.apply(thing(name, "theirs"), "other")
    with pytest.raises(NotReady, match=f"Thing/{name}: made by deployment other meanwhile, not by deployment 'churn'"):
        work.run(plan)
    assert world.values()[name] == "theirs"
    assert world.values()["a"] == "1"


def test_who_only_looks_need_not_wait_for_who_is_at_work(world: World) -> None:
    def looks(method: str, name: str) -> None:
        if (method, name) == ("apply", "b"):
            world.target.before = None
            with pytest.raises(Busy):
                world.deployment("two").open()
            found = world.deployment("two", looks=True).plan([thing("a", "3")])
            seen.extend(one.ref.name for one in found.changed)

    seen: list[str] = []
    world.target.before = looks
    world.deploy([thing("a", "2"), thing("b", "2")])
    assert seen == ["a"]


@pytest.mark.parametrize("said", ["no record", '{"made": 1}'])
def test_a_note_of_another_is_said_to_be_one(said: str) -> None:
    with pytest.raises(TargetError, match="what is remembered of this deployment cannot be read"):
        read(said)
