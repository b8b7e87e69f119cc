"""Pictures of the console: those of the documentation, or one of every page to look at.

``python -m tests.browser.screenshots docs/console`` takes a rollout, home and drift for README.md and docs/console.md,
while ``fairlead demo --loop`` rolls its successor out. ``--all`` takes every page with that story's data, what language
models and keys add, the sign-in and an error, at 1280 and at 360 px. Both themes, some minutes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser
from tests.browser import seen
from tests.browser.looping import NAME, Story, looping

THEMES = ("light", "dark")
WIDE, NARROW = 1280, 360
ONE = f"/console/endpoints/{NAME}"
SHOWN = {"rollout": (f"{ONE}/rollout", 1180), "home": ("/console", 284), "drift": (f"{ONE}/drift", 1040)}
"""In the documentation: path, and the most pixels of its height."""
DRAWN = "[...document.querySelectorAll('[data-chart]')].every((one) => one.querySelector('.uplot, .gone'))"


class Camera:
    """Takes pictures of pages into ``folder``, as PNG."""

    def __init__(self, chromium: Browser, folder: Path) -> None:
        self._chromium, self._folder = chromium, folder

    def take(self, url: str, paths: Mapping[str, str], *, most: int = 0, narrow: bool = True, key: str = "") -> None:
        """``paths``: by the name of the picture.  ``most``: pixels of height, 0 for all of the page."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        for theme in THEMES:
            for width in (WIDE, NARROW) if narrow else (WIDE,):
                context = self._chromium.new_context(
                    viewport={"width": width, "height": 900}, color_scheme=theme, extra_http_headers=headers
                )
                page = context.new_page()
                for name, path in paths.items():
                    for _ in range(6):
                        reply = page.goto(url + path, wait_until="load")
                        if reply is None or reply.status != 503:
                            break
                    if page.locator("[data-live]").count():
                        page.locator("[data-pulse][data-state=on]").wait_for()
                    height = page.evaluate("document.documentElement.scrollHeight")
                    page.set_viewport_size({"width": width, "height": min(height, most) if most else max(height, 600)})
                    page.wait_for_timeout(300)  # charts follow the size
                    while not page.evaluate(DRAWN):  # its policy forbids what waits for a function
                        page.wait_for_timeout(100)
                    told = f"{name}-{theme}" if not narrow else f"{name}-{theme}-{width}"
                    page.screenshot(path=self._folder / f"{told}.png")
                    page.set_viewport_size({"width": width, "height": 900})
                context.close()


def rolling(story: Story) -> bool:
    """Whether the successor gets some of the calls, and each gate has drawn something of how it does."""
    twin = story.twin(f"{ONE}/rollout")
    if not twin or not twin["running"] or twin["running"]["weight"] < 25:
        return False
    looks = twin["evidence"]["looks"][-2:]
    gates = [gate for look in looks for gate in look["gates"].values()]
    return len(looks) == 2 and bool(gates) and all(gate["estimate"] is not None for gate in gates)


@contextmanager
def paused(story: Story) -> Iterator[None]:
    """The rollout stands still."""
    story.run("rollout", "pause", NAME, "--why", "a picture is taken")
    story.until(lambda: story.twin(f"{ONE}/rollout")["running"]["phase"] == "paused")
    yield
    story.run("rollout", "resume", NAME)


def documented(camera: Camera, story: Story) -> None:
    story.until(lambda: rolling(story), 600)
    lines = story.twin("/console/timeline")["lines"]
    span = f"?since={min(one['at_ms'] for one in lines)}&until={round(time.time() * 1000)}"
    for name, (path, most) in SHOWN.items():
        camera.take(story.url, {name: path + span if name == "drift" else path}, most=most, narrow=False)


def every(camera: Camera, story: Story, folder: Path) -> None:
    story.until(lambda: rolling(story), 600)
    with paused(story):
        camera.take(story.url, {"rollout": f"{ONE}/rollout", "home-rolling": "/console"})
    story.told(900)
    parts = {"name": NAME, "id": story.twin("/console/retraining")["rows"][0]["request"]["id"]}
    told = {_named(path, "one-"): seen.address(path, parts) for path in seen.pages(story.home) if "traces" not in path}
    camera.take(story.url, {**told, "error": "/console/nowhere"})
    with seen.talking(folder) as talking:
        paths = [path for path in seen.pages(talking.home) if "llm" in path or "access" in path]
        shown = {f"talking-{_named(path)}": talking.address(path) for path in paths}
        camera.take(talking.url, shown, key=talking.keys["ann"])
        camera.take(talking.url, {"login": "/console/login"})


def _named(path: str, one: str = "") -> str:
    """``one``: before the name of a page of one thing."""
    name = "-".join(part for part in path.split("/")[2:] if "{" not in part) or "home"
    return f"{one}{name}" if "{id}" in path else name


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--all", action="store_true", help="every page, also at 360 px")
    words = asked.parse_args()
    words.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, seen.browser() as chromium:
        loop, other = Path(place) / "loop", Path(place) / "talking"
        loop.mkdir()
        other.mkdir()
        camera = Camera(chromium, words.folder)
        with looping(loop) as story:
            if words.all:
                every(camera, story, other)
            else:
                documented(camera, story)


if __name__ == "__main__":
    main()
