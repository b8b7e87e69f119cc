from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import NotFound
from fairlead.contracts.events import Columns, Label
from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.kit.codec.records import to_body
from fairlead.monitor.binning import Reference
from fairlead.monitor.metrics import Answers
from fairlead.monitor.outputs import Task
from fairlead.monitor.performance import watch
from fairlead.monitor.reference import HOUR_MS, reference
from fairlead.monitor.report import as_text
from fairlead.monitor.sketches import Folder
from fairlead.testing.events import MemoryEvents
from fairlead.testing.state import MemoryState
from fairlead.wiring.reporting import Asked, Stores, drift, report

START = 1_767_225_600_000
HOURS, ROWS = 40, 60
END = START + HOURS * HOUR_MS
ASKED = Asked("churn", START, END)
Array = np.ndarray[Any, Any]


def scores(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    x = rng.normal(size=n)
    return x, 1 / (1 + np.exp(-2 * x))


@pytest.fixture
def kept() -> Reference:
    x, p = scores(np.random.default_rng(0), 4000)
    return reference({"x": x}, {"p": p}, model="classifier", version="3")


@pytest.fixture
def stores(kept: Reference) -> Stores:
    """Forty hours of version 3; in the last ten the concept is upside down. Every tenth call fails."""
    state, events = MemoryState(), MemoryEvents()
    rng = np.random.default_rng(1)
    state.put("reference", "classifier/3", to_body(kept), 0)
    state.put("watch", "churn", {"version": "3"}, 0)
    state.put("split", "churn", to_body(TrafficSplit("churn", "classifier", (Share("3", "champion", 100),))), 0)
    for hour in range(HOURS):
        x, p = scores(rng, ROWS)
        truth = rng.random(ROWS) < (p if hour < HOURS - 10 else 1 - p)
        at = START + hour * HOUR_MS + np.arange(ROWS) * 1000
        failed = np.arange(ROWS) % 10 == 9
        ids = [f"{hour}-{row}" for row in range(ROWS)]
        code = ["model_failed" if one else "" for one in failed]
        told = Columns(
            "churn", "3", "champion", ids, at, np.full(ROWS, 0.002), code, (~failed).astype(int),
            {"x": x[~failed]}, {"p": p[~failed]},
        )  # fmt: skip
        folder = Folder(kept, "churn", "3", "champion", "w", HOUR_MS)
        folder.add(told)
        state.put_windows(folder.windows())
        events.append([told])
        state.label([Label("churn", name, float(one), int(ms) + 60_000)
                     for name, one, ms, bad in zip(ids, truth, at, failed, strict=True) if not bad])  # fmt: skip
    return Stores(state, events)


def test_a_report_tells_what_the_stores_hold(stores: Stores) -> None:
    found = report(stores, ASKED)
    assert (found.version, found.reference, found.notes) == ("3", "classifier/3", ())
    assert found.traffic.calls == HOURS * ROWS
    assert found.traffic.codes == {"model_failed": 240}
    assert {one.name: one.verdict for one in found.columns} == {"in.x": "ok", "out.p": "ok"}
    assert found.labels is not None
    assert (found.labels.rows, found.labels.labelled, found.labels.half_ms) == (2160, 2160, 60_000)
    assert len(found.periods) == HOURS
    assert found.periods[0].now[0].value is not None
    assert found.periods[0].now[0].value > 0.6
    accuracy = found.estimates[0]
    assert accuracy.agrees is False
    assert found.verdict() == ("alarm", "10.0 % of the calls failed.")
    text = as_text(found)
    assert "differs  trusted" in text
    assert "errors by code: model_failed 240" in text


def test_decay_is_told_where_a_baseline_was_kept(stores: Stores) -> None:
    _, p = scores(np.random.default_rng(0), 4000)
    truth = (np.random.default_rng(2).random(4000) < p).astype(float)
    known = Answers(truth, (p >= 0.5).astype(float), p, np.ones(len(p)))
    task = Task((0.0, 1.0), "", "p")
    began = watch(known, "accuracy", classes=task.classes)
    stores.state.put("baseline", "classifier/3", {"task": to_body(task), "watch": to_body(began)}, 0)
    found = report(stores, ASKED)
    assert found.metric == "accuracy"
    assert found.baseline == pytest.approx(np.mean((p >= 0.5) == truth))
    assert found.decays[0].name == "accuracy"
    assert found.decays[0].since_ms == pytest.approx(START + 30 * HOUR_MS, abs=3 * HOUR_MS)
    assert "performance has fallen" in found.verdict()[1]


def test_without_events_a_report_says_what_it_lacks(stores: Stores) -> None:
    found = report(Stores(stores.state, None), ASKED)
    assert found.notes == ("Performance needs the events: pip install 'fairlead[events]', and serve with --record.",)
    assert found.columns
    assert stores.events is not None
    stores.events.down = True  # type: ignore[attr-defined]
    down = report(stores, ASKED)
    assert down.notes[0].startswith("Performance is not known: events:")
    with pytest.raises(NotFound, match="--exact needs the events"):
        drift(Stores(stores.state, None), ASKED, exact=True)


def test_drift_from_windows_and_from_events(stores: Stores) -> None:
    for exact in (False, True):
        found = drift(stores, ASKED, exact=exact)
        assert (found.version, found.reference, found.rows, found.exact) == ("3", "classifier/3", 2160, exact)
        assert {one.verdict for one in found.tests} == {"ok"}
    later = Asked("churn", END + HOUR_MS, END + 2 * HOUR_MS)
    with pytest.raises(NotFound, match="no call of version 3 of 'churn' since 2026-01-02 17:00 UTC was answered"):
        drift(stores, later)
    with pytest.raises(NotFound, match="is among the events"):
        drift(stores, later, exact=True)
    with pytest.raises(NotFound, match="versions that answered: 3"):
        drift(stores, Asked("churn", START, END, "9"))
    assert report(stores, later).verdict()[0] == "no data"


def test_windows_of_another_reference_are_left_out_and_told(stores: Stores, kept: Reference) -> None:
    x, p = scores(np.random.default_rng(5), 3000)
    other = reference({"x": x, "flat": np.ones(3000)}, {"p": p}, model="classifier", version="4")
    state = stores.state
    state.put("reference", "classifier/4", to_body(other), 0)
    state.put("watch", "churn", {"version": "4"}, 1)
    still = drift(stores, ASKED)
    assert still.reference == "classifier/3"  # no window is of the new one yet
    folder = Folder(other, "churn", "3", "champion", "w2", HOUR_MS)
    x, p = scores(np.random.default_rng(6), 500)
    some = {"x": x, "flat": np.ones(500)}
    folder.add(
        Columns("churn", "3", "champion", ["i"], np.array([END - HOUR_MS]), np.ones(1), [""], np.array([500]), some,
                {"p": p})
    )  # fmt: skip
    state.put_windows(folder.windows())
    found = drift(stores, ASKED)
    assert (found.reference, found.rows) == ("classifier/4", 500)
    assert found.notes == (
        "2,160 of 2,660 rows were counted before this reference was watched; drift leaves them out.",
        "in.flat has one value in every row of the reference: any other value is drift.",
    )


def test_calls_that_were_counted_before_a_reference_need_the_events(stores: Stores) -> None:
    state = MemoryState()
    folder = Folder(None, "churn", "3", "champion", "w", HOUR_MS)
    one = np.array([START])
    folder.add(Columns("churn", "3", "champion", ["i"], one, one, [""], np.array([1]), {"x": np.ones(1)}, {}))
    state.put_windows(folder.windows())
    with pytest.raises(NotFound, match="No reference of churn/3 is kept"):
        drift(Stores(state, None), ASKED)
    state.put("split", "churn", to_body(TrafficSplit("churn", "classifier", (Share("3", "champion", 100),))), 0)
    known = stores.state.get("reference", "classifier/3")
    assert known is not None
    state.put("reference", "classifier/3", known.body, 0)
    with pytest.raises(NotFound, match="counted before it was kept"):
        drift(Stores(state, None), ASKED)
