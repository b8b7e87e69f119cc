"""Whatever fallbacks answered, every reader says of the model what it would have said without them.

Two worlds: the same calls, and in the other one as many more that a fallback answered with absurd values.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.events import Columns, Label, by_fallback
from fairlead.contracts.plans import RetrainRequest
from fairlead.kit.codec.records import to_body
from fairlead.monitor.binning import Reference
from fairlead.monitor.collect import Collector
from fairlead.monitor.degraded import CODE, counted, parted
from fairlead.monitor.labels import answered, maturity, read
from fairlead.monitor.page import as_html
from fairlead.monitor.reference import reference
from fairlead.monitor.report import Report, as_text
from fairlead.orchestrate.plan import Plan
from fairlead.orchestrate.rollout import Phase, Rollout
from fairlead.retrain.steps import Context
from fairlead.testing.clock import ManualClock
from fairlead.testing.events import MemoryEvents
from fairlead.testing.state import MemoryState
from fairlead.wiring import baselines, watching
from fairlead.wiring.observing import observed
from fairlead.wiring.reporting import Asked, Stores, drift, report

START = 1_767_225_600_000
MINUTE = 60_000
ROWS, BATCHES = 400, 4
END = START + BATCHES * MINUTE
RUNGS = ("cache", "value", "score=cache")


def kept() -> Reference:
    x = np.random.default_rng(0).normal(size=4000)
    return reference({"x": x}, {"p": 1 / (1 + np.exp(-2 * x))}, model="m", version="1")


class World:
    """``fallbacks``: whether there are calls that they answered, between the others."""

    def __init__(self, fallbacks: bool) -> None:
        self.clock = ManualClock(START / 1000)
        self.state, self.events = MemoryState(self.clock), MemoryEvents()
        self.state.put("reference", "m/1", to_body(kept()), 0)
        self.state.put("watch", "churn", {"version": "1"}, 0)
        collector = Collector(self.state, lambda *_: kept(), "host.0.1", lambda _: MINUTE, self.clock)
        rng = np.random.default_rng(1)
        for number in range(BATCHES):
            columns, labels = self._batch(rng, number)
            if fallbacks:
                more, others = self._fallen(number)
                columns, labels = _mixed(columns, more), [*labels, *others]
            collector.record([columns])
            self.events.append([columns])
            self.state.label(labels)
        collector.close()
        self.stores = Stores(self.state, self.events)
        self.report: Report = report(self.stores, Asked("churn", START, END))

    def _batch(self, rng: np.random.Generator, number: int) -> tuple[Columns, list[Label]]:
        x = rng.normal(size=ROWS)
        p = 1 / (1 + np.exp(-2 * x))
        truth = rng.random(ROWS) < p
        at = START + number * MINUTE + np.arange(ROWS)
        ids = [f"m{number}-{row}" for row in range(ROWS)]
        labels = [Label("churn", key, float(one), int(ms) + 500) for key, one, ms in zip(ids, truth, at, strict=True)]
        return _columns(ids, at, {"x": x}, {"p": p}, entity=[f"e{key}" for key in ids]), labels

    def _fallen(self, number: int) -> tuple[Columns, list[Label]]:
        ids = [f"f{number}-{row}" for row in range(ROWS)]
        at = START + number * MINUTE + np.arange(ROWS)
        told = [RUNGS[row % len(RUNGS)] for row in range(ROWS)]
        labels = [Label("churn", key, 1.0, int(ms) + 500) for key, ms in zip(ids, at, strict=True)]
        labels[1] = replace(labels[1], key=f"e{ids[1]}", by_key=True)
        keys = [f"e{key}" for key in ids]
        outputs = {"p": np.array([0.9 if one == "cache" else 0.1 for one in told])}
        return _columns(ids, at, {"x": np.full(ROWS, 1e6)}, outputs, degraded=told, entity=keys), labels


def _columns(ids: list[str], at: Any, features: Any, outputs: Any, **more: Any) -> Columns:
    n = len(ids)
    return Columns(
        "churn", "1", "champion", ids, at, np.full(n, 0.002), [""] * n, np.ones(n, int), features, outputs, **more
    )


def _mixed(one: Columns, other: Columns) -> Columns:
    """Calls of both in turn."""
    order = [place for pair in zip(range(len(one)), range(len(one), 2 * len(one)), strict=True) for place in pair]

    def both(name: str, empty: Any = "") -> list[Any]:
        parts = [list(getattr(columns, name)) or [empty] * len(columns) for columns in (one, other)]
        return [(parts[0] + parts[1])[place] for place in order]

    def tensors(name: str) -> dict[str, Any]:
        first, second = getattr(one, name), getattr(other, name)
        return {key: np.concatenate([first[key], second[key]])[order] for key in first}

    return replace(
        one, ids=both("ids"), at_ms=np.array(both("at_ms")), seconds=np.array(both("seconds")), code=both("code"),
        rows=np.array(both("rows")), degraded=both("degraded"), entity=both("entity"), features=tensors("features"),
        outputs=tensors("outputs"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> World:
    return World(fallbacks=False)


@pytest.fixture(scope="module")
def both() -> World:
    return World(fallbacks=True)


def test_the_report_of_the_model_is_the_same(plain: World, both: World) -> None:
    ours, theirs = both.report, plain.report
    same = replace(ours, traffic=theirs.traffic, rungs=(), served=theirs.served)
    assert same == replace(theirs, rungs=())
    assert (ours.traffic.calls, ours.traffic.degraded, ours.traffic.errors) == (2 * theirs.traffic.calls, 1600, 0)
    assert ours.traffic.rows == theirs.traffic.rows
    assert ours.traffic.codes == theirs.traffic.codes == {}
    assert [one.errors for one in ours.served] == [0]


def test_how_well_each_rung_answered_is_told_apart(plain: World, both: World) -> None:
    assert plain.report.rungs == ()
    found = {one.name: one for one in both.report.rungs}
    assert set(found) == set(RUNGS)
    assert sum(one.rows for one in found.values()) == sum(one.labelled for one in found.values()) == 1600
    values = {name: one.measure.value for name, one in found.items() if one.measure}
    assert values == {"cache": 1.0, "value": 0.0, "score=cache": 0.0}, "all labels are 1, and only one rung says so"
    text, page = as_text(both.report), as_html(both.report)
    assert "by fallbacks 50.0 %" in text
    assert "Fallbacks\n  answered by" in text
    assert "answered by" in page
    assert "By fallbacks" in page


@pytest.mark.parametrize("exact", [False, True])
def test_drift_is_the_same(plain: World, both: World, exact: bool) -> None:
    ours, theirs = (drift(one.stores, Asked("churn", START, END), exact=exact) for one in (both, plain))
    assert ours == theirs
    assert ours.rows == ROWS * BATCHES


def test_a_reference_that_is_made_of_what_was_served_is_the_same(plain: World, both: World) -> None:
    made = []
    for world in (plain, both):
        state = MemoryState()
        assert baselines.ensure_reference(state, world.events, "churn", "m", "1")
        found = watching.reference(state, "m", "1")
        assert found is not None
        made.append(replace(found, id=""))
    assert made[0] == made[1]


def test_labels_that_are_read_are_the_same_and_none_waits(plain: World, both: World) -> None:
    ours, theirs = (read(one.events, one.state, "churn", since_ms=START) for one in (both, plain))
    assert (len(ours), ours.predictions, ours.waiting) == (len(theirs), theirs.predictions, theirs.waiting)
    assert ours.waiting == 0
    assert sorted(ours.column("prediction_id")) == sorted(theirs.column("prediction_id"))
    assert maturity(ours, END).share.tolist() == maturity(theirs, END).share.tolist()


def test_training_data_is_the_same(plain: World, both: World, tmp_path: Path) -> None:
    tables = []
    for world in (plain, both):
        request = RetrainRequest("r", "churn", "human", "", 0)
        ctx = Context("churn", "m", request, tmp_path, events=world.events, state=world.state)
        tables.append((ctx.frame(), ctx.labelled()))
    for place in range(2):
        ours, theirs = tables[1][place], tables[0][place]
        assert set(ours) == set(theirs)
        assert all(ours[name].tolist() == theirs[name].tolist() for name in theirs)


def test_to_a_rollout_such_a_call_is_one_that_the_version_failed() -> None:
    for fallbacks, failed in ((False, 0), (True, ROWS * BATCHES)):
        world = World(fallbacks)
        plan = Plan("churn", "m", "0", "1", settle_seconds=0.0)
        step = Rollout("r", plan, Phase.CANARY, "me", 0, 0, step=0)
        world.state.put("split", "churn", to_body(plan.split(5.0, salt="r")), 0)
        world.state.put("applied", "churn/host.0", {"revision": 1, "at_ms": 0, "error": "", "versions": []}, 0)
        windows = [replace(one, arm="candidate") for one in world.state.windows("churn")]
        state = MemoryState()
        for kind, key in (("split", "churn"), ("applied", "churn/host.0")):
            body = world.state.get(kind, key)
            assert body is not None
            state.put(kind, key, body.body, 0)
        state.put_windows(windows)
        candidate = observed(state, step).candidate
        assert (candidate.calls - failed, candidate.errors) == (ROWS * BATCHES, failed)


def test_what_is_counted_keeps_the_rows_of_the_others() -> None:
    columns = Columns(
        "churn", "1", "champion", ["a", "b", "c"], np.array([1, 2, 3]), np.ones(3), ["", "", "queue_full"],
        np.array([2, 3, 0]), {"x": np.arange(5.0)}, {"y": np.arange(5.0)}, degraded=["", "cache"], entity=list("ABCDE"),
    )  # fmt: skip
    columns = replace(columns, degraded=["", "cache", ""])
    found = counted(columns)
    assert (list(found.code), found.rows.tolist()) == (["", CODE, "queue_full"], [2, 0, 0])
    assert found.features["x"].tolist() == [0.0, 1.0]
    assert list(found.entity) == ["A", "B"]
    whole = replace(columns, degraded=())
    assert counted(whole) is whole


def test_frames_without_the_column_or_a_row_are_whole() -> None:
    frame = {"row": np.arange(3), "at_ms": np.arange(3)}
    assert parted(frame)[0] is frame
    assert by_fallback({}).tolist() == []
    told = np.array(["", None, np.nan, "cache"], object)
    assert by_fallback({"row": np.arange(4), "degraded": told}).tolist() == [False, False, False, True]
    assert answered({"row": np.array([0, -1, 0, 0]), "degraded": told})["row"].tolist() == [0, 0]
