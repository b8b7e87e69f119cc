"""The timeline in the console: page, JSON twin and command say the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.cli.main import main
from fairlead.contracts.plans import Happening, Share, TrafficSplit
from fairlead.kit import config
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.records import to_body
from fairlead.kit.config import Home
from fairlead.monitor import timeline
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState
from fairlead.wiring import stores
from fairlead.wiring.console.kept import Kept
from fairlead.wiring.console.timeline import LATE_MS, READ, SHOWN, TimelinePage

pytest.importorskip("jinja2", reason="needs fairlead[console]")
testing = pytest.importorskip("starlette.testclient")
opening = pytest.importorskip("fairlead.wiring.console.opening")

HOSTILE = "<script>alert(1)</script>\"'" + "z" * 500
FIELDS = ("endpoint", "what", "text", "at_ms", "evidence")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return config.home(tmp_path / ".fairlead")


@pytest.fixture
def visit(home: Home) -> Iterator[Any]:
    with testing.TestClient(opening.application(Kept(home), asks=False), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def noted(home: Home) -> int:
    """Three lines of churn and one of an endpoint with a hostile name; when the last was."""
    state, now = stores.state(home), SystemClock.wall_ms() - 1000
    state.put("split", "churn", to_body(TrafficSplit("churn", "m", (Share("3", "champion", 100),))), 0)
    timeline.write(state, Happening("churn", "deploy", "version 3 serves", now - 3000, {"version": "3"}))
    timeline.write(state, Happening("churn", "drift", HOSTILE, now - 2000, {"psi": 0.3125, HOSTILE: [1, 2]}))
    timeline.write(state, Happening(HOSTILE, "alert", HOSTILE, now - 1000))
    timeline.write(state, Happening("churn", "alert", "errors burn", now, {"rate": 0.25}))
    return now


def lines(visit: Any, query: str = "") -> list[dict[str, Any]]:
    found = visit.get(f"/console/timeline.json{query}").json()["lines"]
    return [{field: one[field] for field in FIELDS} for one in found]


def test_it_is_what_the_command_says(
    visit: Any, noted: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fairlead", "timeline", "churn", "--json"])
    with pytest.raises(SystemExit):
        main()
    told = json.loads(capsys.readouterr().out)
    assert lines(visit, "?endpoint=churn") == [{field: one[field] for field in FIELDS} for one in told]
    assert [one["what"] for one in told] == ["deploy", "drift", "alert"]
    page = visit.get("/console/timeline?endpoint=churn").text
    assert all(words in page for words in ("version 3 serves", "psi 0.3125", "rate 0.25", "errors burn"))


def test_filters_and_what_was_before_an_alert(visit: Any, noted: int) -> None:
    assert [one["endpoint"] for one in lines(visit, "?kind=alert")] == [HOSTILE, "churn"]
    assert [one["what"] for one in lines(visit, "?endpoint=churn&kind=drift")] == ["drift"]
    assert lines(visit, f"?since={noted - 9000}&until={noted - 2500}")[-1]["what"] == "deploy"
    assert f"since={noted - 21_600_000}&amp;until={noted}" in visit.get("/console/timeline?kind=alert").text
    assert visit.get("/console/timeline?colour=red").status_code == 400


def test_hostile_names_stay_text_and_nothing_is_said_as_nothing(visit: Any, noted: int) -> None:
    page = visit.get("/console/timeline").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert 'href="/console/timeline"' in page  # the navigation leads to it
    empty = visit.get("/console/timeline", params={"endpoint": HOSTILE, "kind": "no such"})
    assert empty.status_code == 200
    assert "Nothing was noted" in empty.text


def test_it_is_bounded_and_says_what_is_left_out(visit: Any, home: Home) -> None:
    now = SystemClock.wall_ms()
    for place in range(SHOWN + 3):
        timeline.write(stores.state(home), Happening("churn", "config", f"change {place}", now - 10_000 + place))
    found = visit.get("/console/timeline.json").json()
    assert (len(found["lines"]), found["more"], found["cut"]) == (SHOWN, 3, False)
    assert found["lines"][0]["text"] == "change 3"
    assert "3 more in this time" in visit.get("/console/timeline").text


def test_an_old_range_is_read_whatever_came_after(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """More lines than are ever read came after the range: they neither hide it nor cut it."""
    clock = ManualClock()
    state = MemoryState(clock)
    monkeypatch.setattr(stores, "state", lambda _: state)
    began = clock.wall_ms()
    for place in range(5):
        clock.advance(60)
        timeline.write(state, Happening("churn", "deploy", f"version {place} serves", clock.wall_ms()))
    ended = clock.wall_ms()
    clock.advance(600)
    timeline.write(state, Happening("churn", "alert", "told late", ended - 1))
    clock.advance(LATE_MS / 1000)
    for _ in range(READ + 50):
        timeline.write(state, Happening("churn", "alert", "errors burn", clock.wall_ms()))
    found = TimelinePage(Kept(home)).timeline("churn", "", began, ended)
    assert [one.text for one in found.lines] == [
        *(f"version {place} serves" for place in range(4)),
        "told late",
        "version 4 serves",
    ]
    assert (found.more, found.cut, found.kinds) == (0, False, ("alert", "deploy"))
    newest = TimelinePage(Kept(home)).timeline("churn", "", began, clock.wall_ms())
    assert (newest.cut, len(newest.lines)) == (True, SHOWN)
