"""An endpoint may have any name: each has its pages, found by links, and what is asked of it is asked of it alone."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import looked_rollouts
from fairlead.contracts.errors import Unavailable
from fairlead.contracts.events import Window
from fairlead.contracts.plans import Happening
from fairlead.kit import config
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.monitor import timeline
from fairlead.monitor.latency import Latency
from fairlead.orchestrate import commands
from fairlead.wiring import reading, stores
from fairlead.wiring.console.endpoint import placed
from fairlead.wiring.console.kept import Kept

pytest.importorskip("jinja2", reason="needs fairlead[console]")
testing = pytest.importorskip("starlette.testclient")
opening = pytest.importorskip("fairlead.wiring.console.opening")

NAMES = (
    "a/b",
    "a%2Fb",
    "a",
    "b",
    "a/drift",
    "meta/llama 3+4/try",
    "/",
    '"quoted"/it\'s',
    "<script>alert(1)</script>",
    "100%/%",
    "?range=1h#here",
    "größe/東京;v=1",
    "back\\slash&amp;",
    "n" * 500,
    "/" * 20 + "n" * 480,
)


class WithoutRegistry(Kept):
    @property
    def registry(self) -> Any:
        raise Unavailable("the registry does not answer")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = config.home(tmp_path / ".fairlead")
    state, now, empty = stores.state(made), SystemClock.wall_ms(), Latency.none().to_bytes()
    for number, name in enumerate(NAMES):
        start = now // 60_000 * 60_000
        codes = {"": number + 1}
        state.put_windows([Window(name, "1", "champion", "w", start, 60_000, number + 1, 0, codes, empty, {})])
        timeline.write(state, Happening(name, "deploy", "version 1 serves", now))
        looked_rollouts.started(state, name)
    return made


@pytest.fixture
def visit(home: Home) -> Iterator[Any]:
    with testing.TestClient(
        opening.application(WithoutRegistry(home), asks=False), base_url="http://127.0.0.1"
    ) as client:
        yield client


def links(text: str, kind: str = "href") -> list[str]:
    return [html.unescape(found) for found in re.findall(f' {kind}="([^"]*)"', text)]


def test_each_is_reached_from_the_first_page(visit: Any) -> None:
    assert {row["name"] for row in visit.get("/console.json").json()["rows"]} == set(NAMES)
    told: dict[str, dict[str, Any]] = {}
    pages = {one for one in links(visit.get("/console").text) if one.startswith("/console/endpoints/")}

    for page in pages:
        facts = visit.get(f"{page}.json").json()
        told[facts["name"]] = facts
        assert visit.get(page).status_code == 200
    assert told.keys() == set(NAMES)
    assert {name: facts["calls"] for name, facts in told.items()} == {
        name: number + 1 for number, name in enumerate(NAMES)
    }


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:24])
def test_all_pages_of_it_are_its_own(visit: Any, name: str) -> None:
    base = next(
        one
        for one in links(visit.get("/console").text)
        if one.startswith("/console/endpoints/") and visit.get(f"{one}.json").json()["name"] == name
    )
    for more, key in (("", "name"), ("/drift", "name"), ("/drift/performance", "name"), ("/try", "name")):
        assert visit.get(f"{base}{more}.json").json()[key] == name
        page = visit.get(f"{base}{more}")
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        within = [one for one in links(page.text) if one.startswith("/console/")]
        assert len(within) > 5
        for one in within:
            assert visit.get(one).status_code == 200, one
    assert visit.get(f"{base}/rollout.json").json()["shown"]["endpoint"] == name


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:24])
def test_what_is_asked_of_its_rollout_is_asked_of_it_alone(visit: Any, home: Home, name: str) -> None:
    rows = links(visit.get("/console/rollouts").text)
    path = next(
        one
        for one in rows
        if "/rollout?id=" in one and visit.get(one.replace("?", ".json?")).json()["shown"]["endpoint"] == name
    )
    page = visit.get(path).text
    fields = {name: html.unescape(value) for name, value in re.findall('name="(id|token)" value="([^"]+)"', page)}
    id_, token = fields["id"], fields["token"]
    pause, promote = (
        next(one for one in links(page, "action") if one.endswith(f"/{what}")) for what in ("pause", "promote")
    )
    done = visit.post(pause, data={"id": id_, "token": token}, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, path.partition("?")[0])
    assert "pause is noted" in visit.get(done.headers["location"]).text
    asked = {one.plan.endpoint: one.wish.told for one in commands.rollouts(stores.state(home)) if one.wish}
    assert set(asked) == {name}
    refused = visit.post(f"{promote}.json", data={"id": id_, "token": token, "confirm": f"{name}x"})
    assert refused.status_code == 400
    agreed = visit.post(f"{promote}.json", data={"id": id_, "token": token, "confirm": name})
    assert "to confirm" not in agreed.text


def test_a_page_that_is_not_there_is_told_by_its_name(visit: Any) -> None:
    missing = visit.get("/console/endpoints/no%2Fsuch%20one.json")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert "'no/such one'" in missing.json()["error"]
    assert "no page /console/nothing here" in visit.get("/console/nothing%20here.json").json()["error"]
    assert visit.get("/console/%65ndpoints/%62.json").json()["name"] == "b", "whatever is escaped beside what must be"


def test_workers_are_told_apart_by_the_last_slash(home: Home) -> None:
    state = stores.state(home)
    for name in ("a", "a/b"):
        state.put("applied", f"{name}/host.w0", {"versions": [name], "at_ms": 5}, 0)
    state.put("applied", "only/applied/host.w0", {"versions": ["1"], "at_ms": 5}, 0)
    assert [(one.worker, one.versions) for one in placed(state, "a")] == [("host.w0", ("a",))]
    assert [(one.worker, one.versions) for one in placed(state, "a/b")] == [("host.w0", ("a/b",))]
    assert "only/applied" in reading.endpoints(state)
    assert "only" not in reading.endpoints(state)
