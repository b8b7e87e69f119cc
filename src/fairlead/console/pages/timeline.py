"""``/console/timeline``: what happened to every endpoint, in one line of time."""

from __future__ import annotations

from starlette.routing import Route

from fairlead.console.asked import Asked
from fairlead.console.facts.timeline import TimelineFacts, Timelines
from fairlead.console.shell import Page, Shell


def routes(shell: Shell, source: Timelines) -> list[Route]:
    def read(asked: Asked) -> TimelineFacts:
        return source.timeline(asked.get("endpoint"), asked.get("kind"), asked.since_ms, asked.until_ms)

    names = ("endpoint", "kind")
    return shell.page(Page("/console/timeline", "timeline.html", "Timeline", "timeline", read, names, "7d"))
