"""References that know a season: of a hold-out with a clock, or of what was served once that is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.events import Columns
from fairlead.monitor import timeline
from fairlead.monitor.binning import Reference
from fairlead.monitor.findings import Contract
from fairlead.monitor.seasons import Season
from fairlead.monitor.sketches import Folder
from fairlead.retrain.held import HeldOut
from fairlead.testing.events import MemoryEvents
from fairlead.testing.state import MemoryState
from fairlead.wiring import baselines, watching
from fairlead.wiring.monitors import Monitor, Monitored
from fairlead.wiring.seasonal import renewed
from fairlead.wiring.watching import Watched

HOUR = 3_600_000
DAY = Season(HOUR, 24 * HOUR)
ROWS = 100
SWING = np.sin(np.arange(24) * np.pi / 12) * 3


def batch(hour: int, rng: np.random.Generator, shift: float = 0.0, rows: int = ROWS, failed: bool = False) -> Columns:
    """An hour of calls whose feature follows the time of day."""
    x = rng.normal(SWING[hour % 24] + shift, 1, 0 if failed else rows)
    ids = [f"{hour}-{n}" for n in range(rows)]
    at = hour * HOUR + np.arange(rows) * (HOUR // rows)
    codes = ["model_failed" if failed else ""] * rows
    answered = np.zeros(rows, int) if failed else np.ones(rows, int)
    tensors = ({}, {}) if failed else ({"x": x}, {"p": x})
    return Columns("c", "1", "champion", ids, at, np.full(rows, 0.01), codes, answered, *tensors)


def hold_out(rows: int = 500, importance: float | None = None, step: int = HOUR // 60) -> HeldOut:
    x = np.random.default_rng(0).normal(0, 3, rows)
    weights = {} if importance is None else {"x": importance}
    return HeldOut({"x": x}, {"p": x}, None, weights, np.arange(rows) * step)


@dataclass
class World:
    state: MemoryState = field(default_factory=MemoryState)
    events: MemoryEvents = field(default_factory=MemoryEvents)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def kept(self) -> Reference:
        found = watching.reference(self.state, "m", "1")
        assert found is not None
        return found

    def keep(self, held: HeldOut, season: Season | None = None) -> Reference:
        baselines.keep(self.state, "m", "1", held, season=season)
        baselines.watch_against(self.state, "c", "m", "1")
        return self.kept()

    def renewed(self, hours: int) -> Reference | None:
        return renewed(self.kept(), self.events, "c", DAY, hours * HOUR + 5)


def test_a_hold_out_with_a_clock_that_fills_a_season_has_it() -> None:
    world = World()
    assert DAY.known_by(world.keep(hold_out(60 * 24), DAY))
    assert len(world.kept().columns["in.x"].seasons) == 24
    assert world.keep(hold_out(60 * 23), DAY).season_ms == 0
    assert world.keep(hold_out(60 * 24)).season_ms == 0


def test_what_was_served_makes_it_once_a_season_is_full() -> None:
    world = World()
    world.keep(hold_out(importance=0.7))
    for hour in range(24):
        world.events.append([batch(hour, world.rng)])
        assert (world.renewed(hour + 1) is None) == (hour < 23)
    made = world.renewed(24)
    assert made is not None
    assert DAY.known_by(made)
    assert (made.version, made.columns["in.x"].importance) == ("1", 0.7)  # what the retraining measured stays


def test_two_seasons_are_read_and_of_each_window_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST_ROWS", 48 * 60)
    world = World()
    world.keep(hold_out())
    world.events.append([batch(hour, world.rng) for hour in range(24 * 3)])
    made = world.renewed(24 * 3)
    assert made is not None
    assert made.rows == 48 * 60
    assert {sum(slot) for slot in made.columns["in.x"].seasons} == {120}


@pytest.mark.parametrize(
    "calls",
    [
        lambda rng: [batch(0, rng, rows=1), *(batch(hour, rng) for hour in range(220, 240))],  # long ago, a stray call
        lambda rng: [*(batch(hour, rng) for hour in range(216, 239)), batch(9999, rng)],  # a clock that was ahead
        lambda rng: [batch(hour, rng, rows=10) for hour in range(192, 240)],
        lambda rng: [batch(hour, rng, failed=True) for hour in range(192, 240)],
        lambda rng: [],
    ],
)
def test_too_little_makes_none(calls: Callable[[np.random.Generator], list[Columns]]) -> None:
    world = World()
    world.keep(hold_out())
    world.events.append(calls(world.rng))
    assert world.renewed(240) is None


def test_hours_of_failed_calls_and_columns_that_some_lack_cost_no_column() -> None:
    world = World()
    world.keep(hold_out())
    calls = [batch(hour, world.rng, failed=hour == 12) for hour in range(48)]
    for one in calls[:30]:
        if one.features:
            one.features["opt"] = np.ones(ROWS)
    world.events.append(calls)
    made = world.renewed(48)
    assert made is not None
    assert set(made.columns) == {"in.x", "in.opt", "out.p"}
    assert made.columns["in.opt"].missing == 18 * ROWS


def test_a_feature_that_is_gone_is_no_reason_to_forget_it() -> None:
    world = World()
    held = hold_out()
    world.keep(HeldOut({**held.features, "y": held.features["x"]}, held.outputs))
    world.events.append([batch(hour, world.rng) for hour in range(48)])
    assert world.renewed(48) is None


def test_values_of_many_lengths_are_told_apart_as_they_are() -> None:
    world = World()
    calls = batch(0, world.rng, rows=300)
    lists = np.empty(300, object)
    lists[:] = [[1.0] * (1 + place % 3) for place in range(300)]
    calls.features["many"] = lists
    world.events.append([calls])
    assert baselines.ensure_reference(world.state, world.events, "c", "m", "1")
    assert len(world.kept().columns["in.many"].values) == 3


def test_workers_count_on_the_one_that_was_made_anew() -> None:
    world = World()
    find = watching.references(lambda: world.state, Watched({"c": "models:/m@champion"}, {}))
    assert find("c", "1") is None
    plain = world.keep(hold_out(60 * 24))
    assert find("c", "2") == plain
    baselines.keep(world.state, "m", "1", hold_out(60 * 24), season=DAY)
    assert find("c", "2") == plain  # until it is said
    baselines.watch_against(world.state, "c", "m", "1")
    assert find("c", "2") == world.kept() != plain
    world.state.put("watch", "c", {"version": "1"}, 2)  # as a release before wrote it
    assert find("c", "2") == world.kept()


class Life(World):
    """An endpoint hour by hour, its windows counted as workers count them."""

    def __init__(self, how: Monitored) -> None:
        super().__init__()
        self.how = how
        self.find = watching.references(lambda: self.state, Watched({"c": "models:/m@champion"}, {}))
        self.told: list[tuple[int, str]] = []

    def hours(self, first: int, last: int, shift: float = 0.0) -> None:
        monitor = Monitor(self.state, self.events, "c", "m", self.how, lambda url, body: None)
        for hour in range(first, last):
            columns = batch(hour, self.rng, shift)
            self.events.append([columns])
            reference = self.find("c", "1")
            assert reference is not None
            folder = Folder(reference, "c", "1", "champion", f"h.0.ab-{reference.id}", HOUR)
            folder.add(columns)
            self.state.put_windows(folder.windows())
            found = monitor.look("1", (hour + 1) * HOUR + 5000)
            self.told += [(hour, one.status) for one in found if one.name == "Drift"]


QUIET = Contract(quiet=2)


def test_a_swing_of_the_day_is_drift_unless_the_season_is_asked_for() -> None:
    plain = Life(Monitored(QUIET))
    plain.keep(hold_out())
    plain.hours(0, 96)
    assert [hour for hour, status in plain.told if status == "firing" and hour > 48]
    asked = Life(Monitored(QUIET, season_ms=24 * HOUR))
    asked.keep(hold_out())
    asked.hours(0, 96)
    assert not [hour for hour, _ in asked.told if hour > 48]
    assert [one.text for one in timeline.read(asked.state, "c") if one.what == "config"] == [
        "version 1 is watched by the time of the day from now on"
    ]
    asked.hours(96, 100, shift=3)
    assert asked.told[-1] == (96, "firing")


def test_what_drifts_does_not_become_the_norm() -> None:
    life = Life(Monitored(QUIET, season_ms=24 * HOUR))
    first = life.keep(hold_out())
    life.hours(0, 10)
    life.hours(10, 60, shift=3)
    assert life.told[-1][1] == "firing"
    assert life.kept().id == first.id


def test_a_reference_of_a_few_served_rows_is_replaced_whatever_they_were() -> None:
    world = World()
    world.events.append([batch(hour, world.rng) for hour in range(5)])
    assert baselines.ensure_reference(world.state, world.events, "c", "m", "1")
    world.events.append([batch(hour, world.rng) for hour in range(5, 24)])
    assert world.renewed(24) is not None


def test_not_while_a_rollout_runs_and_not_without_events() -> None:
    life = Life(Monitored(QUIET, season_ms=24 * HOUR))
    first = life.keep(hold_out(3000))
    life.state.put("rollout-of", "c", {"rollout": "r1"}, 0)
    life.hours(0, 30)
    assert life.kept().id == first.id
    life.events.down = True
    life.state.put("rollout-of", "c", {"rollout": ""}, 1)
    monitor = Monitor(life.state, life.events, "c", "m", life.how, lambda url, body: None)
    monitor.look("1", 32 * HOUR)  # tells the log, and no more
    assert life.kept().id == first.id


def test_other_windows_than_those_of_the_reference_are_held_against_all_of_it() -> None:
    life = Life(Monitored(Contract(window_ms=24 * HOUR, quiet=2), season_ms=168 * HOUR))
    life.keep(hold_out(60 * 24 * 8, step=HOUR // 60), Season(HOUR, 24 * HOUR))
    assert life.kept().season_ms == 24 * HOUR
    life.hours(0, 24 * 6)
    assert life.told == []


def test_a_season_is_whole_windows() -> None:
    with pytest.raises(UsageError, match="windows of 18000 s do not divide a season of 86400 s"):
        Monitored(Contract(window_ms=5 * HOUR), season_ms=24 * HOUR)
