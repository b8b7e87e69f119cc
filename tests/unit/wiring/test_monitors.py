"""Drift, decay and errors of an endpoint: told once, asked by, and begun anew with another version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import Unavailable
from fairlead.contracts.events import Columns, Label
from fairlead.monitor import timeline
from fairlead.monitor.alerts import Rule
from fairlead.monitor.findings import Contract
from fairlead.monitor.sketches import Folder
from fairlead.retrain.held import HeldOut
from fairlead.testing.events import MemoryEvents
from fairlead.testing.state import MemoryState
from fairlead.wiring import baselines, watching
from fairlead.wiring.monitors import Monitor, Monitored

WINDOW = 10_000
HOW = Monitored(Contract(window_ms=WINDOW), delay_ms=1000)


class World:
    """An endpoint that answers ``x > 0`` and what is true of it; its windows, events and labels."""

    def __init__(self, how: Monitored = HOW, **failing: bool) -> None:
        self.state, self.events = MemoryState(), MemoryEvents()
        self.posted: list[Mapping[str, Any]] = []
        self.rng = np.random.default_rng(1)
        self.failing = failing
        self.monitor = Monitor(self.state, self.events, "churn", "m", how, self.post)
        self.keep("1")
        self.seen = 0

    def keep(self, version: str) -> None:
        x = self.rng.normal(size=2000)
        outputs = {"label": (x > 0).astype(int)}
        baselines.keep(self.state, "m", version, HeldOut({"x": x}, outputs, (x > 0).astype(int)))
        baselines.watch_against(self.state, "churn", "m", version)

    def post(self, url: str, body: Mapping[str, Any]) -> None:
        if self.failing:
            raise Unavailable(f"{url} does not answer")
        self.posted.append(body)

    def window(
        self,
        number: int,
        *,
        shift: float = 0.0,
        wrong: float = 0.0,
        errors: int = 0,
        labelled: float = 1.0,
        rows: int = 400,
    ) -> None:
        """One window of version 1: ``shift`` of x, ``wrong`` share of labels, failed calls."""
        x = self.rng.normal(shift, 1, rows)
        ids = [f"{number}-{n}" for n in range(rows)]
        codes = ["model_failed"] * errors + [""] * (rows - errors)
        answered = np.array([not code for code in codes])
        at = number * WINDOW + np.arange(rows) * (WINDOW // rows)
        columns = Columns(
            "churn", "1", "champion", ids, at, np.full(rows, 0.01), codes, answered.astype(int),
            {"x": x[answered]}, {"label": (x[answered] > 0).astype(int)},
        )  # fmt: skip
        reference = watching.reference(self.state, "m", "1")
        assert reference is not None
        folder = Folder(reference, "churn", "1", "champion", f"h.0.ab-{reference.id}", WINDOW)
        folder.add(columns)
        self.state.put_windows(folder.windows())
        self.events.append([columns])
        truth = np.where(self.rng.random(rows) < wrong, x <= 0, x > 0).astype(float)
        self.state.label(
            [Label("churn", one, float(value), int(at[-1])) for one, value in zip(ids, truth, strict=True)]
        )

    def look(self, number: int, version: str = "1") -> list[str]:
        """Once the window ``number`` is complete: names of the alerts that were told."""
        told = self.monitor.look(version, (number + 1) * WINDOW + 5000)
        return [f"{alert.name} {alert.status}" for alert in told]

    def lines(self, what: str) -> list[str]:
        return [one.text for one in timeline.read(self.state, "churn") if one.what == what]


@pytest.fixture
def world() -> World:
    made = World()
    made.monitor.look("1", 0)
    return made


def test_nothing_is_told_while_nothing_happens(world: World) -> None:
    for number in range(5):
        world.window(number)
        assert world.look(number) == []


def test_predictions_are_not_read_while_nobody_tells_labels(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def frame(*_: object, **__: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(world.state, "labels", lambda *_, **__: [])
    monkeypatch.setattr(world.events, "frame", frame)
    for number in range(3):
        world.window(number)
        assert world.look(number) == []
    monkeypatch.undo()
    for number in range(3, 6):
        world.window(number, wrong=0.3)
    told = [alert for number in range(3, 6) for alert in world.look(number)]
    assert told == ["PerformanceDecay firing"]


def test_labels_that_come_late_make_the_first_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "keep", lambda self, version: reference_only(self.state, version))
    world = World()
    world.monitor.look("1", 0)
    late: list[Label] = []
    monkeypatch.setattr(world.state, "label", late.extend)
    for number in range(2):
        world.window(number)
        world.look(number)
    monkeypatch.undo()
    world.state.label(late)
    world.window(2)
    world.look(2)
    document = world.state.get("monitor", "churn")
    assert document is not None
    assert document.body["baseline"] is not None


def reference_only(state: MemoryState, version: str) -> None:
    x = np.random.default_rng(0).normal(size=2000)
    baselines.keep(state, "m", version, HeldOut({"x": x}, {"label": (x > 0).astype(int)}))
    baselines.watch_against(state, "churn", "m", version)


def test_drift_is_told_once_with_its_columns(world: World) -> None:
    for number in range(4):
        world.window(number, shift=0.0 if number < 2 else 1.5)
        assert world.look(number) == (["Drift firing"] if number == 2 else [])
    assert world.look(3) == []  # nothing new
    (line,) = world.lines("drift")
    assert line.startswith("in.x: PSI")


def test_decay_is_told_once_and_stands_until_another_version_serves(world: World) -> None:
    told = []
    for number in range(6):
        world.window(number, wrong=0.0 if number < 2 else 0.3)
        told += world.look(number)
    assert told == ["PerformanceDecay firing"]
    (line,) = world.lines("performance")
    assert "the loss rose from 0.0000" in line
    world.keep("2")
    assert world.look(6, "2") == ["PerformanceDecay resolved"]


def test_errors_are_told_when_they_stay(world: World) -> None:
    for number in range(3):
        world.window(number, errors=100 if number else 0)
        assert world.look(number) == (["ErrorRate firing"] if number == 2 else [])


def test_windows_that_came_while_nobody_looked_are_all_tested(world: World) -> None:
    for number in range(6):
        world.window(number, shift=1.5 if number == 3 else 0.0)
    assert world.look(5) == ["Drift firing", "Drift resolved"]


def test_an_own_rule_and_its_webhook() -> None:
    rule = Rule("Missing", "drift.psi.in.x", above=0.5, severity="page")
    world = World(Monitored(Contract(window_ms=WINDOW), 1000, rules=(rule,), webhook="http://hook"))
    world.monitor.look("1", 0)
    world.window(0, shift=2.0)
    assert sorted(world.look(0)) == ["Drift firing", "Missing firing"]
    names = {alert["labels"]["alertname"] for body in world.posted for alert in body["alerts"]}
    assert names == {"Drift", "Missing"}


def test_a_webhook_that_does_not_answer_stops_nothing() -> None:
    world = World(Monitored(Contract(window_ms=WINDOW), 1000, webhook="http://hook"), down=True)
    world.monitor.look("1", 0)
    world.window(0, shift=2.0)
    assert world.look(0) == ["Drift firing"]
    assert len(world.lines("drift")) == 1


def test_labels_that_only_some_predictions_get_are_watched_too() -> None:
    """Without a delay it is learned from those that come."""
    world = World(Monitored(Contract(window_ms=WINDOW)))
    world.monitor.look("1", 0)
    told: list[str] = []
    for number in range(10):
        world.window(number, wrong=0.0 if number < 3 else 0.4, labelled=0.5)
        told += world.look(number)
    assert told == ["PerformanceDecay firing"]


def test_without_a_reference_or_a_baseline_the_rest_is_watched() -> None:
    world = World()
    world.state = MemoryState()
    world.monitor = Monitor(world.state, None, "churn", "m", HOW, world.post)
    assert world.monitor.look("1", 0) == []
    assert world.monitor.look("1", 5 * WINDOW) == []
