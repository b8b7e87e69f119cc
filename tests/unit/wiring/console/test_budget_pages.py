"""Error budgets: the page of an endpoint, its JSON twin, the first page and the command say the same."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.cli.main import main
from fairlead.contracts.events import Window
from fairlead.contracts.plans import Happening
from fairlead.kit import config
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.monitor import timeline
from fairlead.monitor.burn import Objective
from fairlead.monitor.latency import Latency
from fairlead.wiring import stores
from fairlead.wiring.burning import Budgeted, Budgets
from fairlead.wiring.console.home import operations
from fairlead.wiring.console.kept import Kept

pytest.importorskip("jinja2", reason="needs fairlead[console]")
testing = pytest.importorskip("starlette.testclient")
opening = pytest.importorskip("fairlead.wiring.console.opening")
MINUTE = 60_000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return config.home(tmp_path / ".fairlead")


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["fairlead", *words])
    with pytest.raises(SystemExit):
        main()
    return capsys.readouterr().out


def seen(home: Home, *promised: Objective) -> None:
    """Half an hour of calls, a fifth of which fails, that a controller has looked at."""
    state, now = stores.state(home), SystemClock.wall_ms() // MINUTE * MINUTE
    latency = Latency.of(np.full(100, 0.004)).to_bytes()
    codes = {"": 80, "internal": 20}
    for back in range(30):
        start = now - back * MINUTE
        state.put_windows([Window("churn", "1", "champion", "w", start, MINUTE, 100, 100, codes, latency, {})])
    if promised:
        Budgets(state, Budgeted("churn", promised), lambda *_: None).look(now)


def patient(client: Any, path: str) -> Any:
    """The page, however long a busy machine takes to load what reads the registry."""
    while (found := client.get(path)).status_code == 503 and "not answered within" in found.text:
        pass
    return found


def test_page_twin_and_command_say_the_same(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen(home, Objective("availability", 0.99, 30 * 86_400), Objective("latency", 0.99, 7 * 86_400, 0.1))
    with testing.TestClient(opening.application(Kept(home), asks=False), base_url="http://127.0.0.1") as client:
        twin: dict[str, Any] = patient(client, "/console/endpoints/churn.json").json()
        page = client.get("/console/endpoints/churn").text
        first = client.get("/console.json").json()["rows"][0]["operations"]
        lines = client.get("/console/timeline.json?kind=slo").json()["lines"]
    told = json.loads(command(monkeypatch, capsys, "monitor", "slo", "churn", "--json"))
    for promise, one in zip(twin["objectives"], told["told"], strict=True):
        assert promise["left"] == one["left"]
        assert [(burn["window"], burn["rate"]) for burn in promise["burns"]] == [
            (burn["window"], burn["rate"]) for burn in one["burns"]
        ]
    available, quick = twin["objectives"]
    assert [round(burn["rate"]) for burn in available["burns"]] == [20] * 4
    assert available["left"] == pytest.approx(-19)
    assert (quick["left"], [burn["window"] for burn in quick["burns"]]) == (1.0, ["1h", "6h"])
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert shown.count("20.00 \N{MULTIPLICATION SIGN}") == 4
    assert "99 % of the calls are answered" in shown
    assert (first["state"], first["why"]) == ("alarm", "the error budget of availability burns too fast")
    assert {line["endpoint"] for line in lines} == {"churn"}
    noted = json.loads(command(monkeypatch, capsys, "timeline", "churn", "--kind", "slo", "--limit", "2", "--json"))
    assert [one["what"] for one in noted] == ["slo"] * 2
    none = command(monkeypatch, capsys, "timeline", "churn", "--kind", "rollout")
    assert "no line of the kind 'rollout' was noted of churn in this time; there are slo" in none
    text = command(monkeypatch, capsys, "monitor", "slo", "churn")
    assert "of the error budget 0.0 % is left, it was used up 20 times over; 600 of 3,000 calls were against it" in text
    assert "0 % used up 20.0 \N{MULTIPLICATION SIGN}" in shown
    assert len({(mark["at_ms"], mark["label"]) for mark in twin["marks"]}) == len(twin["marks"])
    assert re.search(r"CRITICAL +1h +20\.00 +14\.4 ", text)


def test_who_promised_nothing_is_told_so(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen(home)
    assert "nothing is promised" in command(monkeypatch, capsys, "monitor", "slo", "churn")
    assert json.loads(command(monkeypatch, capsys, "monitor", "slo", "churn", "--json"))["told"] == []
    with testing.TestClient(opening.application(Kept(home), asks=False), base_url="http://127.0.0.1") as client:
        assert "Error budgets" not in client.get("/console/endpoints/churn").text
    monkeypatch.setattr(sys, "argv", ["fairlead", "monitor", "slo", "chrun"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code
    assert "did you mean churn?" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["slo", "monitor"])
@pytest.mark.parametrize("standings", [[], {"slo.availability.1h": {"since_ms": "x"}, "Drift": 3}])
def test_what_cannot_be_read_hides_no_other_endpoint(home: Home, kind: str, standings: object) -> None:
    seen(home, Objective("availability", 0.99, 30 * 86_400))
    state, now = stores.state(home), SystemClock.wall_ms() // MINUTE * MINUTE
    latency = Latency.of(np.full(100, 0.004)).to_bytes()
    state.put_windows([Window("other", "1", "champion", "w", now, MINUTE, 100, 100, {"": 100}, latency, {})])
    document = state.get(kind, "churn")
    state.put(kind, "churn", {"standings": standings}, document.revision if document else 0)
    with testing.TestClient(opening.application(Kept(home), asks=False), base_url="http://127.0.0.1") as client:
        churn, other = client.get("/console.json").json()["rows"]
        own = patient(client, "/console/endpoints/churn")
    assert churn["trouble"]["code"] == "state_error"
    assert "it may be of another release" in churn["trouble"]["text"]
    assert (other["trouble"], other["operations"]["calls"]) == (None, 100)
    assert "it may be of another release" in own.text
    assert own.status_code == (200 if kind == "slo" else 503)
    assert ("Error budgets cannot be shown now" in own.text) == (kind == "slo")


def test_no_calls_are_no_kept_promise(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state, now = stores.state(home), SystemClock.wall_ms()
    promised = Objective("availability", 0.99, 30 * 86_400)
    Budgets(state, Budgeted("churn", (promised,)), lambda *_: None).look(now)
    text = command(monkeypatch, capsys, "monitor", "slo", "churn")
    assert "is left; no calls were recorded" in text
    assert "ok" not in text.split()
    with testing.TestClient(opening.application(Kept(home, names=("churn",)), asks=False)) as client:
        page = client.get("/console/endpoints/churn", headers={"host": "127.0.0.1"}).text
    card = page[page.index("Error budgets") : page.index("Versions")]
    assert "no calls" in card
    assert "holds" not in card


def test_lines_of_a_kind_are_found_behind_many_of_others(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state, now = stores.state(home), SystemClock.wall_ms()
    for kind in ("slo", "deploy"):
        timeline.write(state, Happening("churn", kind, f"a line {kind}", now))
    with closing(sqlite3.connect(home.state.removeprefix("sqlite:///"))) as other:
        other.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) INSERT INTO state_entries "
            "(kind, subject, at_ms, body) SELECT kind, subject, at_ms, body FROM state_entries, n WHERE number = 2"
        )
        other.commit()
    noted = json.loads(command(monkeypatch, capsys, "timeline", "churn", "--kind", "slo", "--json"))
    assert [one["text"] for one in noted] == ["a line slo"]


@pytest.mark.parametrize(
    ("memory", "burnt", "why"),
    [
        ({}, None, "errors are watched"),
        (None, [], "error budgets are watched"),
        ({}, [], "errors and error budgets are watched"),
    ],
)
def test_what_is_watched_is_said_and_no_more(memory: dict[str, Any] | None, burnt: list[str] | None, why: str) -> None:
    found = operations([], memory, SystemClock.wall_ms(), burnt)
    assert (found.state, found.why) == ("ok", why)
