"""Retrainings in the console that are not simply done: none, waiting, under way, dead, blocked, of hostile names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import NotFound
from fairlead.contracts.plans import Answer, Check, RetrainRequest, RunLineage, Verdict
from fairlead.contracts.state import StateStore
from fairlead.kit import config
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.records import to_body
from fairlead.kit.config import Home
from fairlead.retrain import data_tests, requests
from fairlead.retrain.profile import profile
from fairlead.wiring import retrained, stores
from fairlead.wiring.console.kept import Kept
from fairlead.wiring.console.retraining import RetrainingPage

pytest.importorskip("jinja2", reason="needs fairlead[console]")
testing = pytest.importorskip("starlette.testclient")
opening = pytest.importorskip("fairlead.wiring.console.opening")

HOSTILE = "<script>alert(1)</script>\"'" + "z" * 400
MADE = RunLineage("m", "7", 900, 100, None, None, "a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return config.home(tmp_path / ".fairlead")


@pytest.fixture
def state(home: Home) -> StateStore:
    return stores.state(home)


@pytest.fixture
def visit(home: Home) -> Iterator[Any]:
    with testing.TestClient(opening.application(Kept(home), asks=False), base_url="http://127.0.0.1") as client:
        yield client


def ask(state: StateStore, id_: str, endpoint: str = "churn", **more: Any) -> RetrainRequest:
    made = RetrainRequest(id_, endpoint, "drift", f"{endpoint} drifted", SystemClock.wall_ms())
    return requests.ask(state, replace(made, **more))


def test_nothing_is_there(visit: Any) -> None:
    assert "Nothing was retrained yet" in visit.get("/console/retraining").text
    assert visit.get("/console/retraining.json").json() == {"rows": [], "more": 0, "endpoints": []}
    assert "No retraining of this endpoint" in visit.get("/console/retraining?endpoint=churn").text
    gone = visit.get("/console/retraining/nobody")
    assert gone.status_code == 404
    assert "no retraining has the id" in gone.text


def test_one_that_runs_and_one_whose_process_is_gone(visit: Any, state: StateStore) -> None:
    began = SystemClock.wall_ms() - 5_000
    ask(state, "lives", status="running", started_ms=began, lineage=MADE)
    ask(state, "died", "price", status="running", started_ms=began)
    ask(state, "waits", "chat")
    assert state.acquire("retrain:churn", "a run", 60)
    rows = {row["request"]["id"]: row for row in visit.get("/console/retraining.json").json()["rows"]}
    assert {name: row["state"] for name, row in rows.items()} == {"lives": "running", "died": "lost", "waits": "open"}
    assert rows["lives"]["took_ms"] >= 5_000
    assert rows["died"]["took_ms"] is None
    page = visit.get("/console/retraining/lives").text
    assert 'data-live="retraining verdicts"' in page
    assert "Not judged yet" in page
    assert "ended without a word" in visit.get("/console/retraining/died").text
    assert "--request waits" in visit.get("/console/retraining/waits").text
    assert [row["request"]["id"] for row in visit.get("/console/retraining.json?endpoint=chat").json()["rows"]] == [
        "waits"
    ]


def test_a_blocked_one_names_figure_bound_and_command(visit: Any, state: StateStore, home: Home) -> None:
    rng = np.random.default_rng(0)
    before = {"x": rng.normal(size=600), "y": (rng.random(600) < 0.5).astype(float)}
    checks = data_tests.examine({**before, "x": before["x"] * 1000}, "y", reference=profile(before, "y", ""))
    checks.append(Check(f"schema: {HOSTILE}", Answer.FAIL, HOSTILE))
    checks.append(Check("labels", Answer.PASS, "accepted by ann: as it is", {"by": "ann"}))
    said = data_tests.verdict("v1", "m", "7", 0, checks)
    state.append("verdict", "m", to_body(said))
    ask(state, "r1", HOSTILE, status="blocked", outcome=HOSTILE, tested="v1", verdict="v1", lineage=MADE)
    twin = visit.get("/console/retraining/r1.json").json()
    tested = {one["name"]: one for one in twin["tested"]}
    ranges = tested["ranges"]
    assert (ranges["answer"], ranges["unit"], ranges["most"], ranges["least"]) == ("fail", "share", 0.05, None)
    assert ranges["figure"] > 0.9
    assert (tested["rows"]["figure"], tested["rows"]["least"]) == (600, 100)
    assert (tested["labels"]["answer"], tested[f"schema: {HOSTILE}"]["figure"]) == ("accepted", None)
    assert twin["again"].endswith("--why 'WHAT HAS CHANGED'")
    assert "--accept ranges" in twin["again"]
    page = visit.get("/console/retraining/r1").text
    assert "<script>alert" not in page
    assert "stopped it before training" in page
    (home.root / "runs").mkdir()
    (home.root / "runs" / "r1.log").write_text("printed")
    assert RetrainingPage(Kept(home)).one("r1", 0).log.endswith("runs/r1.log")


def test_every_measure_of_a_gate(visit: Any, state: StateStore) -> None:
    lift = {"metric": "roc_auc", "rows": 400, "first": 0.9, "second": 0.8, "estimate": 0.1, "lower": 0.05}
    lift |= {"upper": 0.15, "null": 0.0, "alpha": 0.025}
    older = {"rows": 50, "lift": -0.3, "lower": -0.5}  # as the release before kept slices
    checks = (
        Check("superiority", Answer.PASS, "", lift),
        Check("slices", Answer.FAIL, "", {"slices": {"age=old": lift | {"answer": "fail"}, "age=young": older}}),
        Check("latency", Answer.PASS, "", {"challenger": 0.002, "champion": 0.001, "limit": 3.0, "estimate": 2.0}),
        Check("size", Answer.PASS, "", {"challenger": 2e6, "champion": 1e6, "limit": 3.0, "ratio": 2.0}),
        Check("latency of nothing", Answer.INCONCLUSIVE, "was not measured"),
    )
    state.append("verdict", "m", to_body(Verdict("v2", "gate", "m", "8", "7", Answer.FAIL, checks, 0)))
    ask(state, "r2", status="done", outcome="fail", version="8", verdict="v2", lineage=MADE)
    state.put("rollout", "ro-1", {"plan": {"endpoint": "churn", "candidate": "8"}}, 0)
    twin = visit.get("/console/retraining/r2.json").json()
    seen = [(one["name"], one["slice"], one["difference"], one["answer"]) for one in twin["compared"]]
    assert seen == [
        ("roc_auc", "", 0.1, "pass"),
        ("roc_auc", "age=old", 0.1, "fail"),
        ("slices", "age=young", -0.3, ""),
        ("latency", "", 2.0, "pass"),
        ("size", "", 2.0, "pass"),
    ]
    assert (twin["compared"][0]["level"], twin["rollout"]) == (0.95, "ro-1")
    assert [one["name"] for one in twin["conditions"]] == ["latency of nothing"]
    page = visit.get("/console/retraining/r2").text
    assert "+0.0500 to +0.1500" in page
    assert '2.00<span class="unit">\N{NARROW NO-BREAK SPACE}ms</span>' in page


def test_an_id_may_be_shortened_while_it_is_the_only_one(state: StateStore) -> None:
    ask(state, "abc-1")
    ask(state, "abd-1", "price", status="done", outcome="pass", verdict="gone", version="2")
    assert retrained.one(state, "abc").request.id == "abc-1"
    assert retrained.one(state, "abd").gate is None
    with pytest.raises(NotFound, match="beginning of 2 ids: abc-1, abd-1"):
        retrained.one(state, "ab")
    with pytest.raises(NotFound, match="did you mean abc-1"):
        retrained.one(state, "bac-1")
    with pytest.raises(NotFound):
        retrained.one(state, "")
