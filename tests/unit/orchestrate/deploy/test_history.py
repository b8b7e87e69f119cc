"""Going back to a deployment that was ready, and what is remembered of those."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fairlead.contracts.errors import FairleadError, NotReady, ObjectRejected, ObjectTooLarge, UsageError
from fairlead.contracts.target import Body, Note, Ref
from fairlead.orchestrate.deploy import history
from fairlead.orchestrate.deploy.history import KEPT, History
from fairlead.orchestrate.deploy.run import Asked, Deployment, Outcome
from fairlead.orchestrate.deploy.waiting import Surroundings
from fairlead.testing.clock import ManualClock
from fairlead.testing.targets import API, MemoryTarget, thing

ONE = [thing("a", "1"), thing("b", "1")]
TWO = [thing("a", "2"), thing("c", "2")]


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.target = MemoryTarget(self.clock)

    def deployment(self, **asked: Any) -> Deployment:
        around = Surroundings(self.clock, self.clock.advance, lambda _: None, lambda: False, "one", "ada@desk")
        return Deployment(self.target, Asked("churn", **{"timeout": 30.0, **asked}), around)

    def deploy(self, bodies: list[dict[str, Any]], **asked: Any) -> Outcome:
        work = self.deployment(**asked)
        return work.run(work.plan(bodies))

    def back(self, number: int = 0) -> Outcome:
        work = self.deployment(prune=True)
        revision, plan = work.earlier(number)
        return work.run(plan, revision.number)

    def values(self) -> dict[str, str]:
        seen = {name: self.target.observe(Ref(API, "Thing", name)) for name in "abcd"}
        return {name: one.body["value"] for name, one in seen.items() if one}

    def history(self) -> History:
        return self.deployment().open().history


def test_back_to_the_deployment_before_and_forth_again() -> None:
    world = World()
    assert world.deploy(ONE).revision == 1
    assert world.deploy(TWO).revision == 2
    assert world.values() == {"a": "2", "b": "1", "c": "2"}  # b is kept: nobody asked to prune
    done = world.back()
    assert (done.revision, [ref.name for ref in done.pruned]) == (3, ["c"])
    assert world.values() == {"a": "1", "b": "1"}
    assert world.back().revision == 4
    assert world.values() == {"a": "2", "b": "1", "c": "2"}
    assert [(one.number, one.back_to, one.who) for one in world.history().revisions] == [
        (1, 0, "ada@desk"), (2, 0, "ada@desk"), (3, 1, "ada@desk"), (4, 2, "ada@desk")]  # fmt: skip


def test_back_to_one_by_its_number() -> None:
    world = World()
    for value in "123":
        world.deploy([thing("a", value)])
    world.back(1)
    assert world.values() == {"a": "1"}
    with pytest.raises(UsageError, match=r"--to 9: deployment 'churn' has kept 1, 2, 3, 4"):
        world.back(9)


def test_what_was_there_then_and_is_none_of_its_objects_stays() -> None:
    world = World()
    world.deploy([*ONE, thing("d", "1")])
    world.deploy(ONE)
    world.deploy(TWO)
    world.back()
    assert world.values() == {"a": "1", "b": "1", "d": "1"}


def test_there_is_nothing_to_go_back_to() -> None:
    world = World()
    with pytest.raises(UsageError, match="has no earlier deployment that was ready"):
        world.back()
    world.deploy(ONE)
    world.deploy(ONE)  # the same again is no other one
    with pytest.raises(UsageError, match="has no earlier deployment that was ready"):
        world.back()


def test_what_was_not_ready_is_none_of_them() -> None:
    world = World()
    world.deploy(ONE)
    world.target.failing = {"c"}
    with pytest.raises(NotReady, match="rolled back"):
        world.deploy(TWO)
    assert [one.number for one in world.history().revisions] == [1]
    world.target.failing = set()
    world.deploy(TWO)
    world.target.failing = {"b"}
    with pytest.raises(NotReady, match="Thing/b: it fails; rolled back"):
        world.deploy([thing("b", "9")])
    world.target.failing = set()
    world.back()
    assert world.values()["a"] == "1"


def test_going_back_that_fails_is_put_back_too() -> None:
    world = World()
    world.deploy(ONE)
    world.deploy(TWO)
    world.target.failing = {"a"}
    with pytest.raises(NotReady, match="rolled back to what was there"):
        world.back()
    world.target.failing = set()
    assert world.values() == {"a": "2", "b": "1", "c": "2"}
    assert [one.number for one in world.history().revisions] == [1, 2]


def test_the_newest_are_kept_and_their_bodies_once() -> None:
    world = World()
    for value in range(KEPT + 5):
        world.deploy([thing("a", str(value)), thing("b", "same")])
    kept = world.history()
    assert [one.number for one in kept.revisions] == list(range(6, KEPT + 6))
    assert len(kept.bodies) == KEPT + 1
    assert {one for each in kept.revisions for one in each.objects} == set(kept.bodies)


class Narrow(MemoryTarget):
    """Takes notes of so many characters."""

    def write(self, note: Note, text: str) -> Note:
        if len(text) > 4_000:
            raise ObjectTooLarge("it is too large")
        return super().write(note, text)


def test_where_there_is_no_room_the_oldest_are_forgotten() -> None:
    world = World()
    world.target = Narrow(world.clock)
    for value in "123456":
        world.deploy([thing("a", value * 600)])
    numbers = [one.number for one in world.history().revisions]
    assert numbers[-1] == 6
    assert 2 <= len(numbers) < 6
    world.back()
    assert world.values() == {"a": "5" * 600}


def test_a_digest_is_that_of_the_objects() -> None:
    bodies: list[Body] = [thing(name, "1") for name in "abcd"]
    shuffled = random.Random(7).sample(bodies, 4)
    assert history.digest(bodies) == history.digest(shuffled) != history.digest(bodies[:3])
    again: list[Body] = [dict(reversed(list(one.items()))) for one in bodies]
    assert history.digest(again) == history.digest(bodies)


def test_what_is_refused_for_another_reason_is_no_want_of_room() -> None:
    world = World()
    for value in "123":
        world.deploy([thing("a", value)])

    def refuses(method: str, name: str) -> None:
        if method == "write" and writes.append(name) is None and len(writes) == 2:
            raise ObjectRejected("a webhook does not take it")

    writes: list[str] = []
    world.target.before = refuses
    with pytest.raises(FairleadError, match="a webhook does not take it"):
        world.deploy([thing("a", "4")])
    world.target.before = None
    assert [one.number for one in world.history().revisions] == [1, 2, 3]
