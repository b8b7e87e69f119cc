"""Headless Chromium on a console over real windows: nothing is refused by its policy, charts are drawn, it is live."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import numpy as np
import pytest

from fairlead.contracts.events import Window
from fairlead.contracts.plans import Happening
from fairlead.kit.config import home
from fairlead.monitor import timeline
from fairlead.monitor.latency import Latency
from fairlead.wiring import stores
from looked_rollouts import looked

pytest.importorskip("playwright.sync_api", reason="pip install playwright")
seen = pytest.importorskip("tests.browser.seen")
pytestmark = [
    pytest.mark.skipif(not seen.CHROMIUM.exists(), reason=f"there is no {seen.CHROMIUM}"),
    pytest.mark.slow,
]
NAMES = ("churn", '<script>alert("x")</script>', "n" * 300)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("home")
    state = stores.state(home(folder, environ={}))
    now = int(time.time() * 1000) // 60_000 * 60_000
    latency = Latency.of(np.full(100, 0.004)).to_bytes()
    for name in NAMES:
        starts = range(now - 7_200_000, now + 1, 60_000)
        state.put_windows(
            [Window(name, "1", "champion", "w", s, 60_000, 100, 100, {"": 99, "x": 1}, latency, {}) for s in starts]
        )
        timeline.write(state, Happening(name, "deploy", "version 1 serves", now - 3_600_000))
    looked(state, 8, NAMES[2])
    words = [*seen.FAIRLEAD, "console", "--home", str(folder), "--port", "0", "--json"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=seen.environ()
    ) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line
            text += line
        yield json.loads(text)["url"]
        process.terminate()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_pages_are_whole(console: str, scheme: str, width: int) -> None:
    said: list[str] = []
    with seen.browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(console)
        page.wait_for_selector("[data-pulse][data-state=on]")
        assert page.locator("tbody tr").count() == len(NAMES)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("td.name a", has_text="churn").click()
        page.wait_for_selector(".uplot canvas")
        assert page.locator(".uplot").count() == 3
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("button[data-theme-toggle]").click()
        other = "light" if scheme == "dark" else "dark"
        assert page.evaluate("document.documentElement.dataset.theme") == other
        page.get_by_role("button", name="1h", exact=True).click()
        page.wait_for_selector(".uplot canvas")
        assert page.locator(".ranges [aria-current]").inner_text() == "1h"
    assert not said


def test_a_page_is_live(console: str) -> None:
    with seen.browser() as browser:
        page = browser.new_page()
        page.goto(console)
        page.wait_for_selector("[data-pulse][data-state=on]")
        page.evaluate("document.getElementById('endpoints').dataset.old = '1'")
        page.wait_for_selector("#endpoints:not([data-old])", timeout=20_000)
        assert page.locator("tbody tr").count() == len(NAMES)


def test_charts_are_drawn_anew_with_what_came(console: str) -> None:
    with seen.browser() as browser:
        page = browser.new_page()
        page.goto(f"{console}/endpoints/churn")
        page.wait_for_selector("[data-pulse][data-state=on]")
        page.wait_for_selector("#charts .uplot canvas")
        page.evaluate("document.getElementById('charts').dataset.old = '1'")
        page.wait_for_selector("#charts:not([data-old])", timeout=20_000)
        page.wait_for_selector("#charts .uplot canvas", timeout=5_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_a_rollout_shows_its_evidence_over_time(console: str, scheme: str, width: int) -> None:
    """A chart for each gate, its numbers beside it."""
    said: list[str] = []
    with seen.browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{console}/endpoints/{NAMES[2]}/rollout")
        page.wait_for_selector("#evidence .uplot canvas")
        assert page.locator("#evidence .uplot").count() == 3
        told = page.evaluate("fetch(location.pathname + '.json').then((answer) => answer.json())")["evidence"]
        newest = told["looks"][-1]["gates"]["prediction_drift"]
        shown = page.locator("#evidence .sequence", has_text="prediction_drift")
        assert f"{newest['upper']:.3f}" in shown.inner_text()
        assert page.locator("#looks tbody tr").count() == len(told["looks"]) == 7
        page.locator("#evidence .u-over").first.hover()
        assert "pp" in page.locator("#evidence .u-legend").first.inner_text(), "pointing at a chart tells its numbers"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not said
