from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.events import Columns, Window
from fairlead.contracts.plans import Happening
from fairlead.monitor import mapping
from fairlead.monitor.binning import Reference
from fairlead.monitor.exact import compare_chunks
from fairlead.monitor.histograms import MOST, shares
from fairlead.monitor.nulls import adjusted, rejected
from fairlead.monitor.reference import HOUR_MS, reference
from fairlead.monitor.report import ColumnView
from fairlead.monitor.sketches import Folder, merge

Array = np.ndarray[Any, Any]


def texts(rng: np.random.Generator, n: int, names: list[str]) -> Array:
    return rng.choice(names, n).astype(object)


def rows(rng: np.random.Generator, n: int, moved: float = 0.0) -> dict[str, Array]:
    income = rng.lognormal(size=n)
    income[rng.random(n) < 0.5 * moved] = np.nan
    names = ["a", "b", "c"] if not moved else ["a", "b", "new"]
    return {
        "age": rng.normal(moved, 1.0, n),
        "kind": texts(rng, n, names),
        "income": income,
        "flat": np.ones(n),
        "calm": rng.integers(0, 3, n),
    }


@pytest.fixture
def described(rng: np.random.Generator) -> Reference:
    weights = {"age": 0.6, "calm": 0.9}
    return reference(
        rows(rng, 3000), {"p": rng.random(3000)}, model="m", version="1", importance=weights,
        times_ms=np.arange(3000) * 60_000, season_ms=4 * HOUR_MS,
    )  # fmt: skip


def fold(
    described: Reference | None, features: dict[str, Array], p: Array, *, hour: int = 0, arm: str = "champion",
    version: str = "1", code: str = "",
) -> list[Window]:  # fmt: skip
    n = len(p)
    folder = Folder(described, "e", version, arm, "w", HOUR_MS)
    answered = 0 if code else 1
    some = {name: values[: n * answered] for name, values in features.items()}
    folder.add(
        Columns(
            "e", version, arm, [str(one) for one in range(n)], np.full(n, hour * HOUR_MS), np.full(n, 0.01), [code] * n,
            np.full(n, answered), some, {"p": p[: n * answered]},
        )
    )  # fmt: skip
    return folder.windows()


def test_traffic_leaves_shadows_out_and_counts_errors_by_code(rng: np.random.Generator) -> None:
    features, p = rows(rng, 10), rng.random(10)
    windows = [
        *fold(None, features, p),
        *fold(None, features, p, code="model_failed", hour=1),
        *fold(None, features, p[:4], code="cancelled", version="2", arm="candidate"),
        *fold(None, features, p, version="2", arm="shadow"),
    ]
    found = mapping.traffic(windows)
    assert (found.calls, found.rows, found.errors) == (24, 10, 14)
    assert list(found.codes.items()) == [("model_failed", 10), ("cancelled", 4)]
    assert found.p50 == pytest.approx(0.01, rel=0.03)
    assert [(one.version, one.arm, one.calls, one.errors) for one in mapping.served(windows)] == [
        ("1", "champion", 20, 10),
        ("2", "shadow", 10, 0),
        ("2", "candidate", 4, 4),
    ]
    nothing = mapping.traffic([])
    assert (nothing.calls, nothing.p50, nothing.codes) == (0, None, {})


def test_adjusted_p_agrees_with_what_is_rejected(rng: np.random.Generator) -> None:
    p = np.concatenate([rng.random(30), rng.random(5) * 1e-3])
    for level in (0.001, 0.05, 0.5):
        assert ((adjusted(p) <= level) == rejected(p, level)).all()
    assert adjusted(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.04, 0.04])
    assert len(adjusted(np.empty(0))) == 0


def views(described: Reference, windows: list[Window]) -> dict[str, ColumnView]:
    merged = merge(windows)
    tests = mapping.of_windows(described, merged)
    return {one.name: one for one in mapping.columns(described, merged, tests, mapping.parts(windows))}


def test_what_moved_alarms_and_what_did_not_is_fine(described: Reference, rng: np.random.Generator) -> None:
    found = views(described, fold(described, rows(rng, 2000, 1.0), rng.random(2000)))
    assert {name: one.verdict for name, one in found.items()} == {
        "in.age": "alarm", "in.kind": "alarm", "in.income": "alarm", "in.flat": "ok", "in.calm": "ok", "out.p": "ok",
    }  # fmt: skip
    age = found["in.age"]
    assert age.psi is not None
    assert age.psi > 0.25
    assert age.null_band is not None
    assert age.null_band[1] < 0.05
    assert (age.kind, age.importance) == ("number", 0.6)
    assert sum(age.reference) == pytest.approx(1)
    assert sum(age.current) == pytest.approx(1)
    assert "the share of new values moved by +3" in found["in.kind"].why
    assert "new" not in found["in.kind"].labels
    assert "missing" in found["in.income"].labels
    assert found["in.flat"].why == "one value in every row of the reference"
    assert found["in.calm"].labels == ("0", "1", "2")
    assert found["out.p"].kind == "output"


def test_drift_of_the_newest_part_is_not_lost_in_the_whole(described: Reference, rng: np.random.Generator) -> None:
    windows = [one for hour in range(23) for one in fold(described, rows(rng, 300), rng.random(300), hour=hour)]
    late = fold(described, {**rows(rng, 300), "age": rng.normal(2.0, 1.0, 300)}, rng.random(300), hour=23)
    calm = views(described, windows)["in.age"]
    assert (calm.verdict, len(calm.trend)) == ("ok", mapping.PARTS)
    found = views(described, [*windows, *late])["in.age"]
    assert found.verdict == "alarm"
    assert found.why.startswith("in the newest 3 h: PSI")
    assert found.newest is not None
    assert found.psi is not None
    assert found.newest > 0.25 > found.psi


def test_few_rows_and_absent_columns_are_not_called_fine(described: Reference, rng: np.random.Generator) -> None:
    few = views(described, fold(described, rows(rng, 20), rng.random(20)))
    assert {one.verdict for one in few.values()} == {"no data"}
    assert "20 rows, and 50 are needed" in few["in.age"].why
    assert few["in.age"].p is None
    features = rows(rng, 500)
    del features["age"]
    gone = views(described, fold(described, features, rng.random(500)))["in.age"]
    assert (gone.verdict, gone.why, gone.psi, gone.reference) == ("alarm", "no values at all", None, ())


def test_a_column_that_became_constant_is_told(described: Reference, rng: np.random.Generator) -> None:
    features = {**rows(rng, 400), "calm": np.ones(400, int)}
    tests = mapping.of_windows(described, merge(fold(described, features, rng.random(400))))
    told = next(one for one in tests if one.test == "constant")
    assert (told.column, told.verdict) == ("in.calm", "warn")
    assert told.text == "one value in every row, which the reference has not"
    assert tests[0].column == "in.calm"  # an alarm of the most important column


def test_exact_and_merged_agree(described: Reference, rng: np.random.Generator) -> None:
    features, p = rows(rng, 2000, 0.4), rng.random(2000)
    merged = mapping.of_windows(described, merge(fold(described, features, p)))
    chunk = {**{f"in.{name}": values for name, values in features.items()}, "out.p": p}
    exact = mapping.of_comparison(compare_chunks(described, [chunk]))
    sizes = {(one.column, one.test): one.size for one in merged}
    for one in exact:
        if (one.column, one.test) in sizes:
            assert one.size == pytest.approx(sizes[one.column, one.test], abs=1e-9)
    assert {one.column for one in exact} == {one.column for one in merged}
    short = mapping.of_comparison(compare_chunks(described, [{"in.age": np.zeros(3)}]))
    verdicts = {one.column: (one.verdict, one.text) for one in short}
    assert verdicts["in.age"] == ("no data", "3 rows, and 50 are needed for a test")
    assert verdicts["out.p"] == ("alarm", "not in the current rows")


def test_a_histogram_has_few_bars_that_add_up(rng: np.random.Generator) -> None:
    names = [f"k{place:02d}" for place in range(40)]
    described = reference({"k": texts(rng, 4000, names), "x": rng.normal(size=4000)}, {})
    now = {"k": texts(rng, 1000, [*names, "new"]), "x": rng.normal(size=1000)}
    folder = Folder(described, "e", "1", "champion", "w", HOUR_MS)
    none = np.zeros(1)
    folder.add(Columns("e", "1", "champion", ["i"], none, none, [""], np.array([1000]), now, {}))
    merged = merge(folder.windows())
    for name in ("in.k", "in.x"):
        before, after, labels = shares(described.columns[name], merged.columns[name])
        assert len(before) == len(after) == len(labels) <= MOST + 2
        assert sum(before) == pytest.approx(1)
        assert sum(after) == pytest.approx(1)
    assert labels[0].startswith("up to -")
    assert labels[-1].startswith("over 1")
    assert shares(described.columns["in.x"], None) == ((), (), ())


def line(text: str, at_ms: int, what: str = "alert", **more: Any) -> Happening:
    return Happening("e", what, text, at_ms, more)


def test_alerts_are_what_the_timeline_said_last() -> None:
    labels = {"alertname": "Errors", "endpoint": "e", "severity": "critical", "team": "x"}
    other = {**labels, "alertname": "Drift"}
    lines = [
        line("version 1 serves", 1, "deploy"),
        line("alert Errors firing: too many", 10, labels=labels, value=0.5),
        line("age moved", 20, "drift", labels=other),
        line("alert Errors resolved: fine", 30, labels=labels),
    ]
    drift, errors = mapping.alerts(lines, 25)
    assert (drift.name, drift.status, drift.starts_ms) == ("Drift", "firing", 20)
    assert drift.annotations["summary"] == "age moved"
    assert (errors.status, errors.starts_ms, errors.ends_ms, errors.severity) == ("resolved", 10, 30, "critical")
    assert errors.labels == {"team": "x"}
    assert [one.name for one in mapping.alerts(lines, 31)] == ["Drift"]
    again = [*lines, replace(lines[1], at_ms=40)]
    assert [one.status for one in mapping.alerts(again, 0)] == ["firing", "firing"]
