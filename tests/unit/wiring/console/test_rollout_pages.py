"""Rollouts in the console: page, JSON twin and command say the same, and an act is done once."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import looked_rollouts
from fairlead.audit import reading
from fairlead.cli.main import main
from fairlead.contracts.errors import Conflict
from fairlead.kit import config
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.orchestrate import commands, looks
from fairlead.orchestrate.rollout import Rollout
from fairlead.wiring import auditing, stores
from fairlead.wiring.console.kept import Kept
from fairlead.wiring.console.rollouts import RolloutPage
from looked_rollouts import CALLS, looked

pytest.importorskip("jinja2", reason="needs fairlead[console]")
testing = pytest.importorskip("starlette.testclient")
opening = pytest.importorskip("fairlead.wiring.console.opening")

HOSTILE = "<script>alert(1)</script>\"'" + "z" * 100
PAGE = "/console/endpoints/churn/rollout"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return config.home(tmp_path / ".fairlead")


@pytest.fixture
def visit(home: Home) -> Iterator[Any]:
    with testing.TestClient(opening.application(Kept(home), asks=False), base_url="http://127.0.0.1") as client:
        yield client


def started(home: Home, endpoint: str = "churn") -> Rollout:
    return looked_rollouts.started(stores.state(home), endpoint)


def test_they_are_what_the_command_says(
    visit: Any, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started(home)
    started(home, HOSTILE)
    monkeypatch.setattr(sys, "argv", ["fairlead", "rollout", "list", "--json"])
    with pytest.raises(SystemExit):
        main()
    told = json.loads(capsys.readouterr().out)
    rows = visit.get("/console/rollouts.json").json()["rows"]
    same = ("id", "endpoint", "model", "strategy", "phase", "verdict", "reason")
    assert [[one[name] for name in same] for one in rows] == [[one[name] for name in same] for one in told]
    assert [(one["before"], one["after"], f"{one['weight']:g}") for one in rows] == [
        (one["from"], one["to"], one["percent"]) for one in told
    ]
    page = visit.get("/console/rollouts").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_nothing_runs(visit: Any) -> None:
    assert "No rollout yet" in visit.get("/console/rollouts").text
    assert "No rollout runs here" in visit.get(PAGE).text


def test_two_people_ask_and_one_is_told(visit: Any, home: Home) -> None:
    rollout = started(home)
    page = visit.get(PAGE).text
    token = re.search(r'name="token" value="([^"]+)"', page)
    assert token is not None
    form = {"token": token[1], "id": rollout.id, "confirm": "churn"}
    origin = {"origin": "http://127.0.0.1"}
    assert "is noted" in visit.post(f"{PAGE}/promote", data=form, headers=origin).text
    assert "which waits for the controller" in visit.post(f"{PAGE}/promote", data=form, headers=origin).text
    kept = commands.running(stores.state(home), "churn").wish
    assert kept is not None
    assert kept.what == "promote"
    noted = [line for _, line in reading.between(auditing.folder(home), 0, SystemClock.wall_ms() + 1)]
    assert [one.action for one in noted] == ["rollout.promote"]
    running = visit.get(f"{PAGE}.json").json()["running"]
    assert (running["may"], running["wish"]) == (["abort"], kept.told)
    assert "is noted" in visit.post(f"{PAGE}/abort", data=form, headers=origin).text
    kept = commands.running(stores.state(home), "churn").wish
    assert kept is not None
    assert kept.what == "abort"
    assert visit.get(f"{PAGE}.json").json()["running"]["may"] == []


def test_the_command_refuses_a_second_wish_and_takes_it_on_purpose(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fairlead", "rollout", *words])
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        return int(left.value.code or 0), told.out + told.err

    started(home)
    assert run("promote", "churn")[0] == 0
    code, said = run("pause", "churn", "--why", "lunch")
    assert code == 1
    assert re.search(r"asked to promote at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, which waits", said)
    assert run("pause", "churn", "--replace")[0] == 0
    for _ in range(2):  # an abort waits for nobody, and twice is once
        assert run("abort", "churn", "--why", "now")[0] == 0
        wish = commands.running(stores.state(home), "churn").wish
        assert wish is not None
        assert (wish.what, wish.why) == ("abort", "now")
    assert run("promote", "churn")[0] == 1


def test_another_rollout_than_the_one_that_was_seen_is_left_alone(home: Home) -> None:
    rollout = started(home)
    for wrong in ("", "churn-2-old"):
        with pytest.raises(Conflict):
            RolloutPage(Kept(home)).wished("abort", "churn", wrong, "bob")
    assert commands.running(stores.state(home), "churn") == rollout


def test_evidence_over_time_is_what_the_command_says_to_the_last_digit(
    visit: Any, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rollout = looked(stores.state(home), 12)
    monkeypatch.setattr(sys, "argv", ["fairlead", "rollout", "status", "churn", "--json"])
    with pytest.raises(SystemExit):
        main()
    told = json.loads(capsys.readouterr().out)
    facts = visit.get(f"{PAGE}.json").json()
    assert facts["evidence"]["looks"] == told["looks"]
    assert facts["evidence"]["turns"] == told["turns"]
    assert told["rollout"]["id"] == facts["shown"]["id"] == facts["evidence"]["id"] == rollout.id
    assert len(told["looks"]) == 11, "the first tick sets the split"
    newest = told["looks"][-1]
    assert (newest["champion"], newest["candidate"]) == tuple(11 * each for each in CALLS)
    errors = newest["gates"]["error_rate"]
    assert errors["lower"] < errors["estimate"] < errors["upper"]
    assert set(newest["gates"]) == {"error_rate", "latency_p99", "prediction_drift", "sample_ratio"}
    page = visit.get(PAGE).text
    assert page.count("data-chart") == 3
    assert f"{100 * errors['estimate']:.4f}"[:6] in page
    assert "the newest 11 of 11" in page
    assert visit.get(f"{PAGE}?id={rollout.id}").status_code == 200
    assert visit.get(f"{PAGE}?id=other").status_code == 404
    monkeypatch.setattr(sys, "argv", ["fairlead", "rollout", "status", "churn"])
    with pytest.raises(SystemExit):
        main()
    assert f"{errors['upper']:.4g}" in capsys.readouterr().out


def test_no_look_and_one_look_have_pages_of_their_own(visit: Any, home: Home) -> None:
    started(home, "other")
    assert "No look yet" in visit.get("/console/endpoints/other/rollout").text
    looked(stores.state(home), 2)
    page = visit.get(PAGE).text
    assert "One look so far" in page
    assert "data-chart" not in page
    assert '<svg class="interval' in page


def test_looks_of_another_release_leave_the_buttons(visit: Any, home: Home) -> None:
    store = stores.state(home)
    rollout = looked(store, 2)
    kept = store.get(looks.KIND, rollout.id)
    store.put(looks.KIND, rollout.id, {"looks": "of another release"}, kept.revision if kept else 0)
    page = visit.get(PAGE)
    assert page.status_code == 200
    assert "cannot be shown now" in page.text
    assert "Abort" in page.text


def test_a_command_for_a_rollout_that_is_not_there(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fairlead", "rollout", "status", "churn"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert "no rollout of endpoint 'churn'" in capsys.readouterr().err
