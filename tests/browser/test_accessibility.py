"""axe-core in headless Chromium on every page that the console has, in both themes, at 360 px and at a desk's width.

The pages are those of the console's routes, so that a new one is held to it by itself. The script is put into the page
by the browser's own debugger, which the page's policy neither allows nor needs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from tests.browser import seen

pytestmark = [
    pytest.mark.skipif(not seen.CHROMIUM.exists(), reason=f"there is no {seen.CHROMIUM}"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
AXE = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
COLOURS = ("color-contrast", "link-in-text-block")
LOOKS = (("light", 1280, ()), ("light", 360, ()), ("dark", 1280, COLOURS), ("dark", 360, COLOURS))
"""Theme, width, and the rules that are asked; none: all of them. The other theme changes colours alone."""
RUN = """(rules) => axe.run(document, {resultTypes: ["violations"], ...(rules.length ? {runOnly: rules} : {})})
    .then((found) => found.violations)"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with seen.browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[seen.Talking]:
    with seen.talking(tmp_path_factory.mktemp("talking")) as server:
        yield server


def findings(page: Page, rules: tuple[str, ...] = ()) -> list[str]:
    told: list[dict[str, Any]] = page.evaluate(RUN, list(rules))
    return [f"{one['impact']} {one['id']}: {node['html'][:200]}" for one in told for node in one["nodes"]]


def looked_at(page: Page, url: str) -> list[str]:
    """What axe-core finds on the page, however it is looked at."""
    found: list[str] = []
    page.goto(url, wait_until="load")
    page.evaluate(AXE)
    for scheme, width, rules in LOOKS:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # so that no colour is on its way
        page.set_viewport_size({"width": width, "height": 900})
        found += [f"{scheme} {width}: {one}" for one in findings(page, rules)]
    return found


def test_every_page(chromium: Browser, talking: seen.Talking) -> None:
    """Pages over what the server did, and over an endpoint that did nothing; and what strangers see."""
    paths = [*map(talking.address, seen.pages(talking.home)), "/console/nowhere"]
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{talking.url}/console/login")
    page.get_by_label("Key", exact=True).fill(talking.keys["ann"])
    page.get_by_role("button", name="Sign in").click()
    page.locator("nav.side").wait_for(timeout=60_000)
    found = {path: looked_at(page, talking.url + path) for path in paths}
    context.close()
    found["/console/login"] = looked_at(chromium.new_page(), f"{talking.url}/console/login")
    assert {path: some for path, some in found.items() if some} == {}


def test_axe_sees_what_is_wrong(chromium: Browser, talking: seen.Talking) -> None:
    """That nothing was found above is worth something: a page with a fault has a finding."""
    page = chromium.new_page()
    page.goto(f"{talking.url}/console/login", wait_until="load")
    page.evaluate(AXE)
    page.evaluate("document.querySelector('label').style.color = '#ccc'")
    assert any(one.startswith("serious color-contrast") for one in findings(page))
