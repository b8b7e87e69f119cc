"""Every page, found by its route: over a store that goes down while it is open, and after a login that ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from console_frame import Doorman, console
from fairlead.console.sessions import SECONDS
from fairlead.console.visitors import Visitor
from fairlead.contracts.errors import Unavailable
from fairlead.contracts.plans import Happening, RetrainRequest, Share, TrafficSplit
from fairlead.kit.codec.records import to_body
from fairlead.kit.config import Home
from fairlead.monitor import timeline
from fairlead.testing.state import MemoryState

pytest.importorskip("jinja2", reason="needs fairlead[console]")
pytest.importorskip("duckdb", reason="needs fairlead[events]")
opening = pytest.importorskip("fairlead.wiring.console.opening")


class Kept:
    """In place of ``wiring.console.kept.Kept``: a store in memory, no server, no registry."""

    def __init__(self, folder: Path) -> None:
        self.state, self.names, self.server, self.cert = MemoryState(), ("churn",), "", ""
        self.budgets, self.audit_key, self.speaks, self.events = (), "", True, None
        self.home = Home(folder, "", "", "me")

    @property
    def registry(self) -> object:
        raise Unavailable("the registry does not answer")


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    made = Kept(tmp_path)
    made.state.put("split", "churn", to_body(TrafficSplit("churn", "m", (Share("3", "champion", 100),))), 0)
    made.state.put("retrain", "r1", to_body(RetrainRequest("r1", "churn", "human", "", 5)), 0)
    timeline.write(made.state, Happening("churn", "deploy", "version 3 serves", 5))
    return made


def pages(kept: Kept) -> Iterator[str]:
    """Of each route that shows something, an address that is there."""
    routes = opening.pages(_Shell(), kept)
    for path in sorted({route.path for route in routes if "GET" in route.methods and not route.path.endswith(".json")}):
        if "/traces/" not in path:  # files of the home, not of a store
            yield path.replace("{name}", "churn").replace("{id}", "r1")


class _Shell:
    """Makes routes and answers nothing."""

    def __getattr__(self, name: str) -> object:
        return getattr(opening.Shell(None, None, None, None, ()), name)


def test_all_are_found(kept: Kept) -> None:
    assert set(pages(kept)) >= {
        "/console",
        "/console/access",
        "/console/llm",
        "/console/retraining",
        "/console/retraining/r1",
        "/console/rollouts",
        "/console/timeline",
        *(f"/console/endpoints/churn{more}" for more in ("", "/drift", "/drift/performance", "/rollout", "/try")),
    }


async def test_a_store_that_goes_down_while_a_page_is_open(kept: Kept) -> None:
    async with console(lambda shell: opening.pages(shell, kept)) as (client, clock):
        for path in pages(kept):
            kept.state.down = False
            clock.advance(2)
            open_page = await client.get(path)
            assert open_page.status_code == 200, path
            kept.state.down = True
            clock.advance(2)
            for address in (path, f"{path}.json"):
                answer = await client.get(address, headers={"hx-request": "true"})
                assert answer.status_code in (200, 503), address
                if address.endswith(".json") and answer.status_code == 503:
                    assert answer.json()["code"] == "unavailable"
                    assert "Traceback" not in answer.text
                elif answer.status_code == 503:
                    assert "Cannot be shown now" in answer.text
                    assert 'href="/console"' in answer.text
                elif not address.endswith(".json") and not path.endswith(("/llm", "/try")):
                    assert "cannot be shown now" in answer.text, path
            kept.state.down = False
            clock.advance(2)
            assert (await client.get(path)).status_code == 200, path


async def test_a_login_that_ended(kept: Kept) -> None:
    doorman = Doorman(asks=True, keys={"k": Visitor("ann", True)})
    async with console(lambda shell: opening.pages(shell, kept), doorman) as (client, clock):
        form = await client.get("/console/login")
        token = re.search(r'name="token" value="([^"]+)"', form.text)
        assert token is not None
        signed = await client.post("/console/login", data={"token": token[1], "key": "k", "to": "/console"})
        assert signed.status_code == 303
        inside = await client.get("/console/endpoints/churn/try")
        own = re.search(r'name="token" value="([^"]+)"', inside.text)
        assert own is not None
        client.cookies = httpx.Cookies(dict(client.cookies.items()))  # whatever the browser thinks of its age
        clock.advance(SECONDS + 1)
        for path in pages(kept):
            sent = await client.get(f"{path}?x=1")
            to = urlsplit(sent.headers["location"])
            assert (sent.status_code, to.path, parse_qs(to.query)["to"]) == (303, "/console/login", [f"{path}?x=1"])
            assert (await client.get(f"{path}.json")).status_code == 401
            assert (await client.get(path, headers={"hx-request": "true"})).status_code == 401
        for path in ("rollout/pause", "try"):
            late = await client.post(f"/console/endpoints/churn/{path}", data={"token": own[1]})
            assert late.status_code == 303
            assert late.headers["location"].startswith("/console/login?to=%2Fconsole%2Fendpoints%2Fchurn%2F")
        over = await client.post("/console/logout", data={"token": own[1]})
        assert (over.status_code, over.headers["location"]) == (303, "/console/login")
        back = await client.get("/console/logout")
        assert (back.status_code, back.headers["location"]) == (303, "/console")
