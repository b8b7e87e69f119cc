"""Routes that agree with splits: promoted, rolled back, raced, cut off, and two controllers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sights import failing, split

from fairlead.contracts.errors import ObjectConflict, TargetError, TargetForbids, UsageError
from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.contracts.state import Lease
from fairlead.contracts.stores import Version
from fairlead.contracts.target import Ref, Route
from fairlead.kit.codec.records import from_body, to_body
from fairlead.orchestrate import commands, routing
from fairlead.orchestrate.controller import LEASE, Controller
from fairlead.orchestrate.observed import Observed
from fairlead.orchestrate.plan import Plan
from fairlead.orchestrate.rollout import Phase, Rollout
from fairlead.orchestrate.routing import Routed, Routing, due
from fairlead.package.registry import Moves
from fairlead.serve.split import of_arm
from fairlead.testing import targets
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState
from fairlead.testing.stores import MemoryAliasHistory, MemoryRegistry
from fairlead.testing.targets import MemoryTarget

PLAN = Plan("churn", "model", "1", "2", steps=(5.0, 50.0, 100.0), min_seconds=1.0, settle_seconds=1.0)


class World:
    """A store, a target with one route, a controller, and a server of each arm. ``silent``: arms whose servers are
    gone."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.state = MemoryState(self.clock)
        self.target = MemoryTarget(self.clock)
        self.target.apply(targets.route("churn", "churn"), "churn")
        registry = MemoryRegistry()
        registry._versions["model"] = [Version("model", str(n)) for n in range(1, 3)]
        registry.set_alias("model", "champion", "1")
        self.moves = Moves(registry, MemoryAliasHistory(), self.clock, "controller")
        self.silent: set[str] = set()
        self.candidate_fails = False
        self.weights: list[dict[str, int]] = []
        self.controller = Controller(
            self.state, observe=self.see, moves=self.moves, update_reference=lambda *_: None, owner="a"
        )
        self.routing = Routing(self.state, self.target, self.clock)

    def see(self, rollout: Rollout) -> Observed:
        known = routing.routed(self.state, "churn")
        document = self.state.get("split", "churn")
        if known is None or document is None or known.revision != document.revision:
            return Observed()
        return failing() if self.candidate_fails else split(rollout.weight)

    def fence(self) -> Lease:
        lease = self.state.acquire(LEASE, "a", 10.0)
        assert lease is not None
        return lease

    def serve(self) -> None:
        """What servers of both arms do of a split."""
        found = self.state.get("split", "churn")
        for arm in {"champion", "candidate"} - self.silent if found else ():
            key = f"churn/{arm}-pod.0"
            before = self.state.get("applied", key)
            body = {"revision": found.revision, "versions": [], "error": "", "arm": arm, "at_ms": 0}
            if before is None or before.body != body:
                self.state.put("applied", key, body, before.revision if before else 0)

    def tick(self) -> None:
        self.controller.tick(self.clock.wall_ms())
        self.routing.turns(["churn"], self.fence)
        if not self.weights or self.weights[-1] != self.now():
            self.weights.append(self.now())
        self.serve()
        self.clock.advance(1.0)

    def now(self) -> dict[str, int]:
        found = self.target.observe(Ref(targets.API, "Route", "churn"))
        assert found is not None
        return dict(found.body["weights"])

    def start(self) -> None:
        commands.start(
            self.state, PLAN, who="ada", now_ms=self.clock.wall_ms(), signature_of=lambda *_: None,
            alias_at=self.moves.current,
        )  # fmt: skip

    def rollout(self) -> Rollout:
        return commands.rollouts(self.state)[0]


@pytest.fixture
def world() -> World:
    made = World()
    made.tick()
    made.start()
    return made


def shares(champion: int, candidate: int) -> dict[str, int]:
    return {"champion": champion, "candidate": candidate}


def test_a_candidate_that_is_good_is_promoted_step_by_step(world: World) -> None:
    for _ in range(40):
        world.tick()
    assert world.rollout().phase is Phase.DONE
    assert world.weights == [shares(100, 0), shares(95, 5), shares(50, 50), shares(0, 100), shares(100, 0)]
    assert world.moves.current("model", "champion") == "2"
    assert dict(routing.routed(world.state, "churn").versions) == {"champion": "2", "candidate": "2"}


def test_a_candidate_that_fails_is_rolled_back_at_once(world: World) -> None:
    for _ in range(40):
        world.tick()
        if world.now() == shares(50, 50):
            break
    world.candidate_fails = True
    world.clock.advance(60)
    world.silent = {"champion", "candidate"}  # nobody is waited for
    world.tick()
    assert world.now() == shares(100, 0)
    world.tick()
    world.tick()
    assert world.rollout().phase is Phase.ABORTED
    assert world.moves.current("model", "champion") == "1"


def test_an_arm_gets_nothing_before_it_serves_what_is_meant(world: World) -> None:
    world.silent = {"candidate"}
    for _ in range(20):
        world.tick()
    assert world.now() == shares(100, 0)
    assert "started with --arm candidate serves version 2" in routing.routed(world.state, "churn").error
    world.silent = set()
    for _ in range(3):
        world.tick()
    assert world.weights[1] == shares(95, 5)


def test_after_a_promotion_the_champions_servers_are_waited_for(world: World) -> None:
    while world.now() != shares(0, 100):
        world.tick()
    world.silent = {"champion"}
    for _ in range(40):
        world.tick()
    assert world.rollout().phase is Phase.DONE
    assert world.now() == shares(0, 100)
    world.silent = set()
    world.tick()
    world.tick()
    assert world.now() == shares(100, 0)


def test_nothing_moves_while_the_target_does_not_answer(world: World) -> None:
    while world.now() != shares(95, 5):
        world.tick()
    before, step = world.now(), world.rollout().step
    world.target.down = True
    for _ in range(60):
        world.controller.tick(world.clock.wall_ms())
        assert world.routing.turns(["churn"], world.fence)
        world.serve()
        world.clock.advance(1.0)
    world.target.down = False
    assert world.now() == before
    assert world.rollout().step <= step + 1  # what was passed before counts; no step is passed unseen
    for _ in range(60):
        world.tick()
    assert world.rollout().phase is Phase.DONE


def test_a_route_that_changed_meanwhile_is_read_again(world: World) -> None:
    raced = 0

    def race(method: str, name: str) -> None:
        nonlocal raced
        if method == "shift" and raced < 2:
            raced += 1
            body, _, *rest = world.target._objects[Ref(targets.API, "Route", "churn")]
            world.target._objects[Ref(targets.API, "Route", "churn")] = ({**body, "hand": raced}, f"x{raced}", *rest)

    world.target.before = race
    for _ in range(40):
        world.tick()
    assert raced == 2
    assert world.rollout().phase is Phase.DONE


def test_weights_that_somebody_changed_by_hand_are_set_again(world: World) -> None:
    while world.now() != shares(95, 5):
        world.tick()
    commands.pause(world.state, "churn", who="ada", now_ms=1)
    world.tick()
    route = world.target.route("churn")
    world.target.shift(route, shares(0, 100), route.fence)
    for _ in range(12):
        world.tick()
    assert world.now() == shares(95, 5)


def test_a_controller_that_lost_the_lease_moves_nothing(world: World) -> None:
    while world.now() != shares(95, 5):
        world.tick()
    world.clock.advance(11)  # this controller sleeps; its lease is over
    late = replace(world.fence(), token=world.fence().token)
    world.clock.advance(11)
    other = world.state.acquire(LEASE, "b", 10.0)
    assert other is not None
    assert other.token > late.token
    commands.abort(world.state, "churn", who="ada", now_ms=1)
    second = Controller(
        world.state, observe=world.see, moves=world.moves, update_reference=lambda *_: None, owner="b"
    )  # fmt: skip
    second.tick(world.clock.wall_ms())
    assert Routing(world.state, world.target, world.clock).turns(["churn"], lambda: other)
    assert world.now() == shares(100, 0)
    meant = from_body(TrafficSplit, world.state.get("split", "churn").body)
    stale = replace(meant, shares=(Share("1", "champion", 0.0), Share("2", "candidate", 100.0)))
    found = world.target.route("churn")
    with pytest.raises(ObjectConflict, match=r"shifted under lease \d+, and ours is \d+; .*fairlead.dev/fence"):
        world.routing._shifted(found, stale, 1, Routed(1, {"candidate": "2"}), lambda: late)
    assert world.now() == shares(100, 0)


def test_a_route_that_is_gone_is_said_and_nothing_is_counted(world: World) -> None:
    world.tick()
    world.target.remove(world.target.observe(Ref(targets.API, "Route", "churn")))
    world.clock.advance(20)
    with pytest.raises(TargetError, match="the route of endpoint 'churn' is gone"):
        world.routing.turn("churn", world.fence, 0)


def test_an_endpoint_without_a_route_is_left_to_its_servers() -> None:
    world = World()
    world.routing.turn("other", world.fence, 0)
    assert routing.routed(world.state, "other") is None


def test_a_sticky_rollout_is_refused_where_a_route_shares_by_chance() -> None:
    world = World()
    world.tick()
    plan = replace(PLAN, sticky="header:x-user")
    with pytest.raises(UsageError, match="sticky header:x-user cannot be kept"):
        commands.start(
            world.state, plan, who="", now_ms=0, signature_of=lambda *_: None, alias_at=world.moves.current
        )  # fmt: skip


@pytest.mark.parametrize(
    ("percent", "expected"), [(0.0, shares(100, 0)), (25.0, shares(75, 25)), (0.5, shares(9950, 50))]
)
def test_weights_are_whole_numbers(percent: float, expected: dict[str, int]) -> None:
    assert routing.weights(PLAN.split(percent, salt="")) == expected


def test_what_takes_calls_away_waits_for_nobody() -> None:
    back = PLAN.alone("1", salt="")
    known = Routed(1, {"champion": "1", "candidate": "2"})
    assert due(back, shares(75, 25), known, set()) == shares(100, 0)
    assert isinstance(due(PLAN.alone("2", salt=""), shares(0, 100), known, set()), str)
    assert due(PLAN.alone("2", salt=""), shares(0, 100), known, {"champion"}) == shares(100, 0)


def test_each_server_answers_for_its_arm() -> None:
    canary, shadow = PLAN.split(25.0, salt="s"), PLAN.split(0.0, 20.0, salt="s")
    assert of_arm(canary, "") == canary
    assert of_arm(canary, "champion").shares == (Share("1", "champion", 100.0),)
    assert of_arm(canary, "candidate").shares == (Share("2", "candidate", 100.0),)
    assert of_arm(shadow, "champion").shares == (Share("1", "champion", 100.0), Share("2", "candidate", 0.0, 20.0))
    assert of_arm(shadow, "candidate").shares == (Share("2", "candidate", 100.0),)
    assert of_arm(PLAN.alone("2", salt=""), "candidate").shares == (Share("2", "champion", 100.0),)


def test_records_are_read_back() -> None:
    known = Routed(3, {"champion": "1"}, "why", 5)
    assert from_body(Routed, to_body(known)) == known
    assert Route(Ref("a", "b", "c"), {}, "1").fence == 0


@pytest.mark.parametrize("wrong", ["forbidden", "fenced"])
def test_a_route_that_cannot_be_shifted_holds_up_no_other(world: World, wrong: str) -> None:
    world.tick()
    world.target.apply(targets.route("other", "other"), "churn")
    split = TrafficSplit("other", "model", (Share("1", "champion", 50.0), Share("1", "candidate", 50.0)))
    world.state.put("split", "other", to_body(split), 0)
    world.state.put("split", "churn", to_body(replace(split, endpoint="churn")), _revision(world, "churn"))
    for endpoint in ("other", "churn"):
        body = {"revision": _revision(world, endpoint), "error": "", "arm": "candidate"}
        world.state.put("applied", f"{endpoint}/candidate-1", body, 0)
    if wrong == "fenced":
        world.target._fences[Ref(targets.API, "Route", "churn")] = 10**9

    def refuses(method: str, name: str) -> None:
        if (wrong, method, name) == ("forbidden", "shift", "churn"):
            raise TargetForbids("Route/churn is forbidden")

    world.target.before = refuses
    world.clock.advance(20)
    assert world.routing.turns(["churn", "other"], world.fence)
    found = world.target.route("other")
    assert found is not None
    assert found.weights == shares(50, 50)


def _revision(world: World, endpoint: str) -> int:
    document = world.state.get("split", endpoint)
    return document.revision if document else 0
