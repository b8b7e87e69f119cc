"""``fairlead demo --loop`` as a user runs it, once: what it tells, and the console beside it in headless Chromium.

The tests are of one run, in its order: a rollout is paused and resumed by hand while the story goes on, the story ends
as it must, every page says what its JSON twin says, and a model is called by the form.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page
from tests.browser import figures, seen
from tests.browser.looping import NAME, Story, looping

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TRACE = "/console/llm/traces/{id}"
"""The story has no language model: tests/browser/test_accessibility.py has."""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with looping(tmp_path_factory.mktemp("story")) as told:
        yield told


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not seen.CHROMIUM.exists():
        pytest.skip(f"there is no {seen.CHROMIUM}")
    with seen.browser() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """Nothing may be said on its console, nor go wrong in its script."""
    said: list[str] = []
    page = chromium.new_page()
    page.on("console", lambda message: said.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"{page.url}: {error}"))
    yield page
    page.close()
    assert [one for one in said if not re.search("status of (400|503)", one)] == [], "the answers that tests ask for"


def located(story: Story, path: str) -> str:
    """Of a page of the story; of retrainings the newest."""
    newest = story.twin("/console/retraining")["rows"][0]["request"]["id"] if "{id}" in path else ""
    return seen.address(path, {"name": NAME, "id": newest})


def open_page(story: Story, page: Page, path: str) -> str:
    """The text of a page. One that could not be read in time says so, and is asked for again."""

    def shown() -> bool:
        reply = page.goto(story.url + path, wait_until="load")
        assert reply is not None
        assert reply.status in (200, 503), f"{path}: {reply.status}"
        assert reply.status == 200 or page.get_by_role("link", name="Try again").count() == 1
        return reply.status == 200

    story.until(shown)
    return page.locator("main").inner_text()


def differences(story: Story, page: Page, path: str, here: str) -> list[str]:
    text, twin = open_page(story, page, here), story.twin(here)
    return figures.missing(path, twin, text) if twin else ["the twin"]


def asked(page: Page, what: str) -> None:
    """Press the button, and the one that confirms it."""
    page.locator(f"button[popovertarget={what}]").first.click()
    page.locator(f"#{what} button.button:not(.quiet)").click()
    assert f"{what} is noted" in page.locator(".notice.good").inner_text()


def test_a_rollout_is_paused_and_resumed_while_the_story_goes_on(story: Story, page: Page) -> None:
    story.until(lambda: story.twin("/console"))
    for path in seen.pages(story.home):
        if path != TRACE:
            assert open_page(story, page, located(story, path))
    running = f"/console/endpoints/{NAME}/rollout"
    begun = story.until(lambda: (story.twin(running) or {}).get("running"))
    open_page(story, page, running)
    asked(page, "pause")
    page.locator(".stat .badge", has_text="paused").wait_for(timeout=60_000)  # the page is live
    assert [one["phase"] for one in story.rollouts()] == ["paused"]
    refused = httpx.post(f"{story.url}{running}/resume.json", data={"id": begun["id"]}, timeout=30)
    assert refused.status_code == 403, "no form of this console sent it"
    asked(page, "resume")
    page.locator("button[popovertarget=resume]").wait_for(state="detached", timeout=60_000)
    assert story.rollouts()[0]["phase"] != "paused"
    acts = {one["action"]: one for one in story.twin("/console/access")["entries"]}
    for what in ("rollout.pause", "rollout.resume"):
        assert acts[what]["actor"].startswith("local:")
        assert ["rollout", begun["id"]] in acts[what]["detail"]


def test_the_whole_story(story: Story) -> None:
    told = story.told()
    assert (told["champion"], told["rolled_back"], told["failed"]) == ("2", "3", 0)
    assert "blocked by the data tests" in told["blocked"]
    auc = told["auc"]
    assert auc["before"] > 0.8
    assert auc["without"] < 0.7
    assert auc["with"] > 0.82
    assert told["home"] == str(story.home)
    lines = json.loads(story.run("timeline", NAME, "--json"))
    whats = [one["what"] for one in (lines if isinstance(lines, list) else lines["timeline"])]
    for what in ("drift", "performance", "retrain", "verdict", "rollout", "data"):
        assert what in whats
    rollouts = story.rollouts()
    assert [(one["to"], one["phase"]) for one in rollouts] == [("3", "aborted"), ("2", "done")]
    assert "latency_p90" in story.run("verdict", "show", rollouts[0]["verdict"])


def test_every_page_says_what_its_twin_says(story: Story, page: Page) -> None:
    """And the twin what the command says."""
    story.told()
    for path in seen.pages(story.home):
        if path == TRACE:
            continue
        here = located(story, path)

        ends = time.monotonic() + 60
        while lacks := differences(story, page, path, here):  # what changes by itself may change between the two
            assert time.monotonic() < ends, f"{here} does not show {lacks}"
    rows = story.twin("/console/rollouts")["rows"]
    assert [(one["id"], one["after"], one["phase"]) for one in rows] == [
        (one["id"], one["to"], one["phase"]) for one in story.rollouts()
    ]


def test_a_model_is_called_by_the_form(story: Story, page: Page) -> None:
    story.told()
    open_page(story, page, f"/console/endpoints/{NAME}/try")
    body = story.twin(f"/console/endpoints/{NAME}/try")["body"]
    page.get_by_role("button", name="Call", exact=True).click()
    page.locator("#answer .stats").wait_for()
    shown = json.loads(page.get_by_label("Reply", exact=True).inner_text())
    answered = httpx.post(f"{story.url}/v2/models/{NAME}/infer", content=body, timeout=30).json()
    assert shown["outputs"] == answered["outputs"]
    assert "compute" in page.locator("#answer").inner_text()
    page.locator('[name="v.0.0"]').fill("many")
    page.get_by_role("button", name="Call", exact=True).click()
    assert re.search("expected a number", page.locator("#answer").inner_text())
