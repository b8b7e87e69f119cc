"""One turn of the controller: who leads, what it asks for, and what it does about what cannot load or was killed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fairlead.contracts.errors import Unavailable
from fairlead.contracts.events import Window
from fairlead.contracts.plans import Happening, RetrainRequest
from fairlead.contracts.state import Tally
from fairlead.kit.codec.records import to_body
from fairlead.monitor import timeline
from fairlead.orchestrate import commands
from fairlead.orchestrate.plan import Plan
from fairlead.orchestrate.rollout import Phase
from fairlead.retrain import requests
from fairlead.retrain.triggers import Triggers
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState
from fairlead.wiring.hours import HOUR_MS
from fairlead.wiring.loop import AGAIN_SECONDS, PRUNE_SECONDS, Course, Loop
from fairlead.wiring.summing import MARGIN_MS

COURSE = Course("churn", "m", pipeline=Path("p.py"), triggers=Triggers(performance=True, cooldown_ms=60_000))


class Aliases:
    def __init__(self) -> None:
        self.at = "1"

    def current(self, model: str, alias: str) -> str:
        return self.at

    def move(self, model: str, alias: str, to: str, **_: Any) -> None:
        self.at = to


class Runs:
    """Notes what was started; ``running``: endpoints that are busy."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.running: set[str] = set()
        self.closed = False

    def start(self, endpoint: str, request: str) -> None:
        self.started.append(request)

    def busy(self, endpoint: str) -> bool:
        return endpoint in self.running

    def collect(self) -> None:
        """Nothing ends by itself."""

    def close(self) -> None:
        self.closed = True


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.state = MemoryState(self.clock)
        self.runs, self.aliases = Runs(), Aliases()
        self.loop = self.made("me")

    def made(self, owner: str) -> Loop:
        return Loop(
            self.state,
            None,
            [COURSE],
            moves=self.aliases,
            runs=self.runs,
            clock=self.clock,
            owner=owner,  # type: ignore[arg-type]
        )

    def turn(self, seconds: float = 6.0) -> bool:
        self.clock.advance(seconds)
        return self.loop.tick()

    def ask(self, **more: Any) -> RetrainRequest:
        request = replace(RetrainRequest("r1", "churn", "human", "because", self.clock.wall_ms()), **more)
        return requests.ask(self.state, request)


@pytest.fixture
def world() -> World:
    return World()


def test_one_leads_and_another_takes_over(world: World) -> None:
    other = world.made("other")
    assert world.turn()
    assert not other.tick()
    world.loop.close()
    assert world.runs.closed
    assert other.tick()


def test_a_turn_of_many_endpoints_is_no_hang(world: World) -> None:
    """Each may wait for a store that is away, for a minute and longer."""
    times: list[float] = []

    class Away(Aliases):
        def current(self, model: str, alias: str) -> str:
            world.clock.advance(90.0)
            raise Unavailable("the registry does not answer")

    courses = [replace(COURSE, endpoint=f"e{place}") for place in range(20)]
    loop = Loop(
        world.state,
        None,
        courses,
        moves=Away(),  # type: ignore[arg-type]
        runs=world.runs,  # type: ignore[arg-type]
        clock=world.clock,
        owner="me",
        lease_seconds=3600.0,
        beat=lambda: times.append(world.clock.now()),
    )
    before = world.clock.now()
    assert loop.tick()
    assert world.clock.now() - before == 20 * 90.0
    assert max(later - sooner for sooner, later in pairwise([before, *times])) <= 90.0


def test_an_open_request_is_run_once(world: World) -> None:
    world.ask()
    assert world.turn()
    assert world.runs.started == ["r1"]
    world.runs.running.add("churn")
    world.turn()
    world.runs.running.clear()  # it ended without having taken the request
    world.turn()
    assert world.runs.started == ["r1"]
    world.turn(AGAIN_SECONDS)
    assert world.runs.started == ["r1", "r1"]


def test_a_decay_asks_once(world: World) -> None:
    world.turn()
    timeline.write(world.state, Happening("churn", "performance", "it fell", world.clock.wall_ms(), {"since_ms": 5}))
    world.turn()
    (made,) = requests.every(world.state, "churn")
    assert (made.trigger, made.why, made.evidence["since_ms"]) == ("performance", "it fell", 5)
    assert world.runs.started == [made.id]
    world.turn()
    assert len(requests.every(world.state, "churn")) == 1
    assert any(one.what == "retrain" for one in timeline.read(world.state, "churn"))


def test_an_alarm_whose_retraining_failed_asks_again(world: World) -> None:
    said = world.clock.wall_ms()
    timeline.write(world.state, Happening("churn", "performance", "it fell", said, {"version": "1"}))
    world.ask(status="failed", at_ms=said + 1)
    world.turn()
    assert len(requests.every(world.state, "churn")) == 1  # the cool-down
    world.turn(60.0)
    assert [one.status for one in requests.every(world.state, "churn")] == ["failed", "open"]


def test_an_alarm_of_a_version_that_is_gone_asks_nothing(world: World) -> None:
    world.aliases.at = "2"
    timeline.write(world.state, Happening("churn", "performance", "it fell", world.clock.wall_ms(), {"version": "1"}))
    world.turn()
    assert requests.every(world.state, "churn") == []


def test_nothing_is_retrained_while_a_rollout_runs(world: World) -> None:
    world.ask()
    world.state.put("rollout-of", "churn", {"rollout": "r"}, 0)
    world.turn()
    assert world.runs.started == []


def test_drift_that_is_no_trigger_asks_nothing(world: World) -> None:
    timeline.write(world.state, Happening("churn", "drift", "it moved", world.clock.wall_ms()))
    world.turn()
    assert requests.every(world.state, "churn") == []


def test_a_run_that_was_killed_is_buried(world: World) -> None:
    world.ask(status="running")
    world.turn()
    (dead,) = requests.every(world.state, "churn")
    assert (dead.status, dead.outcome) == ("failed", requests.DIED)


def test_a_run_elsewhere_is_left_alone(world: World) -> None:
    world.ask(status="running")
    assert world.state.acquire("retrain:churn", "elsewhere", 60.0)
    world.turn()
    assert requests.every(world.state, "churn")[0].status == "running"


def test_a_candidate_that_no_worker_can_load_is_rolled_back(world: World) -> None:
    commands.start(
        world.state,
        Plan("churn", "m", "1", "2"),
        who="me",
        now_ms=world.clock.wall_ms(),
        signature_of=lambda _model, _version: None,
        alias_at=world.aliases.current,
    )
    world.turn()
    split = world.state.get("split", "churn")
    assert split is not None
    said = {"revision": split.revision, "error": "no such file", "versions": ["1"], "at_ms": world.clock.wall_ms()}
    world.state.put("applied", "churn/h.0", said, 0)
    world.turn()
    assert commands.rollouts(world.state)[0].phase is Phase.CANARY  # it may be tried again
    for _ in range(5):
        world.turn(15.0)
    (ended,) = commands.rollouts(world.state)
    assert (ended.phase, "no such file" in ended.reason) == (Phase.ABORTED, True)
    back = world.state.get("split", "churn")
    assert back is not None
    assert [share["version"] for share in back.body["shares"]] == ["1"]
    assert to_body(ended)["plan"]["candidate"] == "2"


def test_what_workers_said_of_splits_that_are_over_goes_after_a_day(world: World) -> None:
    world.state.put("split", "churn", {"shares": []}, 0)
    for key, revision in (("churn/here.0", 1), ("churn/gone.0", 0), ("away/h.0", 7)):
        world.state.put("applied", key, {"revision": revision}, 0)
    world.turn(PRUNE_SECONDS)
    assert len(world.state.all("applied")) == 3
    world.turn(86_400.0)
    world.state.put("applied", "churn/new.0", {"revision": 0}, 0)
    world.turn(PRUNE_SECONDS)
    assert [one.key for one in world.state.all("applied")] == ["churn/here.0", "churn/new.0"]


def test_the_leader_adds_up_hours_that_are_over(world: World) -> None:
    start = world.clock.wall_ms() // HOUR_MS * HOUR_MS
    world.state.put_windows([Window("churn", "1", "champion", "w0", start, 60_000, 5, 5, {"": 5}, b"", {})])
    assert world.turn()
    assert world.state.hours("churn", since_ms=start, until_ms=start + 1) == []
    other = world.made("other")
    world.clock.advance((HOUR_MS + MARGIN_MS) / 1000)
    assert world.turn()
    assert not other.tick()
    (kept,) = world.state.hours("churn", since_ms=start, until_ms=start + 1)
    assert kept.tally == Tally(1, 5, 5)
